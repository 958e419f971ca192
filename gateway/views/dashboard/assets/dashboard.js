// What the stream tells, shown. Every text is set as text; nothing here makes HTML of strings.

import { Charts } from "./charts.js";
import { clock, explain, setText, show, showHour, showRefusals, showServices, showUsage } from "./tables.js";

const SILENCE_MS = 5000;
const AGAIN_MS = 2000;
const NEWS_MS = 5000;
const MINUTE_MS = 60000;

const at = (id) => document.getElementById(id);
const charts = new Charts();
let stream = null;
let heardAt = Date.now();
let again = null;
let moment = null; // the last that was told
let ahead = 0; // how far the gateway's clock is ahead of ours
let isFirst = true; // no refusals shown yet
let state = {}; // what was last announced
let pendingNews = [];
let saidAt = 0;

function mark(node, how, text) {
  node.dataset.state = how;
  setText(node, text);
}

function announce(text) {
  pendingNews.push(text);
}

// Politely: one sentence each few seconds, whatever happens.
function sayNews() {
  if (!pendingNews.length || Date.now() - saidAt < NEWS_MS) return;
  setText(at("news"), pendingNews.splice(0).slice(-3).join(" "));
  saidAt = Date.now();
}

// Announce a thing that changed, but not how it was at first.
function notice(name, value, text) {
  if (state[name] !== undefined && state[name] !== value) announce(text);
  state[name] = value;
}

function showStream(how, text) {
  const pill = at("stream");
  if (pill.dataset.state !== how) {
    notice("stream", how, how === "good" ? "Live again." : "The connection to the gateway is lost.");
  }
  pill.dataset.state = how;
  setText(at("stream-text"), text);
  at("banner-stream").hidden = how !== "bad";
}

function level(tokens) {
  if (tokens.available === null) return ["warn", "not known"];
  if (tokens.debt > 0) return ["bad", "in debt"];
  if (tokens.available < tokens.floor) return ["bad", "below the floor"];
  if (tokens.available < tokens.safety_buffer) return ["warn", "below the buffer"];
  return ["good", "fine"];
}

function showTokens(tokens) {
  const { available, capacity, floor, safety_buffer: buffer, reserved } = tokens;
  setText(at("available"), show(available));
  setText(at("balance"), show(tokens.remaining));
  setText(at("held"), show(reserved));
  setText(at("floor"), show(floor));
  setText(at("buffer"), show(buffer));
  setText(at("capacity"), capacity ? show(capacity) : "–");
  const [how, text] = level(tokens);
  at("level").hidden = false;
  mark(at("level"), how, text);
  notice("level", text, `Available tokens: ${show(available)}, ${text}.`);

  const whole = Math.max(capacity, tokens.remaining ?? 0, buffer, 1);
  const part = (value) => `${(100 * Math.min(whole, Math.max(0, value ?? 0))) / whole}%`;
  at("gauge-free").style.width = part(available);
  at("gauge-held").style.left = part(available);
  at("gauge-held").style.width = available === null ? "0" : part(Math.min(reserved, whole - Math.max(0, available)));
  at("mark-floor").style.left = part(floor);
  at("mark-buffer").style.left = part(buffer);
  const gauge = at("gauge");
  gauge.setAttribute("aria-valuemin", String(Math.min(0, available ?? 0)));
  gauge.setAttribute("aria-valuemax", String(whole));
  gauge.setAttribute("aria-valuenow", String(available ?? 0));
  gauge.setAttribute(
    "aria-valuetext",
    `${show(available)} of ${show(whole)}, ${text}; held ${show(reserved)}, floor ${show(floor)}, buffer ${show(buffer)}`,
  );

  setText(at("gain"), `+${show(tokens.gain)}`);
  setText(at("rate"), tokens.flow_reduction ? `${show(tokens.refill_rate)} − ${tokens.flow_reduction}` : show(tokens.refill_rate));
  setText(at("used"), show(tokens.total_used));
  setText(at("calls"), show(tokens.requests_made));
}

function showHealth(now) {
  const how = (id) => at(id).querySelector(".how");
  const circuits = {
    closed: ["good", "answers"],
    open: ["bad", "fails: circuit is open"],
    half_open: ["warn", "is tried again"],
  };
  mark(how("health-breaker"), ...(circuits[now.breaker] || ["warn", now.breaker]));
  notice("breaker", now.breaker, now.breaker === "closed" ? "Keepa answers again." : "Keepa fails.");
  at("banner-breaker").hidden = now.breaker === "closed";
  setText(
    at("banner-breaker-text"),
    now.breaker === "open"
      ? "The circuit is open: this gateway refuses calls, and tries Keepa again by itself."
      : "It is being asked again right now.",
  );
  const kind = now.store.kind === "redis" ? "Redis" : "Embedded store";
  mark(how("health-store"), now.store.up ? "good" : "bad", now.store.up ? `${kind} answers` : `${kind} does not answer`);
  notice("store", now.store.up, now.store.up ? "The ledger's store answers again." : "The ledger's store does not answer.");
  if (now.store.up) {
    mark(how("health-gateways"), "good", `${show(now.gateways)} running`);
  } else {
    mark(how("health-gateways"), "warn", "not known");
    mark(how("health-age"), "warn", "not known");
  }
  mark(how("health-enforce"), now.enforce ? "good" : "warn", now.enforce ? "are enforced" : "shadow mode: only counted");
}

