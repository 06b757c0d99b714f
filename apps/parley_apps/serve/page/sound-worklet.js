// Both voices on one clock: the microphone in, the model's voice out, in blocks of 40 ms at 24 kHz;
// knows no server.

import { Playback } from "./playback.js";
import { Resampler } from "./resampler.js";

const RATE = 24000;
const BLOCK = 960;

function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

class Sound extends AudioWorkletProcessor {
  constructor() {
    super();
    this.heard = new Resampler(sampleRate, RATE);
    this.said = new Resampler(RATE, sampleRate);
    this.playback = new Playback();
    this.over = false;
    this.blocks = { heard: new Float32Array(BLOCK), said: new Float32Array(BLOCK) };
    this.filled = { heard: 0, said: 0 };
    this.waiting = []; // blocks of the one side that are whole before the other's
    this.port.onmessage = ({ data }) => this.told(data);
  }

  told({ kind, item, samples }) {
    if (kind === "play") this.playback.push(item, samples);
    else if (kind === "end") this.playback.end();
    else if (kind === "drop") this.port.postMessage({ kind: "dropped", ...this.playback.drop() });
    else if (kind === "stop") this.over = true;
  }

  process([input], [output]) {
    const quantum = output[0];
    // A microphone that went away leaves no channel: silence stands in, and the clock goes on.
    this.heard.push(input[0] ?? new Float32Array(quantum.length));
    this.gather("heard", this.taken(this.heard.ready()));
    const needed = new Float32Array(Math.max(0, this.said.needs(quantum.length)));
    this.playback.fill(needed);
    this.gather("said", needed);
    this.said.push(needed);
    this.said.take(quantum);
    for (const channel of output.slice(1)) channel.set(quantum);
    return !this.over;
  }

  taken(n) {
    const samples = new Float32Array(n);
    this.heard.take(samples);
    return samples;
  }

  gather(side, samples) {
    for (let at = 0; at < samples.length;) {
      const n = Math.min(samples.length - at, BLOCK - this.filled[side]);
      this.blocks[side].set(samples.subarray(at, at + n), this.filled[side]);
      this.filled[side] += n;
      at += n;
      if (this.filled[side] < BLOCK) continue;
      this.filled[side] = 0;
      this.whole(side, toInt16(this.blocks[side]));
    }
  }

  whole(side, samples) {
    const first = this.waiting[0];
    if (!first || first.side === side) {
      this.waiting.push({ side, samples });
      return;
    }
    this.waiting.shift();
    const { item, played, waiting, underruns } = this.playback;
    const sides = { [side]: samples, [first.side]: first.samples };
    this.port.postMessage({ kind: "block", ...sides, item, played, waiting, underruns });
  }
}

registerProcessor("parley-sound", Sound);
