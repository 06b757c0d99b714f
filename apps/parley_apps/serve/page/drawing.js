// A timeline as a picture that scrolls: above the line what you say, below it what the model says,
// on it who has the floor.

import { PEAK } from "./timeline.js";
import { RATE } from "./sound.js";

const PER_S = RATE / PEAK; // values of loudness in a second
export const BUDGET_MS = 160;
const COST_TOP_MS = 200;
const LINE = 10; // pixels, the floor's height
const ROW = 20;
const ROWS = 3;
const WORDS_WIDE = 230; // pixels: the most that a reply's text takes beside the next one
const SYMBOLS = { shift: "▲", break: "✕", interrupted: "✕", underrun: "▾", late: "▾" };

function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = [
    "ink",
    "faint",
    "grid",
    "user",
    "model",
    "listening",
    "preparing",
    "speaking",
    "closed",
    "shift",
    "alarm",
    "paper",
  ];
  return Object.fromEntries(
    named.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}

/** Words in rows of at most `wide` pixels, as many as fit; what does not ends in an ellipsis. */
function rowsOf(text, wide, measure) {
  const rows = [];
  let row = "";
  for (const word of text.split(/\s+/)) {
    const longer = row ? `${row} ${word}` : word;
    if (!row || measure(longer) <= wide) {
      row = longer;
      continue;
    }
    rows.push(row);
    row = word;
  }
  rows.push(row);
  if (rows.length <= ROWS) return rows;
  return [...rows.slice(0, ROWS - 1), `${rows[ROWS - 1]} …`];
}

export class Drawing {
  #canvas;
  #context;
  #colours = colours();
  back = 0; // seconds that the right edge lies behind now

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    matchMedia("(prefers-color-scheme: dark)").addEventListener(
      "change",
      () => (this.#colours = colours()),
    );
  }