function showRepeats(day) {
  const minutes = day.minutes === null ? "" : `, ${show(Math.round(day.minutes))} min of the plan`;
  setText(at("repeated"), `${show(day.tokens)} tokens${minutes}`);
}

function showAge() {
  if (!moment || !moment.tokens || !moment.store.up) return;
  const node = at("health-age").querySelector(".how");
  const told = moment.tokens.observed_seconds_ago;
  if (told === null) {
    mark(node, "bad", "not known");
    return;
  }
  const seconds = Math.round(told + (Date.now() + ahead - moment.at) / 1000);
  const text = seconds < 120 ? `seen ${seconds} s ago` : `seen ${Math.round(seconds / 60)} min ago`;
  // Half as old again: the refresh has had its time.
  mark(node, seconds > moment.max_age_seconds * 1.5 ? "warn" : "good", text);
}

function showCountdown() {
  if (!moment || !moment.store.up || !moment.tokens || moment.tokens.refill_in_ms === null) {
    setText(at("countdown"), "–");
    at("lump-progress").style.width = "0";
    return;
  }
  const left = Math.max(0, moment.at + moment.tokens.refill_in_ms - ahead - Date.now());
  const seconds = Math.ceil(left / 1000);
  setText(at("countdown"), seconds > 99 ? `${Math.ceil(seconds / 60)} min` : `${seconds} s`);
  at("lump-progress").style.width = `${100 * (1 - Math.min(1, left / MINUTE_MS))}%`;
}

function showMoment(now) {
  ahead = now.at - Date.now();
  setText(at("version"), now.version);
  at("banner-store").hidden = now.store.up;
  at("banner-shadow").hidden = now.enforce;
  at("banner-simulator").hidden = !now.simulated;
  document.body.classList.toggle("stale", !now.store.up);
  charts.isOld = !now.store.up;
  showHealth(now);
  if (!now.store.up) {
    const since = moment && moment.at ? ` The figures are those of ${clock.format(moment.at)}.` : "";
    const refuses = now.enforce ? "No call is admitted until it is back." : "Calls go through uncounted until it is back.";
    setText(at("banner-store-text"), refuses + (moment && moment.tokens ? since : ""));
    if (moment) {
      moment = { ...moment, store: now.store };
      mark(at("level"), "warn", "last known");
      showCountdown();
    }
    charts.draw();
    return;
  }
  moment = now;
  at("banner-balance").hidden = now.tokens.available !== null;
  showTokens(now.tokens);
  const limit = now.request_rate;
  setText(at("request-rate"), limit ? `${show(limit.per_minute)} a minute, ${show(limit.burst)} at once` : "no limit");
  showRepeats(now.repeated_tokens["24h"]);
  showServices(now.services);
  showAge();
  showCountdown();
  charts.add(
    { at: Math.floor(now.at / 1000), balance: now.tokens.remaining, held: now.tokens.reserved, used: now.tokens.total_used },
    { floor: now.tokens.floor, buffer: now.tokens.safety_buffer },
  );
  setText(at("used-hour"), show(charts.spent()));
  at("empty-hour").hidden = charts.samples.length > 30;
}

function showNews(refusals) {
  const news = showRefusals(refusals, isFirst);
  isFirst = false;
  if (news.length) {
    const last = news[0];
    const count = news.length === 1 ? "One more call was refused" : `${news.length} more calls were refused`;
    announce(`${count}, the last of ${last.service} to ${last.endpoint}: ${explain(last.reason)}.`);
  }
}

function heard(show_) {
  return (event) => {
    heardAt = Date.now();
    showStream("good", "Live");
    show_(JSON.parse(event.data));
  };
}

function connect() {
  clearTimeout(again);
  again = null;
  if (stream) stream.close();
  heardAt = Date.now();
  stream = new EventSource("dashboard/events");
  stream.addEventListener("session", heard((session) => { at("logout").hidden = session.ends === null; }));
  stream.addEventListener("hour", heard((samples) => charts.begin(samples)));
  stream.addEventListener("usage", heard(showUsage));
  stream.addEventListener("refusals", heard(showNews));
  stream.addEventListener("now", heard(showMoment));
  stream.addEventListener("error", lose);
}

function lose() {
  stream.close();
  const last = moment ? ` The figures are those of ${clock.format(moment.at)}.` : "";
  setText(at("banner-stream-text"), `The connection to the gateway is lost; it is tried again each few seconds.${last}`);
  showStream("bad", "Not live");
  if (!again) again = setTimeout(tryAgain, AGAIN_MS);
}

// A browser gives a refused stream up for good, and does not say why: ask.
async function tryAgain() {
  again = null;
  try {
    const answer = await fetch("dashboard/events", { method: "HEAD", cache: "no-store" });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (answer.ok) {
      connect();
      return;
    }
  } catch {
    // Still away.
  }
  again = setTimeout(tryAgain, AGAIN_MS);
}

function watch() {
  if (!again && Date.now() - heardAt > SILENCE_MS) lose();
  showCountdown();
  showAge();
  sayNews();
}

function describe() {
  charts.describe();
  if (at("hour-details").open) showHour(charts.rows());
}

at("hour-details").addEventListener("toggle", describe);
// Asleep, a device hears nothing: when it wakes, what it shows is old.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() - heardAt > SILENCE_MS) connect();
});
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
setInterval(watch, 250);
setInterval(describe, 10000);
setTimeout(describe, 1500);
connect();
