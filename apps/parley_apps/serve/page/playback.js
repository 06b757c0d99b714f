// What waits for the loudspeaker, and how far each item of it was heard; knows no audio device.

export const FADE = 240; // samples, 10 ms: over these a dropped item ends
const HOLD = 2880; // samples, 120 ms: sound that comes a little late is still in time
const HOLD_MORE = 960; // after each gap
const HOLD_MOST = 9600;

export class Playback {
  constructor() {
    this.queue = []; // { item, samples, at }
    this.item = null; // the one that plays, or is the next to
    this.played = 0; // samples of it that were given out
    this.ended = true; // no more of it will come
    this.starved = false; // more of it should be there
    this.wait = 0; // samples of silence before it goes on
    this.hold = HOLD;
    this.underruns = 0;
  }

  /** Samples that wait. */
  get waiting() {
    return this.queue.reduce((sum, piece) => sum + piece.samples.length - piece.at, 0);
  }

  push(item, samples) {
    if (!this.queue.length && (this.ended || this.starved || this.item !== item))
      this.wait = this.hold;
    this.queue.push({ item, samples, at: 0 });
    this.ended = false;
    this.starved = false;
  }

  /** No more of what was pushed last will come. */
  end() {
    this.ended = true;
  }

  /**
   * Lets what plays fade out and forgets the rest; returns the item and its samples that are
   * heard.
   */
  drop() {
    const next = this.queue[0];
    const begun = !next || next.item === this.item;
    const plays = begun && this.wait === 0;
    const rest = new Float32Array(plays ? Math.min(FADE, this.waiting) : 0);
    this.#copy(rest, false);
    for (let i = 0; i < rest.length; i++) rest[i] *= 1 - (i + 1) / rest.length;
    this.queue = rest.length ? [{ item: this.item, samples: rest, at: 0 }] : [];
    this.wait = 0;
    this.ended = true;
    return { item: begun ? this.item : next.item, heard: begun ? this.played + rest.length : 0 };
  }

  /** Fills `out` with what is heard next: silence where nothing waits. */
  fill(out) {
    const silent = Math.min(this.wait, out.length);
    out.fill(0, 0, silent);
    this.wait -= silent;
    const copied = this.#copy(out.subarray(silent), true);
    out.fill(0, silent + copied);
    if (copied === out.length - silent || this.ended || this.starved) return;
    this.starved = true;
    this.underruns += 1;
    this.hold = Math.min(HOLD_MOST, this.hold + HOLD_MORE);
  }

  #copy(out, counts) {
    let done = 0;
    while (done < out.length && this.queue.length) {
      const piece = this.queue[0];
      if (counts && piece.item !== this.item) {
        this.item = piece.item;
        this.played = 0;
      }
      const n = Math.min(out.length - done, piece.samples.length - piece.at);
      out.set(piece.samples.subarray(piece.at, piece.at + n), done);
      piece.at += n;
      done += n;
      if (counts) this.played += n;
      if (piece.at === piece.samples.length) this.queue.shift();
    }
    return done;
  }
}
