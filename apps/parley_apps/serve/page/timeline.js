// A conversation on one clock: what was heard and said, who had the floor, what happened, what it
// cost; draws nothing.

import { BLOCK, RATE } from "./sound.js";

export const PEAK = 240; // samples, 10 ms: one value of loudness each
const KEPT_S = 1800; // of sound, for the recording; loudness and events are kept from the start

class Column {
  #values = new Float32Array(4096);
  size = 0;

  push(value) {
    if (this.size === this.#values.length) {
      const larger = new Float32Array(2 * this.size);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.size++] = value;
  }

  /** The largest of [from, to), 0 where there is none. */
  most(from, to) {
    let most = 0;
    for (let i = Math.max(0, from); i < Math.min(to, this.size); i++)
      most = Math.max(most, this.#values[i]);
    return most;
  }
}

export class Timeline {
  blocks = 0; // of 40 ms, since the conversation began
  loudness = { heard: new Column(), said: new Column() };
  loudest = { heard: 0.1, said: 0.1 };
  floors = [{ at: 0, floor: "closed" }]; // each holds until the next; at: seconds
  marks = []; // { at, kind }
  replies = []; // { at, item, words: [{ at, text }], interrupted }
  chunks = []; // { at, ms, stages }
  dropped = 0; // blocks of sound that the recording no longer has
  #sound = { heard: [], said: [] };

  /** Now, in seconds. */
  get seconds() {
    return (this.blocks * BLOCK) / RATE;
  }

  /** Takes 40 ms of both sides: Int16Array [BLOCK] each. */
  add(sides) {
    for (const side of ["heard", "said"]) {
      const samples = sides[side];
      for (let at = 0; at < BLOCK; at += PEAK) {
        let most = 0;
        for (let i = at; i < at + PEAK; i++) most = Math.max(most, Math.abs(samples[i]));
        this.loudness[side].push(most / 32768);
        this.loudest[side] = Math.max(this.loudest[side], most / 32768);
      }
      this.#sound[side].push(samples);
    }
    this.blocks += 1;
    if ((this.blocks - this.dropped) * BLOCK > KEPT_S * RATE) {
      this.#sound.heard.shift();
      this.#sound.said.shift();
      this.dropped += 1;
    }
  }

  /**
   * Says who has the floor from `at` on: "listening", "preparing", "speaking", or "closed" without
   * a server.
   */
  floor(at, floor) {
    if (this.floors.at(-1).floor !== floor) this.floors.push({ at, floor });
  }

  mark(at, kind) {
    this.marks.push({ at, kind });
  }

  /** Adds a piece of what an item says. */
  text(at, item, text) {
    let reply = this.replies.findLast((one) => one.item === item);
    if (!reply) this.replies.push((reply = { at, item, words: [], interrupted: false }));
    reply.words.push({ at, text });
    return reply;
  }

  interrupted(item) {
    const reply = this.replies.findLast((one) => one.item === item);
    if (reply) reply.interrupted = true;
  }

  chunk(at, ms, stages) {
    this.chunks.push({ at, ms, stages });
  }

  /** What there is of the sound: { startS, heard: [Int16Array], said: [Int16Array] }. */
  recording() {
    return { startS: (this.dropped * BLOCK) / RATE, ...this.#sound };
  }

  /** All but the sound, as plain values. */
  toJSON() {
    const { floors, marks, replies, chunks, seconds } = this;
    return {
      seconds,
      rate: RATE,
      recording_start_s: (this.dropped * BLOCK) / RATE,
      floors: floors.map(({ at, floor }) => ({ at_s: at, floor })),
      marks: marks.map(({ at, kind }) => ({ at_s: at, kind })),
      replies: replies.map(({ at, words, interrupted }) => ({
        at_s: at,
        text: textOf(words),
        interrupted,
        words: words.map((word) => ({ at_s: word.at, text: word.text })),
      })),
      chunks: chunks.map(({ at, ms, stages }) => ({ at_s: at, cost_ms: ms, stages_ms: stages })),
    };
  }
}

export const textOf = (words) =>
  words
    .map((word) => word.text)
    .join("")
    .trim();
