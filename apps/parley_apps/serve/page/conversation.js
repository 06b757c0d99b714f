// A conversation in the browser: sound and server on one timeline; knows no element of the page.

import { Connection, ready, SLOW } from "./connection.js";
import { RATE, Sound } from "./sound.js";
import { Timeline } from "./timeline.js";
import * as words from "./words.js";

const PATIENCE_S = [1, 2, 4, 8, 8, 8, 15, 15]; // before each try to connect again
const TOLD_MS = 8000; // how long good news stay
const ACK_BLOCKS = 4; // how far the sound was heard is told every 160 ms
const REASONS = { 1001: words.closing, 1012: words.closing, 1013: words.full, [SLOW]: words.slow };
const FINAL = [1000, 1008, 1011]; // closes that another connection would not mend

export class Conversation {
  timeline = new Timeline();
  state = "idle"; // or opening, open, lost, ended
  notice = ""; // what a person should know now
  floor = "listening";
  muted = false;
  session = null; // as the server describes it
  lines = []; // what was said: { who: "you" | "model", at, text, item }
  late = 0; // chunks that took longer than they may
  underruns = 0;
  #options = {};
  #sound = null;
  #connection = null;
  #changed;
  #tries = 0;
  #timer = null;
  #start = null; // the place on the timeline where the server's clock began
  #resume = null; // { session_id, resume_token } to take the conversation up by
  #reply = null; // { response, item, dropped }
  #dropped = new Set(); // items whose late sound is not wanted

  /** `changed()` is called when something is to be shown anew. */
  constructor(changed) {
    this.#changed = changed;
  }

  get isOn() {
    return ["opening", "open", "lost"].includes(this.state);
  }

  /**
   * Opens the microphone, then the server. options: { model, token, input, output, voice,
   * instructions }.
   */
  async start(options) {
    this.#options = options;
    this.timeline = new Timeline();
    Object.assign(this, { lines: [], late: 0, underruns: 0, session: null, muted: false });
    this.#become("opening", "");
    this.#tries = 0;
    this.#resume = null;
    let sound;
    try {
      sound = await Sound.open({ ...options, told: (message) => this.#hear(message) });
    } catch (error) {
      this.#become("ended", words.microphone(error));
      return;
    }
    this.#sound = sound;
    if (this.state === "opening") this.#connect();
    else this.#silence(); // ended while the browser asked
  }

  stop(notice = "") {
    clearTimeout(this.#timer);
    this.#connection?.close();
    this.#connection = null;
    this.#silence();
    this.timeline.floor(this.timeline.seconds, "closed");
    this.#become("ended", notice);
  }

  mute(on) {
    this.muted = on;
    this.#sound?.mute(on);
    this.#changed();
  }

  /** Ends what the model says, now. */
  interrupt() {
    if (!this.#reply || !this.#connection) return;
    this.#connection.cancel(this.#reply);
    this.#drop();
  }

  async changeInput(input) {
    this.#options.input = input;
    try {
      await this.#sound?.changeInput(input, (message) => this.#hear(message));
      this.#say("");
    } catch (error) {
      this.#say(words.microphone(error));
    }
  }

  async changeOutput(output) {
    this.#options.output = output;
    await this.#sound?.changeOutput(output).catch((error) => this.#say(words.microphone(error)));
  }

  #become(state, notice) {
    this.state = state;
    this.#say(notice);
  }

  #say(notice) {
    this.notice = notice;
    this.#changed();
  }

  #silence() {
    this.#sound?.close();
    this.#sound = null;
    this.#reply = null;
    this.floor = "listening";
  }

  #connect() {
    this.#start = null;
    const told = (kind, event) => this.#told(kind, event);
    this.#connection = new Connection({ ...this.#options, told, resume: this.#resume });
  }

  #told(kind, event) {
    const handler = {
      opened: () => this.#opened(event),
      resumed: () => this.#tell(event.done ? words.resumed : words.fresh),
      closed: () => this.#closed(event),
      configured: () => (this.session = event.session),
      reply: () => (this.#reply = { response: event.response.id, item: null }),
      replyEnd: () => this.#replyEnd(event.response),
      sound: () => this.#play(event),
      soundEnd: () => this.#sound?.end(),
      text: () => this.#text(event),
      understood: () => this.#line("you", event.transcript, event.item_id),
      chunk: () => this.#chunk(event),
      error: () => this.#error(event.error),
    }[kind];
    handler?.();
    this.#changed();
  }

  #opened({ session, resume_token }) {
    const again = this.#tries > 0;
    this.session = session;
    this.#tries = 0;
    if (!this.#resume) this.#connection.configure(this.#options);
    const resumes = this.#resume !== null;
    this.#resume = resume_token ? { session_id: session.id, resume_token } : null;
    this.#become("open", "");
    if (again && !resumes) this.#tell(words.fresh);
  }

