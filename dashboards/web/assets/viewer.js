// The report viewer. It builds its form from the API's own description and shows
// answers as tables (tables.js). Whatever comes from the server is inserted as text only.
"use strict";

(() => {
  const BASE = document.documentElement.dataset.base; // the path below which a proxy shows us; "" for none
  const REPORTS = "/api/v1/reports/";
  const EVENTS = "/api/v1/events";
  const MAIN = ["from", "to", "at", "tz", "group_by"]; // above "More filters"
  const OURS = ["company", "format", "cursor"]; // not for people to fill in
  const MAX_ROWS_SHOWN = 5000; // more rows than that make a browser slow; CSV takes what the API gives
  const MAX_STEPS_BACK = 20; // answers kept for Back; older ones are forgotten
  const { el, words, labelOf, groupText, isSeconds, number, timeText, text } = tables;

  // In place of the API's descriptions, which name its parameters and fields rather than what stands on this page.
  const HINTS = {
    from: "The range begins at this day's midnight. Empty: 30 days.", to: "Empty: until now.",
    at: "Empty: now.", tz: "An IANA name, such as Europe/London. Empty: the company's.",
    limit: "How many rows at most; the rest is on the next pages.",
    burst_count: "How many failures within the burst window make a burst.",
    spray_users: "How many users that fail from one address within the burst window make a password spray.",
    "time-spent": "Signed-in, active and paused time, clipped to the range, by any of user, computer, site, company and local day. A person's overlapping sessions count once; the columns that begin with Sum add them up.",
    events: "Events that match every filter, newest first, in pages. Names match whole and without regard to case, but for “Name begins with”.",
  };

  const $ = (id) => document.getElementById(id);
  const state = { reports: new Map(), shown: null, back: [], running: null, person: null, me: null }; // person: who is signed in; me: the same, null with a key

  // ---- the form ----

  async function start() {
    try {
      const doc = await (await fetch(BASE + "/api/openapi.json")).json();
      for (const [path, item] of Object.entries(doc.paths)) {
        if (!item.get || !(path === EVENTS || (path.startsWith(REPORTS) && !path.includes("{")))) continue;
        const params = (item.get.parameters || []).filter((p) => p.in === "query");
        state.reports.set(path, { path, name: path.slice(path.lastIndexOf("/") + 1), summary: item.get.summary, description: item.get.description, params });
      }
    } catch {
      return fail({ message: "The description of the reports could not be read. Load the page again; if that does not help, the server is down." });
    }
    const order = [...state.reports.values()].sort((a, b) => (b.name === "totals") - (a.name === "totals") || a.summary.localeCompare(b.summary));
    $("report").replaceChildren(...order.map((r) => el("option", { value: r.path, text: r.summary })));
    if (typeof Intl.supportedValuesOf === "function") {
      document.body.append(el("datalist", { id: "zones" }, ...["UTC", ...Intl.supportedValuesOf("timeZone")].map((z) => el("option", { value: z }))));
    }
    buildParams();
    await signedIn();
    $(state.me ? "report" : "key").focus();
  }

  // ---- who is signed in ----

  async function getJSON(path) {
    const response = await fetch(BASE + path, { cache: "no-store", redirect: "error" });
    return response.ok ? response.json() : null;
  }

  // signedIn asks whether somebody is signed in with this browser: then reports come by the session, and no key is needed.
  async function signedIn() {
    let me = null;
    try { me = await getJSON("/api/v1/me"); } catch { /* the report says that the server is away */ }
    if (me && me.next !== "done") return location.assign(BASE + "/login"); // which knows what is missing
    state.person = me;
    $("sign-in").hidden = !!me;
    for (const id of ["sign-out", "use-key"]) $(id).hidden = !me;
    useKey(!me);
    if (!me) return;
    $("account").textContent = me.name;
    try { await listCompanies(); } catch { /* as above */ }
  }

  // listCompanies makes the choice of a company: a list, or with more than one page of them a field that looks for names.
  async function listCompanies() {
    const list = await getJSON("/api/v1/companies?limit=500&disabled=false");
    if (!list) return;
    if (!list.next_cursor) {
      $("company").replaceChildren(...list.rows.map((c) => el("option", { value: String(c.id), text: c.name })));
      if (!list.rows.length) fail({ message: "You belong to no company yet: ask an administrator.", local: true });
      return;
    }
    const found = el("datalist", { id: "companies" });
    const input = el("input", { id: "company", type: "text", autocomplete: "off", spellcheck: false, placeholder: "part of its name" });
    input.setAttribute("list", "companies");
    let wait = 0;
    input.addEventListener("input", () => {
      clearTimeout(wait);
      wait = setTimeout(async () => {
        const some = await getJSON("/api/v1/companies?limit=20&disabled=false&q=" + encodeURIComponent(input.value)).catch(() => null);
        if (some) found.replaceChildren(...some.rows.map((c) => el("option", { value: c.name })));
      }, 200);
    });
    $("company").replaceWith(input);
    document.body.append(found);
  }

  async function signOut() {
    try {
      const me = await getJSON("/api/v1/me"); // for a token that is good now
      if (me) await fetch(BASE + "/api/v1/auth/sign-out", { method: "POST", headers: { "X-CSRF-Token": me.csrf_token }, redirect: "error" });
      location.assign(BASE + "/login?done=signedout");
    } catch {
      fail({ message: "The server does not answer: you may still be signed in." });
    }
  }

  // useKey goes over to a key, for a company of which the signed-in person is no member, or back to who is signed in.
  function useKey(on) {
    state.me = on ? null : state.person;
    $("key-part").hidden = !on;
    for (const id of ["account", "company-part"]) $(id).hidden = on;
    $("or-sign-in").hidden = !!state.person;
    $("use-key").textContent = on ? "Use your sign-in instead" : "Use an API key instead";
  }

  function current() { return state.reports.get($("report").value); }

  // buildParams makes the fields of the chosen report; values that it shares with the one before stay.
  function buildParams(keep = true) {
    const report = current();
    if (!report) return;
    const values = keep ? rawValues() : new Map();
    $("report-hint").textContent = HINTS[report.name] || report.description || "";
    const shown = report.params.filter((p) => !OURS.includes(p.name));
    const main = MAIN.map((name) => shown.find((p) => p.name === name)).filter(Boolean);
    const more = shown.filter((p) => !MAIN.includes(p.name));
    $("main-params").replaceChildren(...main.map((p) => field(p, values.get(p.name))));
    $("more-params").replaceChildren(...more.map((p) => field(p, values.get(p.name))));
    $("more").hidden = more.length === 0;
  }

  function field(p, old = []) {
    const id = "p-" + p.name;
    const hint = el("p", { className: "hint", id: id + "-hint", text: HINTS[p.name] || p.description || "" });
    const schema = p.schema || {};
    if (schema.type === "array" && schema.items && schema.items.enum) {
      const checks = schema.items.enum.map((value) => el("label", {}, el("input", { type: "checkbox", name: p.name, value, checked: old.includes(value) }), groupText(value) + (schema.default?.includes(value) ? " (default)" : "")));
      const box = el("div", { className: checks.length > 8 ? "checks long" : "checks" }, ...checks);
      return el("fieldset", { className: "field", id, "aria-describedby": hint.id, tabIndex: -1 }, el("legend", { text: labelOf(p.name) }), box, hint);
    }
    let input;
    if (schema.enum) {
      input = el("select", {}, el("option", { value: "", text: schema.default === undefined ? "(default)" : "(default: " + groupText(schema.default) + ")" }), ...schema.enum.map((v) => el("option", { value: v, text: groupText(String(v)) })));
    } else if (p.name === "from" || p.name === "to") {
      input = el("input", { type: "date" });
    } else if (p.name === "at") {
      input = el("input", { type: "datetime-local" });
    } else if (schema.type === "integer") {
      input = el("input", { type: "number", inputMode: "numeric" });
      if (schema.minimum !== undefined) input.min = schema.minimum;
      if (schema.maximum !== undefined) input.max = p.name === "limit" ? Math.min(schema.maximum, MAX_ROWS_SHOWN) : schema.maximum;
      if (schema.default !== undefined) input.placeholder = schema.default;
    } else {
      input = el("input", { type: "text", spellcheck: false, autocomplete: "off" });
      if (p.name === "tz") { input.setAttribute("list", "zones"); input.placeholder = "the company's"; }
    }
    input.id = id;
    input.name = p.name;
    input.setAttribute("aria-describedby", hint.id);
    if (old.length) input.value = old[0];
    return el("div", { className: "field" }, el("label", { htmlFor: id, text: labelOf(p.name) }), input, hint);
  }

  function rawValues() {
    const values = new Map();
    for (const input of document.querySelectorAll("#main-params [name], #more-params [name]")) {
      const value = input.type === "checkbox" ? (input.checked ? input.value : "") : input.value.trim();
      if (value !== "") values.set(input.name, [...(values.get(input.name) || []), value]);
    }
    return values;
  }

  // formRequest is what the form asks for, with so many rows at most. What is wrong with it is thrown in the form's own words.
  function formRequest(most) {
    const params = {};
    for (const [name, values] of rawValues()) params[name] = values.join(",");
    const wrong = (field, message) => { throw { message, errors: [{ field }], local: true }; };
    if (params.from && params.to && params.to < params.from) wrong("to", "The day in “To” is before the one in “From”: choose the same day or a later one.");
    if (Number(params.limit) > most) wrong("limit", "At most " + number.format(most) + " rows are shown at once: give a smaller limit. The rest is on the next pages; a CSV can hold more.");
    if (params.to) params.to = dayAfter(params.to); // the API's to is not part of the range
    return { path: current().path, params, company: state.me ? $("company").value.trim() : "" };
  }

  function dayAfter(date) {
    const t = new Date(date + "T00:00:00Z");
    t.setUTCDate(t.getUTCDate() + 1);
    return t.toISOString().slice(0, 10);
  }

  // ---- asking ----

  async function ask(request, extra = {}) {
    const key = state.me ? "" : $("key").value.trim();
    if (!key && !state.me) throw { message: "Sign in, or paste an API key with the scope read first.", errors: [{ field: "key", message: "is missing" }], local: true };
    if (/[^\x21-\x7e]/.test(key)) throw { message: "This is not an API key: it contains spaces or characters that keys do not have.", errors: [{ field: "key", message: "is not a key" }], local: true };
    state.running?.abort();
    const abort = state.running = new AbortController();
    busy(true);
    try {
      const query = new URLSearchParams({ ...request.params, ...extra });
      if (request.company) query.set("company", request.company);
      let response;
      try {
        response = await fetch(BASE + request.path + "?" + query, { headers: key ? { "X-API-Key": key } : {}, signal: abort.signal, credentials: key ? "omit" : "same-origin", cache: "no-store", redirect: "error" });
      } catch (err) {
        if (err.name === "AbortError") throw err;
        throw { message: "The server does not answer. Check the connection and try again." };
      }
      if (response.ok) return extra.format === "csv" ? { blob: await response.blob(), more: response.headers.has("X-Next-Cursor") } : await response.json();
      let body = null;
      try { body = await response.json(); } catch { /* not ours: a proxy's page */ }
      throw body && body.message ? { ...body, status: response.status, retry: response.headers.get("Retry-After") } : { message: "The server answered with status " + response.status + "." };
    } finally {
      if (state.running === abort) { state.running = null; busy(false); }
    }
  }

  function busy(on) {
    $("result").setAttribute("aria-busy", on);
    for (const id of ["show", "csv", "next"]) $(id).disabled = on;
    if (on) $("status").textContent = "Asking…";
  }

  async function show(request, { keepOld = false } = {}) {
    clearErrors();
    try {
      const answer = await ask(request);
      if (keepOld && state.shown) state.back = [...state.back, state.shown].slice(-MAX_STEPS_BACK);
      else if (!keepOld) state.back = [];
      state.shown = { request, answer };
      render();
      goToResult();
    } catch (err) {
      if (err.name !== "AbortError") fail(err);
    }
  }

  async function showForm() {
    clearErrors();
    try {
      await show(formRequest(MAX_ROWS_SHOWN));
    } catch (err) {
      fail(err);
    }
  }

  async function downloadCSV() {
    clearErrors();
    const limit = current().params.find((p) => p.name === "limit");
    const extra = { format: "csv" };
    try {
      const request = formRequest(Infinity);
      if (limit?.schema?.maximum && !request.params.limit) extra.limit = limit.schema.maximum;
      const { blob, more } = await ask(request, extra);
      const url = URL.createObjectURL(blob);
      const link = el("a", { href: url, download: "gatehouse-" + current().name + ".csv" });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      $("status").textContent = more ? "Saved as CSV. The report has more rows than the file: ask for a shorter range for the rest." : "Saved as CSV, all rows.";
    } catch (err) {
      if (err.name !== "AbortError") fail(err);
    }
  }

  // ---- errors ----

  function clearErrors() {
    $("alert").hidden = true;
    for (const node of document.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  }

  function fail(err) {
    const box = $("alert");
    const parts = [];
    const list = err.errors || (err.field ? [{ field: err.field, message: err.message }] : []);
    if (err.local || list.length === 0) parts.push(el("p", { text: sentence(err.message || "Something went wrong in this page: " + err) }));
    else parts.push(el("ul", {}, ...list.map((e) => el("li", { text: labelOf(e.field) + ": " + e.message }))));
    if (err.status === 401 && state.me) parts.push(el("p", {}, "Your sign-in has ended: ", el("a", { href: BASE + "/login", text: "sign in again" }), "."));
    else if (err.status === 401) parts.push(el("p", { text: "Check the API key: a wrong, revoked or expired key is refused." }));
    if (err.retry) parts.push(el("p", { text: "Try again in " + err.retry + " seconds." }));
    if (err.status >= 500 && err.request_id) parts.push(el("p", { text: "For the administrator: request " + err.request_id }));
    box.replaceChildren(...parts);
    box.hidden = false;
    $("status").textContent = state.shown ? "Below still stands the answer from before." : "";
    let first = null;
    for (const e of list) {
      const node = ["key", "company"].includes(e.field) ? $(e.field) : $("p-" + e.field);
      if (!node) continue;
      node.setAttribute("aria-invalid", "true");
      if (node.closest("details")) node.closest("details").open = true;
      first = first || node;
    }
    if (!first && err.status === 401 && !state.me) { first = $("key"); first.setAttribute("aria-invalid", "true"); }
    (first || box).focus();
  }

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  // ---- showing ----

  // goToResult goes to the result to read on from there, and scrolls where its beginning is out of sight or nearly so.
  function goToResult() {
    const top = $("result").getBoundingClientRect().top;
    $("result").focus({ preventScroll: true });
    if (top < 0 || top > window.innerHeight / 2) $("result").scrollIntoView();
  }

  function render() {
    const { request, answer } = state.shown;
    const report = state.reports.get(request.path);
    const groups = [answer.group_by || []].flat();
    let rows = answer.rows || [];
    if (groups.includes("site")) rows = rows.map((row) => ({ ...row, site: row.site || String(row.site_id) })); // the site may have no name any more
    $("result").hidden = false;
    $("title").textContent = report.summary;
    const parts = [answer.company];
    if (answer.at) parts.push("at " + timeText(answer.at));
    else if (answer.from) parts.push(timeText(answer.from) + " to " + timeText(answer.to));
    parts.push(answer.tz);
    const filters = Object.entries(request.params).filter(([name]) => !["from", "to", "at", "tz", "limit", "cursor", "group_by"].includes(name));
    if (groups.length) parts.push("by " + groups.map(groupText).join(", "));
    for (const [name, value] of filters) parts.push(labelOf(name) + ": " + value);
    $("scope").textContent = parts.join(" · ");

    const skip = ["report", "company", "from", "to", "at", "tz", "generated_at", "group_by", "next_cursor", "rows"];
    const figures = Object.entries(answer).filter(([name, v]) => !skip.includes(name) && v !== false && (typeof v !== "object" || v === null));
    $("figures").replaceChildren(...figures.map(([name, v]) => {
      const shown = text(name, v);
      return el("div", {}, el("dt", { text: labelOf(name) }), el("dd", { text: shown || "none", className: typeof v === "number" && !isSeconds(name) ? "" : "text" }));
    }));

    const shown = [];
    for (const [name, v] of Object.entries(answer)) {
      if (name === "rows" || !Array.isArray(v) || !v.length || typeof v[0] !== "object") continue;
      shown.push(el("h3", { text: words(name) }), tables.table(v, name, words(name)));
    }
    if (rows.length) {
      if (shown.length) shown.push(el("h3", { text: groups.length ? "By " + groups.map(groupText).join(", ") : "Rows" }));
      if (groups.includes("weekday_hour")) shown.push(tables.week(rows, report.summary + ", by weekday and hour"));
      shown.push(tables.table(rows, report.name, report.summary, eventsButton));
    }
    $("tables").replaceChildren(...shown);
    renderEmpty(report, request, answer, rows);
    $("next").hidden = !answer.next_cursor;
    $("back").hidden = state.back.length === 0;
    $("status").textContent = number.format(rows.length) + (rows.length === 1 ? " row" : " rows") + (answer.next_cursor ? ", and more on the next page. Sorting is within this page." : ".");
  }

  function renderEmpty(report, request, answer, rows) {
    const box = $("empty");
    box.hidden = rows.length > 0 && answer.total !== 0;
    if (box.hidden) return;
    const coverage = state.reports.get(REPORTS + "coverage");
    if (report === coverage) {
      box.replaceChildren(el("p", { text: "No computer was heard in this range or in the 90 days before it. Imported logs may be older: choose an earlier range. Where agents should send, check that they do, and that they send for this company." }));
      return;
    }
    const lead = report.name === "signed-in" ? "Nobody was signed in as far as is known: blind or quiet?" : "No events in this range: blind or quiet?";
    const button = el("button", { type: "button", className: "quiet", text: "See coverage" });
    button.addEventListener("click", () => {
      const params = {};
      for (const name of ["from", "to", "tz", "site", "computer"]) if (request.params[name]) params[name] = request.params[name];
      if (request.params.at) params.to = request.params.at;
      show({ path: coverage.path, params, company: request.company }, { keepOld: true });
    });
    box.replaceChildren(el("p", { text: lead + " Coverage tells which computers were heard, and which were silent." }), button);
  }

  // eventsButton opens the raw events of a row. The address is data: only our own path, which the server tells without BASE, is followed.
  function eventsButton(row) {
    let url;
    try { url = new URL(row.events_url, location.origin); } catch { return ""; }
    if (url.origin !== location.origin || url.pathname !== EVENTS) return "";
    const button = el("button", { type: "button", text: "Events", "aria-label": "Events of " + (row.user || "this session") + " at " + (row.computer || "") });
    button.addEventListener("click", () => {
      const { company, ...params } = Object.fromEntries(url.searchParams); // the company is the one shown
      if (state.shown.request.params.tz) params.tz = state.shown.request.params.tz;
      show({ path: EVENTS, params: { ...params, type: "all", account: "all" }, company: state.shown.request.company }, { keepOld: true });
    });
    return button;
  }

  // ---- wiring ----

  $("form").addEventListener("submit", (e) => { e.preventDefault(); if (current()) showForm(); });
  $("csv").addEventListener("click", () => { if (current()) downloadCSV(); });
  $("report").addEventListener("change", () => buildParams());
  $("reset").addEventListener("click", () => { clearErrors(); buildParams(false); });
  $("next").addEventListener("click", () => {
    const { request, answer } = state.shown;
    show({ path: request.path, params: { ...request.params, cursor: answer.next_cursor }, company: request.company }, { keepOld: true });
  });
  $("back").addEventListener("click", () => {
    if (!state.back.length) return;
    state.running?.abort();
    clearErrors();
    state.shown = state.back.pop();
    render();
    goToResult();
  });
  $("sign-out").addEventListener("click", signOut);
  $("use-key").addEventListener("click", () => { useKey(!!state.me); $(state.me ? "company" : "key").focus(); });
  $("forget").addEventListener("click", () => {
    state.running?.abort();
    $("key").value = "";
    state.shown = null;
    state.back = [];
    for (const id of ["figures", "tables", "empty"]) $(id).replaceChildren();
    for (const id of ["title", "scope"]) $(id).textContent = "";
    $("result").hidden = true;
    clearErrors();
    $("status").textContent = "The key and the answers are forgotten.";
    $("key").focus();
  });
  start();
})();
