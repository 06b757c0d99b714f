// A stream of samples to another rate, by a windowed sinc; knows nothing of devices.
//
// Interpolation of a band-limited signal with a Kaiser window, as in J. O. Smith, "Digital Audio
// Resampling".

const CROSSINGS = 24; // zero crossings of the sinc on each side
const STEPS = 128; // places of the table between two samples; in between it is linear
const BETA = 8; // of the Kaiser window: 80 dB
const PASS = 0.94; // where the filter cuts, of the lower half rate

function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function kernel(cutoff, reach) {
  return Float32Array.from({ length: reach * STEPS + 2 }, (_, i) => {
    const x = i / STEPS;
    if (x >= reach) return 0;
    const phase = Math.PI * cutoff * x;
    const sinc = x === 0 ? 1 : Math.sin(phase) / phase;
    return (cutoff * sinc * bessel(BETA * Math.sqrt(1 - (x / reach) ** 2))) / bessel(BETA);
  });
}

export class Resampler {
  /**
   * Hz in, Hz out. The stream begins with silence before it, so that the first output is the first
   * input's place.
   */
  constructor(from, to) {
    const cutoff = PASS * Math.min(1, to / from);
    this.step = from / to;
    this.reach = Math.ceil(CROSSINGS / cutoff);
    this.table = kernel(cutoff, this.reach);
    this.samples = new Float32Array(8192);
    this.held = this.reach; // samples in the buffer
    this.at = this.reach; // the next output's place in the buffer
  }

  /**
   * How many samples [n] out need before they can be taken: more than 0 where push() has to come
   * first.
   */
  needs(n) {
    return Math.floor(this.at + (n - 1) * this.step + this.reach) + 1 - this.held;
  }

  /** How many samples can be taken now. */
  ready() {
    return Math.max(0, Math.floor((this.held - 1 - this.reach - this.at) / this.step) + 1);
  }

  push(block) {
    const past = Math.max(0, Math.floor(this.at) - this.reach);
    this.samples.copyWithin(0, past, this.held);
    this.held -= past;
    this.at -= past;
    if (this.held + block.length > this.samples.length) {
      const larger = new Float32Array(2 * (this.held + block.length));
      larger.set(this.samples.subarray(0, this.held));
      this.samples = larger;
    }
    this.samples.set(block, this.held);
    this.held += block.length;
  }

  /** Fills `out`; as many samples must be ready(). */
  take(out) {
    for (let i = 0; i < out.length; i++, this.at += this.step) {
      const first = Math.ceil(this.at - this.reach);
      const last = Math.floor(this.at + this.reach);
      let sum = 0;
      for (let k = first; k <= last; k++) {
        const place = Math.abs(this.at - k) * STEPS;
        const low = Math.floor(place);
        const weight = this.table[low] + (place - low) * (this.table[low + 1] - this.table[low]);
        sum += weight * this.samples[k];
      }
      out[i] = sum;
    }
  }
}