  /** Says something that is of interest for a while. */
  #tell(text) {
    this.#say(text);
    setTimeout(() => this.notice === text && this.#say(""), TOLD_MS);
  }

  async #closed({ code, reason, opened }) {
    this.#connection = null;
    this.#reply = null;
    this.#sound?.drop();
    this.timeline.floor(this.timeline.seconds, "closed");
    if (opened) {
      this.timeline.mark(this.timeline.seconds, "lost");
      if (FINAL.includes(code)) this.stop(words.ended(reason));
      else this.#again(REASONS[code] ?? words.lost);
      return;
    }
    // A browser does not tell why a handshake was refused: the server is asked.
    const answer = await ready(this.#options.token);
    if (!this.isOn) return;
    if (answer.token) this.stop(words.token);
    else if (answer.full || code === 1013) this.#again(words.full, answer.after);
    else if (answer.absent) this.#again(words.absent);
    else this.stop(words.refused(reason || `it closed the connection with code ${code}.`));
  }

  #again(reason, after) {
    const wait = Math.max(after ?? 0, PATIENCE_S[this.#tries] ?? -1);
    if (this.#tries >= PATIENCE_S.length && !after) {
      this.stop(words.gaveUp);
      return;
    }
    this.#tries += 1;
    this.#become("lost", words.again(reason, wait));
    this.#timer = setTimeout(() => this.#connect(), wait * 1000);
  }

  #hear(message) {
    if (message.kind === "unplugged") this.#say(words.unplugged);
    else if (message.kind === "dropped") this.#forget(message);
    else if (this.#sound) this.#block(message);
  }

  #block({ heard, said, item, played, waiting, underruns }) {
    this.underruns = underruns;
    if (this.#connection?.isOpen) {
      this.#start ??= this.timeline.seconds;
      this.#connection.hear(heard);
    }
    if (this.state === "open" || this.timeline.blocks > 0) this.timeline.add({ heard, said });
    const reply = this.#reply;
    if (reply?.item && reply.item === item && this.timeline.blocks % ACK_BLOCKS === 0) {
      const ms = Math.max(0, played / (RATE / 1000) - 1000 * this.#sound.latency);
      this.#connection?.heard(reply, Math.round(ms));
    }
    if (reply?.over && waiting === 0) this.#reply = null;
    this.#changed();
  }

  #play({ item_id: item, response_id: response, samples }) {
    if (this.#dropped.has(item)) return;
    this.#reply = { response, item };
    this.#sound?.play(item, samples);
  }

  #text({ item_id: item, delta }) {
    if (this.#dropped.has(item)) return;
    this.timeline.text(this.timeline.seconds, item, delta);
    this.#line("model", delta, item);
  }

  #line(who, text, item) {
    const last = this.lines.findLast((line) => line.item === item);
    if (last) last.text += text;
    else if (text) this.lines.push({ who, at: this.timeline.seconds, text, item });
  }

  #replyEnd(response) {
    if (!this.#reply || this.#reply.response !== response.id) return;
    if (response.status === "cancelled") this.#drop();
    else this.#reply.over = true;
  }

  #drop() {
    const { item } = this.#reply;
    this.#reply = null;
    if (!item || this.#dropped.has(item)) return;
    this.#dropped.add(item);
    this.timeline.interrupted(item);
    this.timeline.mark(this.timeline.seconds, "interrupted");
    const line = this.lines.findLast((one) => one.item === item);
    if (line) line.interrupted = true;
    this.#sound?.drop();
  }

  /** What was dropped was heard so far, and no further: the server's history keeps that. */
  #forget({ item, heard }) {
    if (item && this.#dropped.has(item))
      this.#connection?.truncate(item, Math.floor(heard / (RATE / 1000)));
  }

  /** A chunk is decided about at its end, when all of it was heard. */
  #chunk({ at_ms, floor, decision, cost_ms, stages_ms, budget_ms }) {
    // Where the server let silence stand in for sound that was late, its clock has come further.
    const ahead = this.#start + (at_ms + budget_ms) / 1000 - this.timeline.seconds;
    if (ahead > 0) this.#start -= ahead;
    const at = this.#start + at_ms / 1000;
    const end = at + budget_ms / 1000;
    this.floor = floor;
    this.timeline.floor(end, floor);
    this.timeline.chunk(at, cost_ms, stages_ms);
    if (decision !== "speak") this.timeline.mark(end, decision);
    if (cost_ms > budget_ms) this.late += 1;
  }

  #error(error) {
    // The reply was over before the button's event came: nothing that a person should know.
    if (error.code !== "response_cancel_not_active") this.#say(words.refused(error.message));
  }
}
