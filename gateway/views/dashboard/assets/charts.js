// The last hour: what was available; below it what was used each minute, and what was held.

/* global uPlot */
import { setText, show } from "./tables.js";

const HOUR = 3600;
const SAMPLE = 10;
// Without a sample for so long nobody was there to take one: the line has a gap.
const GAP = 35;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  constructor() {
    this.samples = []; // {at, balance, held, used}, oldest first
    this.live = null;
    this.isOld = false; // the store is away
    this.marks = { floor: null, buffer: null };
    this.minutes = [[], []];
    const sync = uPlot.sync("hour").key;
    const shared = {
      legend: { show: false },
      cursor: { sync: { key: sync, setSeries: false }, y: false, drag: { x: false, y: false } },
      hooks: { setCursor: [(plot) => this.tell(plot)] },
    };
    const times = (_, ticks) => ticks.map((at) => clock.format(at * 1000));
    const none = (_, ticks) => ticks.map(() => "");
    const axes = (names, space) => [
      { ...this.axis(), values: names, space: 56, size: names === none ? 8 : 28 },
      { ...this.axis(), size: 52, space },
    ];
    this.tokens = new uPlot({
      ...shared,
      ...this.box("chart-tokens", 220),
      hooks: { ...shared.hooks, draw: [(plot) => this.drawMarks(plot)] },
      axes: axes(none, 40),
      scales: { x: { range: () => this.range() }, y: { range: (_, low, high) => this.reach(low, high) } },
      series: [
        {},
        { width: 2, stroke: () => colour("--available"), fill: () => colour("--available-fill"), points: { show: false } },
      ],
    }, [[], []], document.getElementById("chart-tokens"));
    this.used = new uPlot({
      ...shared,
      ...this.box("chart-used", 130),
      axes: axes(times, 26),
      scales: { x: { range: () => this.range() }, y: { range: (_, low, high) => [0, Math.max(5, high || 0) * 1.1] } },
      series: [
        {},
        { width: 0, fill: () => colour("--used"), paths: uPlot.paths.bars({ size: [0.7, 40], align: 1 }), points: { show: false } },
        { width: 2, dash: [6, 3], stroke: () => colour("--held"), points: { show: false }, spanGaps: true },
      ],
    }, [[], [], []], document.getElementById("chart-used"));
    new ResizeObserver(() => this.resize()).observe(document.getElementById("chart-tokens"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  axis() {
    const grid = { stroke: () => colour("--grid"), width: 1 };
    return { stroke: () => colour("--quiet"), font: FONT, grid, ticks: { ...grid, size: 4 } };
  }

  box(id, height) {
    return { width: document.getElementById(id).clientWidth, height };
  }

  resize() {
    this.tokens.setSize(this.box("chart-tokens", 220));
    this.used.setSize(this.box("chart-used", 130));
  }

  repaint() {
    this.tokens.redraw(false, true);
    this.used.redraw(false, true);
  }

  range() {
    const end = this.live ? this.live.at : Date.now() / 1000;
    return [end - HOUR, end];
  }

  reach(low, high) {
    const marks = [this.marks.floor, this.marks.buffer].filter((mark) => mark !== null);
    const bottom = Math.min(0, low ?? 0, ...marks);
    const top = Math.max(10, high ?? 0, ...marks.map((mark) => mark * 1.5));
    return [bottom < 0 ? bottom * 1.08 : 0, top * 1.08];
  }

  drawMarks(plot) {
    const { ctx } = plot;
    const { left, width } = plot.bbox;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = `600 ${12 * ratio}px system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif`;
    ctx.textBaseline = "bottom";
    // The names on opposite sides: the marks are often close together.
    for (const [name, dash, side] of [["floor", [], "left"], ["buffer", [2, 4], "right"]]) {
      if (this.marks[name] === null) continue;
      const y = plot.valToPos(this.marks[name], "y", true);
      ctx.strokeStyle = ctx.fillStyle = colour(`--${name}`);
      ctx.lineWidth = 2 * ratio;
      ctx.setLineDash(dash.map((part) => part * ratio));
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
      ctx.textAlign = side;
      const x = side === "left" ? left + 6 * ratio : left + width - 6 * ratio;
      ctx.strokeStyle = colour("--card");
      ctx.lineWidth = 4 * ratio;
      ctx.setLineDash([]);
      ctx.strokeText(`${name} ${show(this.marks[name])}`, x, y - 3 * ratio);
      ctx.fillText(`${name} ${show(this.marks[name])}`, x, y - 3 * ratio);
    }
    ctx.restore();
  }

  // The last hour as the store has it, in place of what this page saw by itself.
  begin(samples) {
    let last = 0;
    this.samples = [];
    for (const [at, balance, held, used] of samples) {
      if (at <= last) continue;
      this.samples.push({ at, balance, held, used });
      last = at;
    }
    this.draw();
  }

  // One more moment; each ten seconds one is kept.
  add(moment, marks) {
    this.marks = marks;
    const last = this.samples.at(-1);
    if (this.live && (!last || this.live.at >= last.at + SAMPLE)) this.samples.push(this.live);
    this.live = moment;
    const oldest = moment.at - HOUR - 60;
    while (this.samples.length && this.samples[0].at < oldest) this.samples.shift();
    this.draw();
  }

  points() {
    if (!this.live) return this.samples;
    return [...this.samples.filter((sample) => sample.at < this.live.at), this.live];
  }

  draw() {
    const points = this.points();
    const [at, available] = [[], []];
    let last = null;
    for (const point of points) {
      if (last && point.at - last.at > GAP) {
        at.push(last.at + 1);
        available.push(null);
      }
      at.push(point.at);
      available.push(point.balance === null ? null : point.balance - point.held);
      last = point;
    }
    this.tokens.setData([at, available]);
    this.minutes = perMinute(points);
    const held = [points.map((point) => point.at), points.map((point) => point.held)];
    this.used.setData(uPlot.join([this.minutes, held]));
    this.tell(this.tokens);
  }

  // Say in the legend what is under the pointer, else what is now.
  tell(plot) {
    const isOver = plot.cursor.left >= 0 && plot.cursor.idx !== null && plot.cursor.idx !== undefined;
    const point = isOver ? this.nearest(plot.posToVal(plot.cursor.left, "x")) : this.points().at(-1);
    const at = (id) => document.getElementById(id);
    if (!point) return;
    const minute = this.minutes[0].lastIndexOf(point.at - (point.at % 60));
    setText(at("at-available"), show(point.balance === null ? null : point.balance - point.held));
    setText(at("at-held"), show(point.held));
    setText(at("at-used"), show(minute < 0 ? null : this.minutes[1][minute]));
    setText(at("at-when"), isOver ? `at ${clock.format(point.at * 1000)}` : this.isOld ? "last known" : "now");
  }

  nearest(moment) {
    let best = null;
    for (const point of this.points()) {
      if (!best || Math.abs(point.at - moment) < Math.abs(best.at - moment)) best = point;
    }
    return best;
  }

  // What the pictures show, in words.
  describe() {
    const known = this.points().filter((point) => point.balance !== null);
    if (!known.length) return;
    const available = known.map((point) => point.balance - point.held);
    const words =
      `Available tokens over the last hour: now ${show(available.at(-1))}, ` +
      `lowest ${show(Math.min(...available))}, highest ${show(Math.max(...available))}; ` +
      `floor ${show(this.marks.floor)}, buffer ${show(this.marks.buffer)}.`;
    document.getElementById("chart-tokens").setAttribute("aria-label", words);
    const most = Math.max(0, ...this.minutes[1]);
    document
      .getElementById("chart-used")
      .setAttribute(
        "aria-label",
        `Tokens used each minute: ${show(this.spent())} over the last hour, at most ${show(most)} in one. ` +
          `Held now: ${show(known.at(-1).held)}.`,
      );
  }

  // Tokens used over the last hour.
  spent() {
    return this.minutes[1].reduce((sum, used) => sum + used, 0);
  }

  // Newest first, five minutes each.
  rows() {
    const rows = new Map();
    for (const point of this.points()) {
      const from = point.at - (point.at % 300);
      const row = rows.get(from) || { from, used: 0 };
      row.available = point.balance === null ? null : point.balance - point.held;
      row.held = point.held;
      rows.set(from, row);
    }
    this.minutes[0].forEach((minute, index) => {
      const row = rows.get(minute - (minute % 300));
      if (row) row.used += this.minutes[1][index];
    });
    return [...rows.values()].reverse();
  }
}

function perMinute(points) {
  const used = new Map();
  let last = null;
  for (const point of points) {
    const minute = point.at - (point.at % 60);
    // An emptied store counts from nothing again.
    const more = last ? (point.used >= last.used ? point.used - last.used : point.used) : 0;
    used.set(minute, (used.get(minute) || 0) + more);
    last = point;
  }
  return [[...used.keys()], [...used.values()]];
}
