// @openai/agents-realtime over plain ws, with its own defaults and its own handling of interruptions.
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { base, part, speak, wait } from "./common.mjs";

const url = base.replace("http", "ws") + "/realtime?model=nano";

async function open() {
  const transport = new OpenAIRealtimeWebSocket({ url, useInsecureApiKey: true });
  const agent = new RealtimeAgent({ name: "friend", instructions: "You help with a day." });
  const session = new RealtimeSession(agent, { transport, model: "nano" });
  const seen = { done: [], errors: [], audio: 0, cut: 0, generic: [] };
  session.on("audio", (event) => (seen.audio += event.data.byteLength));
  session.on("audio_interrupted", () => (seen.cut += 1));
  session.on("error", (error) => seen.errors.push(JSON.stringify(error.error ?? error)));
  session.on("transport_event", (event) => {
    if (event.type === "response.done") seen.done.push(event.response);
    if (event.type === "error") seen.generic.push(event.error.code);
  });
  await session.connect({ apiKey: "any" });
  return { session, seen };
}
const hear = (session) => (block) =>
  session.sendAudio(block.buffer.slice(block.byteOffset, block.byteOffset + block.length));
const said = (session) => session.history.filter((item) => item.role === "assistant")
  .map((item) => item.content.map((part) => part.transcript ?? part.text).join(""));

await part("spoken turn", async () => {
  const { session, seen } = await open();
  await speak("question", hear(session), () => seen.done.length);
  const words = said(session).join(" | ");
  session.close();
  return [words === "reminder to buy flowers on friday" && seen.audio > 48000, words];
});
await part("barge-in", async () => {
  const { session, seen } = await open();
  await speak("interrupted", hear(session), () => seen.done.length > 1);
  const words = said(session).join(" | ");
  session.close();
  const reason = seen.done[0].status_details?.reason;
  return [reason === "turn_detected" && seen.cut > 0 && seen.done[1].status === "completed",
    `${seen.cut} interruption(s) told | ${words}`];
});
await part("cancel while idle", async () => {
  const { session, seen } = await open();
  session.transport.sendEvent({ type: "response.cancel" });
  while (!seen.generic.length) await wait(10);
  session.close();
  return [seen.generic[0] === "response_cancel_not_active", seen.generic[0]];
});
await part("reconnect", async () => {
  const first = await open();
  first.session.close();
  const { session, seen } = await open();
  await speak("question", hear(session), () => seen.done.length);
  const words = said(session).join(" | ");
  session.close();
  return [words.length > 0 && seen.done[0].status === "completed", words];
});
process.exit(0);
