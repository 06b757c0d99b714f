// openai for Node, Live, over plain ws.
import OpenAI from "openai";
import { LiveWS } from "openai/resources/live/ws";
import { base, part, speak, wait } from "./common.mjs";

const client = new OpenAI({ baseURL: base, apiKey: "any" });

async function turn() {
  const live = new LiveWS(client);
  let words = "", sound = 0, closed;
  live.on("error", (error) => (closed = { reason: error.message }));
  const started = new Promise((done) => live.on("session.started", done));
  live.on("session.output_transcript.delta", (event) => (words += event.delta));
  live.on("session.output_audio.delta", (event) => (sound += event.delta.length));
  live.on("session.closed", (event) => (closed = event));
  live.send({ type: "session.start", session: { model: "nano" } });
  await started;
  const hear = (block) =>
    live.send({ type: "session.input_audio.append", audio: block.toString("base64") });
  await speak("question", hear, () => words.includes("friday"));
  live.send({ type: "session.close" });
  while (!closed) await wait(10);
  live.close();
  return [words.trim() === "reminder to buy flowers on friday" &&
    closed.reason === "close_requested" && sound > 64000, `${words.trim()} | closed: ${closed.reason}`];
}

await part("spoken turn", turn);
await part("reconnect", turn);
