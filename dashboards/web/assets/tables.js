// How answers look: values as text, rows as tables, a week as a map. Whatever comes
// from the server is inserted as text only.
"use strict";

const tables = (() => {
  // What is read first stands first; columns that are not named here follow as they came.
  const LEAD = {
    "time-spent": ["day", "user", "computer", "site", "total_seconds", "active_seconds", "paused_seconds", "sessions", "inferred_sessions", "first", "last"],
    "sessions": ["user", "computer", "start", "end", "events_url", "active_seconds", "paused_seconds", "end_reason", "end_confidence"],
    "signed-in": ["user", "computer", "state", "start", "events_url", "active_seconds", "paused_seconds", "end", "end_reason"],
    "frequency": ["day", "weekday_name", "hour", "start", "user", "computer", "site", "events"],
    "failures": ["user", "computer", "address", "reason_text", "site", "failures", "reasons", "first", "last"],
    "bursts": ["kind", "user", "address", "failures", "first", "last"],
    "first-last": ["day", "user", "first_logon", "last_logon", "last_logoff", "first_seen", "last_seen", "first_computer", "last_computer"],
    "coverage": ["computer", "flags", "last_seen", "silent_seconds", "events", "missing_records", "future_events", "lag_median_seconds", "lag_p95_seconds"],
    "events": ["time", "type", "user", "computer", "logon_type", "source_ip", "reason", "event_id", "site", "domain", "account"],
  };
  const BARS = { "frequency": "events", "failures": "failures", "time-spent": "total_seconds", "totals": "events" };
  // Columns that say what another one says.
  const TWICE = { weekday: "weekday_name", reason: "reason_text", reasons: "reason_text", site_id: "site" };
  const OF_GROUP = { users: "user", computers: "computer", addresses: "address" }; // always 1 in rows of one user, computer, address
  const CODES = ["type", "account", "kind", "state", "opened_by", "end_reason", "end_confidence", "flags"];
  const LABELS = {
    tz: "Time zone", group_by: "Group by", ip: "IP address", q: "Name begins with", at: "At", to: "To (this day included)",
    sign_ins: "Sign-ins", sign_offs: "Sign-offs", weekday_name: "Weekday", reason_text: "Reason", events_url: "Events", seconds: "Length",
    lag_p95_seconds: "Lag, 95%",
  };
  const GROUPS = { weekday_hour: "weekday × hour", hour_of_day: "hour of the day" };
  const WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
  const SHADES = 6;

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
  const groupText = (group) => GROUPS[group] || group.replaceAll("_", " ");

  // ---- values ----

  const isTime = (v) => typeof v === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(v);
  const isSeconds = (name) => /_seconds$/.test(name) || name === "seconds";
  const number = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 3 });

  // timeText is a time on the clock of the report's zone; the milliseconds matter where events are told apart.
  function timeText(v, milliseconds = false) {
    const [, day, clock, fraction] = v.match(/^(.{10})T(.{8})(\.\d+)?/);
    return day + " " + clock + (milliseconds ? (fraction || ".").padEnd(4, "0").slice(0, 4) : "");
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

  const hourText = (hour) => String(hour).padStart(2, "0") + ":00";

  // text is a value for people. In a row of one day times need no date.
  function text(name, v, row = {}) {
    if (v === null || v === undefined || v === "") return "";
    if (typeof v === "boolean") return v ? "yes" : "no";
    if (typeof v === "number") {
      if (isSeconds(name)) return duration(v);
      if (name === "hour") return hourText(v);
      return /(_id|_type|^weekday)$/.test(name) ? String(v) : number.format(v);
    }
    if (isTime(v)) {
      if (name === "start" && typeof row.hour === "number") return v.slice(11); // with the offset, which alone differs where a day has an hour twice
      if (row.day && v.startsWith(row.day)) return v.slice(11, 19);
      if (row.day && v.slice(0, 10) > row.day && v.slice(11, 19) === "00:00:00") return "24:00:00"; // the end of the day
      return timeText(v, name === "time" || name === "received");
    }
    if (Array.isArray(v)) return v.map((one) => text(name, one)).join(v.some((one) => one && typeof one === "object") ? "; " : ", ");
    if (typeof v === "object") {
      if (v.text && v.failures !== undefined) return v.text + " (" + number.format(v.failures) + ")"; // a reason
      if (v.records !== undefined) return (v.channel || "(no log)") + ": " + number.format(v.records) + " records, " + number.format(v.missing) + " missing";
      return Object.entries(v).map(([k, one]) => words(k) + " " + text(k, one)).join(", ");
    }
    return CODES.includes(name) ? String(v).replaceAll("_", " ") : String(v);
  }

  // ---- tables ----

  // columnsOf are the columns that tell something, in the order in which they are read. The address of what ended a
  // session is for programs: its end and reason stand in the row.
  function columnsOf(rows, kind) {
    const names = [];
    for (const row of rows) for (const name of Object.keys(row)) if (!names.includes(name) && name !== "ended_by_url") names.push(name);
    const buckets = new Set(rows.map((row) => row.day + " " + row.hour)); // fewer than rows where a day has an hour twice
    const told = names.filter((name) => rows.some((row) => text(name, row[name]) !== "")
      && !(kind === "frequency" && name === "start" && buckets.size === rows.length)
      && !(TWICE[name] && rows.every((row) => row[TWICE[name]]))
      && !(OF_GROUP[name] && rows.every((row) => row[OF_GROUP[name]] && row[name] === 1) && kind !== "bursts")
      && !(name === "seconds" && rows.every((row) => row.seconds === rows[0].seconds)));
    const lead = (LEAD[kind] || []).filter((name) => told.includes(name));
    const rest = told.filter((name) => !lead.includes(name));
    return [...lead, ...rest.filter((name) => name !== "id"), ...rest.filter((name) => name === "id")]; // ids are long and read last
  }

  // table shows rows, sortable by every column. behind makes the button that leads to what is behind a row.
  function table(rows, kind, caption, behind) {
    const columns = columnsOf(rows, kind);
    const bar = BARS[kind];
    const most = bar ? Math.max(0, ...rows.map((row) => Number(row[bar]) || 0)) : 0;
    const numeric = (name) => rows.every((row) => row[name] === null || row[name] === undefined || typeof row[name] === "number") && !/(_id|_type)$/.test(name);
    const body = el("tbody");
    const heads = columns.map((name) => {
      if (name === "events_url") return el("th", { scope: "col", className: "plain", text: labelOf(name) });
      const button = el("button", { type: "button", text: labelOf(name) });
      const head = el("th", { scope: "col", className: numeric(name) ? "num" : "" }, button);
      button.addEventListener("click", () => sortBy(name, head));
      return head;
    });
    const lines = rows.map((row) => ({ row, node: el("tr", {}, ...columns.map((name) => cell(name, row))) }));
    body.append(...lines.map((l) => l.node));

    function cell(name, row) {
      const v = row[name];
      if (name === "events_url") return el("td", {}, behind ? behind(row) : "");
      const shown = text(name, v, row);
      if (Array.isArray(v) && v.length > 1 && typeof v[0] === "object") {
        return el("td", {}, el("ul", { className: "lines" }, ...v.map((one) => el("li", { text: text(name, one) }))));
      }
      const node = el("td", { text: shown || "–" });
      if (shown === "") { node.className = "none"; node.title = "not recorded"; }
      else if (isTime(v)) { node.className = "time"; node.title = v; }
      else if (numeric(name)) { node.className = "num"; if (isSeconds(name)) node.title = v + " seconds"; }
      else if (name === "id" || name === "sid" || /^S-1-/.test(shown)) node.className = "id";
      else if (shown.length <= 40) node.className = "short";
      if (name === bar && most > 0) node.append(el("meter", { min: 0, max: most, value: Number(v) || 0, "aria-hidden": "true" }));
      return node;
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

    return scroller(caption, el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, ...heads)), body));
  }

  // week shows the hours of the week as a map. Its shades are rates: a range need not hold every weekday equally often.
  function week(rows, caption) {
    const rate = (row) => row && row.seconds ? row.events / row.seconds : 0;
    const most = Math.max(...rows.map(rate));
    const at = (day, hour) => rows.find((row) => row.weekday === day + 1 && row.hour === hour);
    const hours = [...Array(24).keys()];
    const head = el("tr", {}, el("td"), ...hours.map((hour) => el("th", { scope: "col", text: String(hour).padStart(2, "0") })));
    const body = WEEK.map((name, day) => el("tr", {}, el("th", { scope: "row", text: name }), ...hours.map((hour) => {
      const row = at(day, hour);
      if (!row || !row.seconds) return el("td", { className: "none", text: "", title: name + " " + hourText(hour) + ": not in the range" });
      const shade = most > 0 ? Math.ceil(rate(row) / most * SHADES) : 0;
      return el("td", { className: "shade" + shade, text: number.format(row.events), title: name + " " + hourText(hour) + ": " + number.format(row.events) + " in " + duration(row.seconds) });
    })));
    return scroller(caption, el("table", { className: "week", "aria-label": caption }, el("thead", {}, head), el("tbody", {}, ...body)));
  }

  const scroller = (caption, node) => el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption + ", table" }, node);

  return { el, words, labelOf, groupText, isSeconds, number, timeText, text, table, week };
})();
