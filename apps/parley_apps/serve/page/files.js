// A conversation as files to keep: sound as WAV, everything else as JSON.

import { RATE } from "./sound.js";

/** Stereo, 16 bit, 24 kHz: what was heard is on the left, what was said on the right. */
export function wav({ heard, said }) {
  const frames = heard.reduce((sum, block) => sum + block.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, letters) =>
    [...letters].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
  const long = (at, value) => header.setUint32(at, value, true);
  const short = (at, value) => header.setUint16(at, value, true);
  text(0, "RIFF");
  long(4, 36 + frames * 4);
  text(8, "WAVEfmt ");
  long(16, 16);
  short(20, 1);
  short(22, 2);
  long(24, RATE);
  long(28, RATE * 4);
  short(32, 4);
  short(34, 16);
  text(36, "data");
  long(40, frames * 4);
  const parts = heard.map((block, i) => {
    const both = new Int16Array(2 * block.length);
    block.forEach((sample, k) => (both[2 * k] = sample));
    said[i].forEach((sample, k) => (both[2 * k + 1] = sample));
    return both;
  });
  return new Blob([header, ...parts], { type: "audio/wav" });
}

export function json(value) {
  return new Blob([JSON.stringify(value, null, 1) + "\n"], { type: "application/json" });
}

/** Lets the browser keep `blob` under `name`. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
