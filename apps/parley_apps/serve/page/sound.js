// Microphone and loudspeaker of the browser, as blocks at 24 kHz; knows no server.

export const RATE = 24000; // samples per second, of the protocol
export const BLOCK = 960; // samples, 40 ms
const START_MS = 5000;

// Echo goes, all else stays as it is: a raised level would raise the room's noise with it, which a
// model takes for speech sooner or later.
const VOICE = {
  echoCancellation: true,
  noiseSuppression: false,
  autoGainControl: false,
  channelCount: 1,
};

/**
 * Devices of `kind`, "audioinput" or "audiooutput": [{ id, name }]. Names are there once the
 * microphone was allowed.
 */
export async function devices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return all
    .filter((device) => device.kind === kind && device.deviceId && device.deviceId !== "default")
    .map((device, i) => ({ id: device.deviceId, name: device.label || `Device ${i + 1}` }));
}

export const canChooseOutput = () => "setSinkId" in AudioContext.prototype;

/** Rejects after a while: where there is no loudspeaker, a browser may never say so. */
function silent() {
  return new Promise((_, reject) =>
    setTimeout(() => reject(new DOMException("", "InvalidStateError")), START_MS),
  );
}

export class Sound {
  #context;
  #node;
  #microphone;
  #source;
  #muted = false;

  /**
   * Opens both; `told(message)` gets what the worklet posts, and { kind: "unplugged" }. Rejects as
   * getUserMedia does.
   */
  static async open({ input, output, told }) {
    if (!navigator.mediaDevices || !window.AudioWorkletNode)
      throw new DOMException("", "NotSupportedError");
    const sound = new Sound();
    try {
      // At the devices' own rate: not every browser takes a microphone of another one.
      sound.#context = new AudioContext({ latencyHint: "interactive" });
      if (output && canChooseOutput()) await sound.#context.setSinkId(output);
      await sound.#context.audioWorklet.addModule(new URL("sound-worklet.js", import.meta.url));
      sound.#node = new AudioWorkletNode(sound.#context, "parley-sound", {
        outputChannelCount: [1],
      });
      sound.#node.port.onmessage = ({ data }) => told(data);
      await sound.#listen(input, told);
      sound.#node.connect(sound.#context.destination);
      await Promise.race([sound.#context.resume(), silent()]);
    } catch (error) {
      await sound.close();
      throw error;
    }
    return sound;
  }

  async #listen(input, told) {
    const device = input ? { deviceId: { exact: input } } : {};
    this.#microphone = await navigator.mediaDevices.getUserMedia({
      audio: { ...VOICE, ...device },
    });
    for (const track of this.#microphone.getAudioTracks()) {
      track.enabled = !this.#muted;
      track.onended = () => told({ kind: "unplugged" });
    }
    this.#source = this.#context.createMediaStreamSource(this.#microphone);
    this.#source.connect(this.#node);
  }

  /** Seconds between a sample that the worklet gives and its sound. */
  get latency() {
    return this.#context.outputLatency || this.#context.baseLatency || 0;
  }

  /** Lets an item's samples [n] of floats at 24 kHz be heard after what waits. */
  play(item, samples) {
    this.#node.port.postMessage({ kind: "play", item, samples }, [samples.buffer]);
  }

  /** No more of the item will come. */
  end() {
    this.#node.port.postMessage({ kind: "end" });
  }

  /** Fades out and forgets what waits; the worklet tells how far its item was heard. */
  drop() {
    this.#node.port.postMessage({ kind: "drop" });
  }

  /**
   * A muted microphone gives silence, and the browser says so where it shows microphones in use.
   */
  mute(on) {
    this.#muted = on;
    for (const track of this.#microphone.getAudioTracks()) track.enabled = !on;
  }

  /** Takes another microphone, in the middle of a conversation. */
  async changeInput(input, told) {
    const before = [this.#source, this.#microphone];
    await this.#listen(input, told);
    this.#release(...before);
  }

  async changeOutput(output) {
    await this.#context.setSinkId(output);
  }

  async close() {
    this.#node?.port.postMessage({ kind: "stop" });
    this.#release(this.#source, this.#microphone);
    if (this.#context && this.#context.state !== "closed") await this.#context.close();
  }

  #release(source, microphone) {
    source?.disconnect();
    for (const track of microphone?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
  }
}
