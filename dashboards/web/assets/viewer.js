// The report viewer. It builds its form from the API's own description and shows
// answers as tables. Whatever comes from the server is inserted as text only.
"use strict";

(() => {
  const REPORTS = "/api/v1/reports/";
  const EVENTS = "/api/v1/events";
  const MAIN = ["from", "to", "at", "tz", "group_by"]; // above "More filters"
  const OURS = ["company", "format", "cursor"]; // not for people to fill in
  const MAX_ROWS_SHOWN = 5000; // more rows than that make a browser slow; CSV takes what the API gives
  const MAX_STEPS_BACK = 20; // answers kept for Back; older ones are forgotten
  const BARS = { "frequency": "events", "failures": "failures", "time-spent": "total_seconds", "totals": "events" };
  const LABELS = { tz: "Time zone", group_by: "Group by", ip: "IP address", q: "Name begins with", at: "At", to: "To (this day included)" };

  const HINTS = {
    from: "The range begins at this day's midnight. Empty: 30 days.", to: "Empty: until now.",
    at: "Empty: now.", tz: "An IANA name, such as Europe/London. Empty: the company's.",
  };

  const $ = (id) => document.getElementById(id);
  const state = { reports: new Map(), shown: null, back: [], running: null };

  function el(tag, props = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (name === "text") node.textContent = value;
      else if (name in node && name !== "list") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  const words = (name) => {
    const text = name.replace(/_seconds$/, "").replaceAll("_", " ");
    return (text.charAt(0).toUpperCase() + text.slice(1)).replace(/\bip\b/i, "IP").replace(/\bid\b/, "id").replace(/\bsid\b/i, "SID");
  };
  const labelOf = (name) => LABELS[name] || words(name);

  // ---- the form ----

  async function start() {
    try {
      const doc = await (await fetch("/api/openapi.json")).json();
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
    $("key").focus();
  }

  function current() { return state.reports.get($("report").value); }

  // buildParams makes the fields of the chosen report; values that it shares with the one before stay.
  function buildParams(keep = true) {
    const report = current();
    if (!report) return;
    const values = keep ? rawValues() : new Map();
    $("report-hint").textContent = report.description || "";
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
      const checks = schema.items.enum.map((value) => el("label", {}, el("input", { type: "checkbox", name: p.name, value, checked: old.includes(value) }), value.replaceAll("_", " ")));
      const box = el("div", { className: checks.length > 8 ? "checks long" : "checks" }, ...checks);
      return el("fieldset", { className: "field", id, "aria-describedby": hint.id, tabIndex: -1 }, el("legend", { text: labelOf(p.name) }), box, hint);
    }
    let input;
    if (schema.enum) {
      input = el("select", {}, el("option", { value: "", text: "(default)" }), ...schema.enum.map((v) => el("option", { value: v, text: String(v).replaceAll("_", " ") })));
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

  function formRequest() {
    const params = {};
    for (const [name, values] of rawValues()) params[name] = values.join(",");
    if (params.to) params.to = dayAfter(params.to); // the API's to is not part of the range
    return { path: current().path, params };
  }

  function dayAfter(date) {
    const t = new Date(date + "T00:00:00Z");
    t.setUTCDate(t.getUTCDate() + 1);
    return t.toISOString().slice(0, 10);
  }

  // ---- asking ----

  async function ask(request, extra = {}) {
    const key = $("key").value.trim();
    if (!key) throw { message: "Paste an API key with the scope read first.", errors: [{ field: "key", message: "is missing" }], local: true };
    if (/[^\x21-\x7e]/.test(key)) throw { message: "This is not an API key: it contains spaces or characters that keys do not have.", errors: [{ field: "key", message: "is not a key" }], local: true };
    state.running?.abort();
    const abort = state.running = new AbortController();
    busy(true);
    try {
      const query = new URLSearchParams({ ...request.params, ...extra });
      let response;
      try {
        response = await fetch(request.path + "?" + query, { headers: { "X-API-Key": key }, signal: abort.signal, credentials: "omit", cache: "no-store", redirect: "error" });
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
      $("result").focus({ preventScroll: keepOld ? false : true });
    } catch (err) {
      if (err.name !== "AbortError") fail(err);
    }
  }

  async function downloadCSV() {
    clearErrors();
    const request = formRequest();
    const limit = current().params.find((p) => p.name === "limit");
    const extra = { format: "csv" };
    if (limit?.schema?.maximum && !request.params.limit) extra.limit = limit.schema.maximum;
    try {
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
    if (err.status === 401) parts.push(el("p", { text: "Check the API key: a wrong, revoked or expired key is refused." }));
    if (err.retry) parts.push(el("p", { text: "Try again in " + err.retry + " seconds." }));
    if (err.status >= 500 && err.request_id) parts.push(el("p", { text: "For the administrator: request " + err.request_id }));
    box.replaceChildren(...parts);
    box.hidden = false;
    $("status").textContent = "";
    let first = null;
    for (const e of list) {
      const node = $(e.field) && e.field === "key" ? $("key") : $("p-" + e.field);
      if (!node) continue;
      node.setAttribute("aria-invalid", "true");
      if (node.closest("details")) node.closest("details").open = true;
      first = first || node;
    }
    if (!first && err.status === 401) { first = $("key"); first.setAttribute("aria-invalid", "true"); }
    (first || box).focus();
  }

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  // ---- showing ----

  const isTime = (v) => typeof v === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(v);
  const isSeconds = (name) => /_seconds$/.test(name) || name === "seconds";
  const number = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 3 });

  function timeText(v) {
    const [, day, clock, fraction] = v.match(/^(.{10})T(.{8})(\.\d+)?/);
    return day + " " + clock + (fraction && Number(fraction) ? fraction : "");
  }

  function duration(seconds) {
    const sign = seconds < 0 ? "-" : "";
    let s = Math.abs(seconds);
    if (s < 60) return sign + number.format(s) + " s";
    s = Math.round(s);
    if (s < 3600) return sign + Math.floor(s / 60) + " min " + String(s % 60).padStart(2, "0") + " s";
    const minutes = Math.round(s / 60);
    return sign + number.format(Math.floor(minutes / 60)) + " h " + String(minutes % 60).padStart(2, "0") + " min";
  }

  function text(name, v) {
    if (v === null || v === undefined || v === "") return "";
    if (typeof v === "boolean") return v ? "yes" : "no";
    if (typeof v === "number") {
      if (isSeconds(name)) return duration(v);
      return /(_id|_type|^hour|^weekday)$/.test(name) ? String(v) : number.format(v);
    }
    if (isTime(v)) return timeText(v);
    if (Array.isArray(v)) return v.map((one) => text(name, one)).join(v.some((one) => one && typeof one === "object") ? "; " : ", ");
    if (typeof v === "object") {
      if (v.text && v.failures !== undefined) return v.text + " (" + number.format(v.failures) + ")"; // a reason
      if (v.channel && v.records !== undefined) return v.channel + ": " + number.format(v.records) + " records, " + number.format(v.missing) + " missing";
      return Object.entries(v).map(([k, one]) => words(k) + " " + text(k, one)).join(", ");
    }
    return String(v);
  }

  function render() {
    const { request, answer } = state.shown;
    const report = state.reports.get(request.path);
    const rows = answer.rows || [];
    $("result").hidden = false;
    $("title").textContent = report.summary;
    const parts = [answer.company];
    if (answer.at) parts.push("at " + timeText(answer.at));
    else if (answer.from) parts.push(timeText(answer.from) + " to " + timeText(answer.to));
    parts.push(answer.tz);
    const filters = Object.entries(request.params).filter(([name]) => !["from", "to", "at", "tz", "limit", "cursor", "group_by"].includes(name));
    if (answer.group_by) parts.push("by " + [answer.group_by].flat().join(", ").replaceAll("_", " "));
    for (const [name, value] of filters) parts.push(labelOf(name) + ": " + value);
    $("scope").textContent = parts.join(" · ");

    const skip = ["report", "company", "from", "to", "at", "tz", "generated_at", "group_by", "next_cursor", "rows"];
    const figures = Object.entries(answer).filter(([name, v]) => !skip.includes(name) && (typeof v !== "object" || v === null));
    $("figures").replaceChildren(...figures.map(([name, v]) => {
      const shown = text(name, v);
      return el("div", {}, el("dt", { text: words(name) }), el("dd", { text: shown || "none", className: typeof v === "number" && !isSeconds(name) ? "" : "text" }));
    }));

    const tables = [];
    for (const [name, v] of Object.entries(answer)) {
      if (name === "rows" || !Array.isArray(v) || !v.length || typeof v[0] !== "object") continue;
      tables.push(el("h3", { text: words(name) }), table(v, words(name), ""));
    }
    if (rows.length) {
      if (tables.length) tables.push(el("h3", { text: "Rows" }));
      tables.push(table(rows, report.summary, BARS[report.name]));
    }
    $("tables").replaceChildren(...tables);
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
      box.replaceChildren(el("p", { text: "No computer was heard in this range or in the 90 days before it. Nothing arrives: check that agents send, and that this key belongs to their company." }));
      return;
    }
    const lead = report.name === "signed-in" ? "Nobody was signed in as far as is known: blind or quiet?" : "No events in this range: blind or quiet?";
    const button = el("button", { type: "button", className: "quiet", text: "See coverage" });
    button.addEventListener("click", () => {
      const params = {};
      for (const name of ["from", "to", "tz", "site", "computer"]) if (request.params[name]) params[name] = request.params[name];
      if (request.params.at) params.to = request.params.at;
      show({ path: coverage.path, params }, { keepOld: true });
    });
    box.replaceChildren(el("p", { text: lead + " Coverage tells which computers were heard, and which were silent." }), button);
  }

  // table shows rows, sortable by every column. Columns that are empty in every row are left out.
  function table(rows, caption, bar) {
    const names = [];
    for (const row of rows) for (const name of Object.keys(row)) if (!names.includes(name)) names.push(name);
    const filled = names.filter((name) => rows.some((row) => text(name, row[name]) !== "") && !(name === "site_id" && rows.every((row) => row.site)));
    const link = filled.includes("events_url");
    const columns = [...filled.filter((name) => !["events_url", "id"].includes(name)), ...filled.filter((name) => name === "id")]; // ids are long and read last
    const most = bar ? Math.max(0, ...rows.map((row) => Number(row[bar]) || 0)) : 0;
    const numeric = (name) => rows.every((row) => row[name] === null || row[name] === undefined || typeof row[name] === "number") && !/(_id|_type)$/.test(name);
    const body = el("tbody");
    const heads = columns.map((name) => {
      const button = el("button", { type: "button", text: isSeconds(name) && name === "seconds" ? "Length" : words(name) });
      const head = el("th", { scope: "col", className: numeric(name) ? "num" : "" }, button);
      button.addEventListener("click", () => sortBy(name, head));
      return head;
    });
    if (link) heads.push(el("th", { scope: "col" }, el("button", { type: "button", text: "Behind it", disabled: true })));
    const lines = rows.map((row) => ({ row, node: line(row) }));
    body.append(...lines.map((l) => l.node));

    function line(row) {
      const cells = columns.map((name) => {
        const v = row[name];
        const shown = text(name, v);
        const cell = el("td", { text: shown || "–" });
        if (shown === "") { cell.className = "none"; cell.title = "not recorded"; }
        else if (isTime(v)) { cell.className = "time"; cell.title = v; }
        else if (numeric(name)) { cell.className = "num"; if (isSeconds(name)) cell.title = v + " seconds"; }
        else if (name === "id" || name === "sid") cell.className = "id";
        else if (typeof v === "string" && shown.length <= 40) cell.className = "short";
        if (name === bar && most > 0) cell.append(el("meter", { min: 0, max: most, value: Number(v) || 0, "aria-hidden": "true" }));
        return cell;
      });
      if (link) cells.push(el("td", {}, eventsButton(row)));
      return el("tr", {}, ...cells);
    }

    function sortBy(name, head) {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      for (const other of heads) other.firstChild.textContent = other.firstChild.textContent.replace(/ [▲▼]$/, "");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      head.firstChild.textContent += down ? " ▼" : " ▲";
      const of = (row) => { const v = row[name]; return isTime(v) ? Date.parse(v) : typeof v === "number" ? v : typeof v === "boolean" ? Number(v) : text(name, v); };
      lines.sort((a, b) => {
        const x = of(a.row), y = of(b.row);
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is not recorded stays at the end
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
        return down ? -order : order;
      });
      body.append(...lines.map((l) => l.node));
    }

    return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
      el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, ...heads)), body));
  }

  // eventsButton opens the raw events of a row. The address is data: only our own path is followed.
  function eventsButton(row) {
    let url;
    try { url = new URL(row.events_url, location.origin); } catch { return ""; }
    if (url.origin !== location.origin || url.pathname !== EVENTS) return "";
    const button = el("button", { type: "button", text: "Events", "aria-label": "Events of " + (row.user || "this session") + " at " + (row.computer || "") });
    button.addEventListener("click", () => {
      const params = Object.fromEntries(url.searchParams);
      if (state.shown.request.params.tz) params.tz = state.shown.request.params.tz;
      show({ path: EVENTS, params: { ...params, type: "all", account: "all" } }, { keepOld: true });
    });
    return button;
  }

  // ---- wiring ----

  $("form").addEventListener("submit", (e) => { e.preventDefault(); if (current()) show(formRequest()); });
  $("csv").addEventListener("click", () => { if (current()) downloadCSV(); });
  $("report").addEventListener("change", () => buildParams());
  $("reset").addEventListener("click", () => { clearErrors(); buildParams(false); });
  $("next").addEventListener("click", () => {
    const { request, answer } = state.shown;
    show({ path: request.path, params: { ...request.params, cursor: answer.next_cursor } }, { keepOld: true });
  });
  $("back").addEventListener("click", () => {
    if (!state.back.length) return;
    state.running?.abort();
    clearErrors();
    state.shown = state.back.pop();
    render();
    $("result").focus();
  });
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
