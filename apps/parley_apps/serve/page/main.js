// The page: buttons, lists and the picture, over one conversation.

import { models } from "./connection.js";
import { Conversation } from "./conversation.js";
import { BUDGET_MS, Drawing } from "./drawing.js";
import { json, save, wav } from "./files.js";
import { canChooseOutput, devices } from "./sound.js";
import { STATES } from "./words.js";

const element = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const conversation = new Conversation(() => (stale = true));
const drawing = new Drawing(element("timeline"));
let stale = true; // something is to be shown anew
let shown = []; // lines of the log, as they were shown

const stateNow = () => (conversation.state === "open" ? conversation.floor : conversation.state);
const modelName = () => conversation.session?.model ?? (element("model").value || "model");
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function put(id, text) {
  // Only what changed: a screen reader says a status again whenever it is set.
  if (element(id).textContent !== text) element(id).textContent = text;
}

function show() {
  const { state, notice, muted, timeline, late, underruns, isOn, session } = conversation;
  const now = stateNow();
  element("status").dataset.state = now;
  put("state", STATES[now] + (muted && isOn ? ", you are muted" : ""));
  put("notice", notice);
  element("notice").hidden = !notice;
  element("invitation").hidden = isOn || timeline.blocks > 0;
  put("talk", isOn ? "End" : "Start");
  element("mute").disabled = !isOn;
  element("mute").setAttribute("aria-pressed", String(muted));
  element("interrupt").disabled = state !== "open" || now !== "speaking";
  for (const id of ["save-sound", "save-timeline"]) element(id).disabled = timeline.blocks === 0;
  put("licence", session?.capabilities?.notice ?? "");
  element("licence").hidden = !session?.capabilities?.notice;
  put("time", clock(timeline.seconds));
  const last = timeline.chunks.at(-1);
  put("cost", last ? `${last.ms.toFixed(0)} ms of ${BUDGET_MS}` : "–");
  put("late", String(late));
  put("gaps", String(underruns));
  showLines();
}

function showLines() {
  const { lines, timeline } = conversation;
  const log = element("log");
  if (lines.length < shown.length) {
    log.replaceChildren();
    shown = [];
  }
  lines.forEach((line, i) => {
    const text = line.text.trim() + (line.interrupted ? " —" : "");
    if (shown[i] === text) return;
    const row = log.children[i] ?? log.appendChild(rowOf(line));
    row.lastChild.textContent = text;
    shown[i] = text;
    log.scrollTop = log.scrollHeight;
    const label = `Timeline, ${clock(timeline.seconds)}, replies: ${timeline.replies.length}`;
    element("timeline").setAttribute("aria-label", label);
  });
}

function rowOf({ who, at }) {
  const row = document.createElement("p");
  for (const text of [clock(at), who === "you" ? "you" : modelName(), ""]) {
    row.append(Object.assign(document.createElement("span"), { textContent: text }));
  }
  row.className = who;
  return row;
}

function frame() {
  const moves = conversation.isOn && conversation.timeline.blocks > 0;
  if (stale || moves) {
    stale = false;
    show();
    drawing.draw(conversation.timeline, { paged: calm.matches, name: modelName() });
  }
  requestAnimationFrame(frame);
}

function fill(list, choices, chosen) {
  const options = choices.map(({ id, name }) => new Option(name, id, false, id === chosen));
  list.replaceChildren(...options);
}

async function listDevices() {
  for (const [id, kind] of [
    ["input", "audioinput"],
    ["output", "audiooutput"],
  ]) {
    const list = element(id);
    const chosen = list.value || localStorage.getItem(id) || "";
    fill(list, [{ id: "", name: "The system's choice" }, ...(await devices(kind))], chosen);
  }
  element("output").parentElement.hidden = !canChooseOutput();
}

async function listModels() {
  known = await models(element("token").value);
  fill(
    element("model"),
    known.map(({ id }) => ({ id, name: id })),
    element("model").value,
  );
  element("model").parentElement.hidden = known.length < 2;
  listVoices();
}

/** Voices and a system prompt are there only where the bundle has them. */
function listVoices() {
  const model = known.find(({ id }) => id === element("model").value);
  const voices = model?.voices ?? [];
  fill(
    element("voice"),
    voices.map((id) => ({ id, name: id })),
    element("voice").value,
  );
  element("voice").parentElement.hidden = voices.length < 2;
  element("instructions").parentElement.hidden = !model?.instructions;
  element("instructions").placeholder = model?.instructions ?? "";
  stale = true;
}

async function talk() {
  if (conversation.isOn) {
    conversation.stop();
    return;
  }
  const value = (id) => element(id).value.trim();
  const names = ["model", "token", "input", "output", "voice", "instructions"];
  drawing.back = 0;
  await conversation.start(Object.fromEntries(names.map((name) => [name, value(name)])));
  await listDevices(); // their names are told once the microphone was allowed
}

function nameOf(extension) {
  const now = new Date();
  const local = new Date(now - now.getTimezoneOffset() * 60_000).toISOString();
  return `parley-${local.slice(0, 19).replaceAll(":", "-")}.${extension}`;
}

function saveTimeline() {
  const { timeline, session, lines } = conversation;
  save(json({ model: session?.model ?? null, ...timeline.toJSON(), lines }), nameOf("json"));
}

const KEYS = { ArrowLeft: 1, ArrowRight: -1, PageUp: 10, PageDown: -10, Home: 1e9, End: -1e9 };

function look(event) {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  drawing.look(KEYS[event.key], conversation.timeline);
  stale = true;
}

function drag(event) {
  if (!event.buttons) return;
  drawing.look(event.movementX / drawing.scale, conversation.timeline);
  stale = true;
}

let known = []; // the server's models

element("talk").addEventListener("click", talk);
element("mute").addEventListener("click", () => conversation.mute(!conversation.muted));
element("interrupt").addEventListener("click", () => conversation.interrupt());
element("save-sound").addEventListener("click", () =>
  save(wav(conversation.timeline.recording()), nameOf("wav")),
);
element("save-timeline").addEventListener("click", saveTimeline);
element("settings-open").addEventListener("click", () => element("settings").showModal());
element("timeline").addEventListener("keydown", look);
element("timeline").addEventListener("pointermove", drag);
element("model").addEventListener("change", listVoices);
element("token").addEventListener("change", listModels);
element("input").addEventListener("change", ({ target }) => {
  localStorage.setItem("input", target.value);
  conversation.changeInput(target.value);
});
element("output").addEventListener("change", ({ target }) => {
  localStorage.setItem("output", target.value);
  conversation.changeOutput(target.value);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") conversation.interrupt();
});
navigator.mediaDevices?.addEventListener("devicechange", listDevices);
window.addEventListener("resize", () => (stale = true));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (stale = true));

listDevices();
listModels();
frame();
