// The tables. Names are callers' words: they are only ever set as text.

const number = new Intl.NumberFormat("en");
export const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const FRESH_MS = 4000;

const REASONS = {
  floor: "Would cross the floor",
  service_floor: "Would cross the service's floor",
  exceeds_capacity: "Dearer than a full bucket",
  service_quota: "Service's quota is used up",
  service_concurrency: "Service has enough calls in flight",
  max_cost: "Dearer than one call may be",
  max_offers: "More offers than allowed",
  code_limit: "More products a code than allowed",
  rate_limited: "Request rate is used up",
  unauthorized: "Unknown or missing service key",
  blocked: "Service is blocked",
  endpoint_not_allowed: "Endpoint is not the service's",
  not_found: "No endpoint of Keepa's",
  method_not_allowed: "Neither GET nor POST",
  too_slow: "Request came too slowly",
  too_large: "Request is too large",
  unsupported_encoding: "Body cannot be read",
  bad_request: "Not well-formed",
  ledger_unavailable: "Ledger's store does not answer",
  balance_unknown: "Balance is not known",
  circuit_open: "Keepa fails: circuit is open",
  overloaded: "Too many calls wait for Keepa",
  upstream_unreachable: "Keepa was not reached",
  upstream_timeout: "Keepa did not answer in time",
};

export function show(value) {
  return value === null || value === undefined ? "–" : number.format(value);
}

export function explain(reason) {
  return REASONS[reason] || reason;
}

// Set text only where it changes, so that nobody's selection or reading is disturbed.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(kind, classes, text) {
  const node = document.createElement(kind);
  if (classes) node.className = classes;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Keep the rows of `body` as `items` are: each under its key, in this order.
function keepRows(body, items, keyOf, begin, fill) {
  const known = new Map();
  for (const row of body.rows) known.set(row.dataset.key, row);
  items.forEach((item, at) => {
    const key = keyOf(item);
    const row = known.get(key) || begin(item);
    known.delete(key);
    row.dataset.key = key;
    fill(row, item);
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
  });
  for (const row of known.values()) row.remove();
}

// A narrow screen shows rows as blocks, and the columns' names in the cells. Display that is none of a
// table's would take the table's roles away: they are said.
function makeRow(labels, headAt = 0) {
  const row = make("tr");
  row.setAttribute("role", "row");
  labels.forEach((label, at) => {
    const cell = make(at === headAt ? "th" : "td", label ? "number" : "");
    cell.setAttribute("role", at === headAt ? "rowheader" : "cell");
    if (at === headAt) cell.scope = "row";
    if (label) cell.dataset.label = label;
    row.append(cell);
  });
  return row;
}

function fillUse(cell, spent, mostOfAll) {
  if (!cell.firstChild) {
    const bar = make("span", "share");
    bar.setAttribute("aria-hidden", "true");
    bar.append(make("i"));
    cell.append(make("span"), make("span", "of"), bar);
  }
  const [used, of, bar] = cell.children;
  setText(used, show(spent.used));
  setText(of, spent.cap === null ? "" : ` of ${show(spent.cap)}`);
  const whole = spent.cap === null ? mostOfAll : spent.cap;
  bar.firstChild.style.width = `${Math.min(100, whole ? (100 * spent.used) / whole : 0)}%`;
}

export function showServices(services) {
  const body = document.getElementById("service-rows");
  const items = Object.entries(services).sort(
    (one, other) =>
      other[1].hour.used - one[1].hour.used || other[1].used - one[1].used || (one[0] < other[0] ? -1 : 1),
  );
  const mostThisHour = Math.max(0, ...items.map(([, use]) => use.hour.used));
  const mostToday = Math.max(0, ...items.map(([, use]) => use.day.used));
  keepRows(body, items, ([name]) => name, () => makeRow(["", "This hour", "Held", "In flight", "Waiting", "Refused", "Today", "In all", "Floor"]), (row, [name, use]) => {
    const [service, hour, held, flying, waiting, refused, day, all, floor] = row.cells;
    setText(service, name);
    fillUse(hour, use.hour, mostThisHour);
    setText(held, show(use.reserved));
    setText(flying, show(use.holds));
    setText(waiting, show(use.waiting));
    setText(refused, show(use.denied));
    fillUse(day, use.day, mostToday);
    setText(all, show(use.used));
    setText(floor, show(use.floor));
  });
  document.getElementById("services").hidden = !items.length;
  document.getElementById("note-services").hidden = !items.length;
  document.getElementById("empty-services").hidden = items.length > 0;
}

export function showUsage({ since, rows }) {
  setText(document.getElementById("usage-since"), minutes.format(since));
  const body = document.getElementById("usage-rows");
  keepRows(body, rows, (item) => `${item.service}/${item.endpoint}`, () => makeRow(["", "", "Tokens", "Calls", "Refused"]), (row, item) => {
    setText(row.cells[0], item.service);
    setText(row.cells[1], item.endpoint);
    setText(row.cells[2], show(item.tokens));
    setText(row.cells[3], show(item.calls));
    setText(row.cells[4], show(item.refusals));
  });
  document.getElementById("usage").hidden = !rows.length;
}

function beginRefusal(item, isNews) {
  const row = makeRow(["", "", "", "", "Needed", "Missing"], 1);
  if (isNews) {
    row.className = "fresh";
    setTimeout(() => { row.className = ""; }, FRESH_MS);
  }
  const [when, service, endpoint, reason, needed, missing] = row.cells;
  const time = make("time", "", clock.format(item.at));
  time.dateTime = new Date(item.at).toISOString();
  when.append(time);
  service.textContent = item.service;
  endpoint.textContent = item.endpoint;
  reason.textContent = explain(item.reason);
  reason.title = item.reason;
  if (!item.enforced) {
    const badge = make("span", "badge", "let through");
    badge.dataset.state = "warn";
    reason.append(" ", badge);
  }
  // Without a deficit, tokens are not the reason.
  needed.textContent = item.deficit === null ? "–" : show(item.required);
  missing.textContent = item.deficit ? show(item.deficit) : "–";
  return row;
}

// Returns those that were not shown before.
export function showRefusals(refusals, isFirst) {
  const body = document.getElementById("refusal-rows");
  const known = new Set(Array.from(body.rows, (row) => row.dataset.key));
  const news = refusals.filter((item) => !known.has(item.number));
  keepRows(body, refusals, (item) => item.number, (item) => beginRefusal(item, !isFirst), () => {});
  document.getElementById("refusals").hidden = !refusals.length;
  document.getElementById("empty-refusals").hidden = refusals.length > 0;
  return isFirst ? [] : news;
}

export function showHour(rows) {
  const body = document.getElementById("hour-rows");
  keepRows(body, rows, (item) => String(item.from), () => makeRow(["", "Available", "Held", "Used"]), (row, item) => {
    setText(row.cells[0], minutes.format(item.from * 1000));
    setText(row.cells[1], show(item.available));
    setText(row.cells[2], show(item.held));
    setText(row.cells[3], show(item.used));
  });
}
