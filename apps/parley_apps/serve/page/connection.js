// The server's dialect, /v1/realtime?duplex=1: events in and out; knows no device and no page.

/** Int16Array -> base64, as the protocol has it: little-endian. */
function encode(samples) {
  return btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
}

/** base64 -> floats [n]. */
function decode(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (x) => x / 32768);
}

const MOST_WAITING = 128 * 1024; // bytes that may wait to be sent: more than a second of sound
export const SLOW = 4008; // the page's own code of closing

export class Connection {
  #socket;
  #told;
  #session = null;
  #resume; // { session_id, resume_token } of a conversation that was lost
  #begun = false; // sound may be sent

  /**
   * Opens a session, or takes up the one of `resume` { session_id, resume_token } as far as the server kept it;
   * `told(kind, event)` gets "opened", "resumed", "closed" and what the server says, by TOLD.
   */
  constructor({ model, token, told, resume }) {
    const url = new URL("v1/realtime", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    url.searchParams.set("duplex", "1");
    if (model) url.searchParams.set("model", model);
    this.#told = told;
    this.#resume = resume;
    const protocols = token ? ["realtime", `openai-insecure-api-key.${token}`] : ["realtime"];
    this.#socket = new WebSocket(url, protocols);
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.#socket.onclose = ({ code, reason }) =>
      told("closed", { code, reason, opened: this.#session !== null });
  }

  #take(event) {
    if (event.type === "session.created") {
      this.#session = event.session;
      this.#told("opened", event);
      if (this.#resume) this.#send({ type: "session.resume", ...this.#resume });
      else this.#begun = true;
      return;
    }
    if (event.type === "session.resumed" || event.error?.code === "session_not_found") {
      this.#begun = true;
      this.#told("resumed", { done: !event.error });
      return;
    }
    const kind = TOLD[event.type];
    if (kind === "sound") this.#told(kind, { ...event, samples: decode(event.delta) });
    else if (kind) this.#told(kind, event);
  }

  get isOpen() {
    return this.#begun && this.#socket.readyState === WebSocket.OPEN;
  }

  #send(event) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
  }

  /** Voice and instructions, where the bundle has them. */
  configure({ voice, instructions }) {
    const session = { type: "realtime" };
    if (instructions) session.instructions = instructions;
    if (voice) session.audio = { output: { voice } };
    if (Object.keys(session).length > 1) this.#send({ type: "session.update", session });
  }

  /**
   * Sends what the microphone heard, Int16Array [n] at 24 kHz. Ends the connection where it is too
   * slow for that.
   */
  hear(samples) {
    if (this.#socket.bufferedAmount > MOST_WAITING) {
      this.close();
      this.#told("closed", { code: SLOW, reason: "", opened: true });
    } else this.#send({ type: "input_audio_buffer.append", audio: encode(samples) });
  }

  /** Says how far an item was heard by now. */
  heard(reply, ms) {
    this.#send({
      type: "playback.ack",
      response_id: reply.response,
      item_id: reply.item,
      played_ms: ms,
    });
  }

  /** Ends the reply under way. */
  cancel(reply) {
    this.#send({ type: "response.cancel", response_id: reply.response });
  }

  /** Says how much of an item was heard before it was dropped. */
  truncate(item, ms) {
    this.#send({
      type: "conversation.item.truncate",
      item_id: item,
      content_index: 0,
      audio_end_ms: ms,
    });
  }

  close() {
    this.#socket.onclose = null;
    this.#socket.onmessage = null;
    this.#socket.close(1000);
  }
}

// The server's event -> what the conversation calls it. What is not here is not needed.
const TOLD = {
  "session.updated": "configured",
  "response.output_audio.delta": "sound",
  "response.output_audio.done": "soundEnd",
  "response.output_audio_transcript.delta": "text",
  "conversation.item.input_audio_transcription.completed": "understood",
  "response.created": "reply",
  "response.done": "replyEnd",
  "duplex.chunk": "chunk",
  error: "error",
};

function ask(path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(new URL(path, location.href), { cache: "no-store", headers });
}

/** Whether a session would start: { ok } or { full, after: seconds } or { token } or { absent }. */
export async function ready(token) {
  try {
    if ((await ask("v1/models", token)).status === 401) return { token: true };
    const answer = await ask("health", token);
    if (answer.status !== 503) return { ok: answer.ok };
    return { full: true, after: Number(answer.headers.get("Retry-After")) || 5 };
  } catch {
    return { absent: true };
  }
}

/** The server's models: [{ id, ... }]; none where it does not say. */
export async function models(token) {
  try {
    const answer = await ask("v1/models", token);
    return answer.ok ? (await answer.json()).data : [];
  } catch {
    return [];
  }
}