  get #wide() {
    return this.#canvas.clientWidth;
  }

  /** Pixels that a second is wide. */
  get scale() {
    return Math.min(72, Math.max(44, this.#wide / 18));
  }

  /** Seconds that can be seen. */
  get span() {
    return this.#wide / this.scale;
  }

  /** Moves the view by seconds, no further than there is something to see. */
  look(by, timeline) {
    const most = Math.max(0, timeline.seconds - this.span + 1);
    this.back = Math.max(0, Math.min(most, this.back + by));
  }

  /** Draws all of it; `paged` moves the view by whole pages instead of scrolling. */
  draw(timeline, { paged = false, name = "model" } = {}) {
    const tall = this.#canvas.clientHeight;
    const dots = window.devicePixelRatio || 1;
    const size = [Math.round(this.#wide * dots), Math.round(tall * dots)];
    if (this.#canvas.width !== size[0] || this.#canvas.height !== size[1])
      [this.#canvas.width, this.#canvas.height] = size;
    const g = this.#context;
    g.setTransform(dots, 0, 0, dots, 0, 0);
    g.clearRect(0, 0, this.#wide, tall);
    const view = this.#view(timeline, tall, paged);
    this.#grid(g, view);
    this.#voice(g, view, timeline, "heard", -1);
    this.#voice(g, view, timeline, "said", 1);
    this.#floors(g, view, timeline);
    this.#marks(g, view, timeline);
    this.#words(g, view, timeline);
    this.#costs(g, view, timeline);
    this.#names(g, view, name);
  }

  #view(timeline, tall, paged) {
    const lead = 0.5; // seconds of nothing right of now
    const end = timeline.seconds - this.back;
    const page = this.span - lead;
    const left =
      paged && !this.back ? Math.floor(end / page) * page : Math.max(0, end + lead - this.span);
    const costs = Math.max(36, Math.min(64, tall * 0.14));
    const words = ROWS * ROW + 6;
    const axis = 20;
    const voices = tall - costs - words - axis - LINE;
    const line = voices * 0.5;
    return {
      left,
      tall,
      line, // the top of the floor's line
      above: line - 4,
      below: voices * 0.5 - 4,
      words: line + LINE + voices * 0.5,
      costs: { top: tall - axis - costs, bottom: tall - axis },
      x: (seconds) => (seconds - left) * this.scale,
      shows: (seconds) => seconds >= left - 6 && seconds <= left + this.span,
    };
  }

  #grid(g, view) {
    const { faint, grid } = this.#colours;
    g.font = "12px system-ui, sans-serif";
    g.textBaseline = "alphabetic";
    g.textAlign = "center";
    const every = this.scale > 60 ? 1 : 2;
    for (let s = Math.ceil(view.left / every) * every; s < view.left + this.span; s += every) {
      const x = Math.round(view.x(s)) + 0.5;
      g.fillStyle = grid;
      g.fillRect(x, 0, 1, view.costs.bottom);
      g.fillStyle = faint;
      if (x > 24) g.fillText(`${s} s`, x, view.tall - 5);
    }
  }

  #voice(g, view, timeline, side, direction) {
    const room = direction < 0 ? view.above : view.below;
    const base = direction < 0 ? view.line : view.line + LINE;
    const column = timeline.loudness[side];
    g.fillStyle = this.#colours[side === "heard" ? "user" : "model"];
    // Bars lie at fixed times, so that they keep their shape while they scroll.
    const bar = 2 / this.scale;
    for (let k = Math.floor(view.left / bar); k * bar < view.left + this.span; k++) {
      const from = Math.floor(k * bar * PER_S);
      if (from >= column.size) break;
      const most = column.most(from, Math.max(from + 1, Math.floor((k + 1) * bar * PER_S)));
      const tall = (most / timeline.loudest[side]) * room;
      if (tall >= 0.5) g.fillRect(view.x(k * bar), direction < 0 ? base - tall : base, 1.4, tall);
    }
  }

  #floors(g, view, timeline) {
    g.fillStyle = this.#colours.grid;
    g.fillRect(0, view.line, this.#wide, LINE);
    timeline.floors.forEach(({ at, floor }, i) => {
      const end = timeline.floors[i + 1]?.at ?? timeline.seconds;
      if (end < view.left || at > view.left + this.span) return;
      const x = Math.max(0, view.x(at));
      g.fillStyle = this.#colours[floor] ?? this.#colours.closed;
      g.fillRect(x, view.line, Math.max(0, view.x(end) - x), LINE);
    });
    if (this.back) return;
    g.fillStyle = this.#colours.ink;
    g.fillRect(view.x(timeline.seconds), 0, 1.5, view.costs.bottom);
  }

  #marks(g, view, timeline) {
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.font = "11px system-ui, sans-serif";
    for (const { at, kind } of timeline.marks) {
      if (!view.shows(at)) continue;
      const x = view.x(at);
      const y = view.line + LINE / 2;
      if (kind === "think") {
        g.fillStyle = this.#colours.user;
        g.fillRect(x - 1, y - 1, 2, 2);
        continue;
      }
      const colour = this.#colours[kind === "shift" ? "shift" : "alarm"];
      g.fillStyle = colour;
      g.fillText(SYMBOLS[kind] ?? "·", x, y + 0.5);
    }
  }

  #words(g, view, timeline) {
    g.textAlign = "left";
    g.textBaseline = "top";
    g.font = "14px system-ui, sans-serif";
    timeline.replies.forEach(({ at, words, interrupted }, i) => {
      if (!view.shows(at)) return;
      const next = timeline.replies[i + 1];
      const wide = Math.min(WORDS_WIDE, next ? (next.at - at) * this.scale - 14 : WORDS_WIDE);
      const text =
        words
          .map((word) => word.text)
          .join("")
          .trim() + (interrupted ? " —" : "");
      const x = view.x(at);
      g.fillStyle = this.#colours.model;
      g.fillRect(x - 7, view.words, 1.5, ROW - 4);
      g.fillStyle = this.#colours.ink;
      rowsOf(text, wide, (piece) => g.measureText(piece).width).forEach((row, k) => {
        g.fillText(row, x, view.words + k * ROW);
      });
    });
  }

  #costs(g, view, timeline) {
    const { top, bottom } = view.costs;
    const y = (ms) => bottom - (Math.min(ms, COST_TOP_MS) / COST_TOP_MS) * (bottom - top);
    const wide = Math.max(2, (BUDGET_MS / 1000) * this.scale - 2);
    for (let i = timeline.chunks.length - 1; i >= 0; i--) {
      const { at, ms } = timeline.chunks[i];
      if (at < view.left - 1) break;
      g.fillStyle = ms > BUDGET_MS ? this.#colours.alarm : this.#colours.faint;
      g.fillRect(view.x(at), y(ms), wide, bottom - y(ms));
    }
    g.fillStyle = this.#colours.grid;
    g.fillRect(0, bottom, this.#wide, 1);
    g.fillStyle = this.#colours.alarm;
    for (let x = 0; x < this.#wide; x += 7) g.fillRect(x, Math.round(y(BUDGET_MS)), 4, 1);
  }

  /** At the left edge, over what scrolls. */
  #names(g, view, name) {
    g.textAlign = "left";
    g.textBaseline = "top";
    g.font = "600 12px system-ui, sans-serif";
    const { user, model, faint } = this.#colours;
    const names = [
      ["you", user, 6],
      [name, model, view.words - 20],
      [`${BUDGET_MS} ms a chunk`, faint, view.costs.top - 8],
    ];
    g.strokeStyle = this.#colours.paper;
    g.lineWidth = 4;
    for (const [text, colour, y] of names) {
      g.strokeText(text, 8, y);
      g.fillStyle = colour;
      g.fillText(text, 8, y);
    }
  }
}
