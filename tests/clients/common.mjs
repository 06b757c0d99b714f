// What the Node clients share: recordings at the pace of a microphone, and results as JSON lines.
import { readFileSync } from "node:fs";

export const [, , base, folder] = process.argv; // http://.../v1, folder with *.raw
export const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Samples of 24 kHz, 16 bit in blocks of 100 ms, silence behind them until `ended()`. */
export async function speak(name, send, ended) {
  const sound = readFileSync(`${folder}/${name}.raw`);
  for (let at = 0; !(at >= sound.length && ended()); at += 4800) {
    const block = Buffer.alloc(4800);
    if (at < sound.length) sound.copy(block, 0, at, Math.min(sound.length, at + 4800));
    send(block);
    await wait(100);
  }
}

/** One line of the matrix. */
export function report(what, ok, detail = "") {
  console.log(JSON.stringify({ what, ok: Boolean(ok), detail: String(detail) }));
}

/** Runs a part; what it throws, and what takes over 40 s, is its result. */
export async function part(what, work) {
  try {
    const late = wait(40_000).then(() => { throw new Error("nothing for 40 s"); });
    const [ok, detail] = await Promise.race([work(), late]);
    report(what, ok, detail);
  } catch (error) {
    report(what, false, error?.message ?? error);
  }
}
