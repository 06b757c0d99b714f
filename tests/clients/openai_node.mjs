// openai for Node over TLS, which its Realtime client always asks for; the certificate is self-signed.
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { base, part, speak } from "./common.mjs";

const client = new OpenAI({ baseURL: base, apiKey: "any" });

function open() {
  const rt = new OpenAIRealtimeWS(
    { model: "nano", options: { rejectUnauthorized: false } }, client);
  rt.said = [];
  rt.errors = [];
  rt.on("response.done", (event) => rt.said.push(event.response));
  rt.on("error", (error) => rt.errors.push(error));
  return new Promise((done) => rt.on("session.created", () => done(rt)));
}
const hear = (rt) => (block) =>
  rt.send({ type: "input_audio_buffer.append", audio: block.toString("base64") });
const words = (response) => response.output[0].content[0].transcript;

await part("spoken turn", async () => {
  const rt = await open();
  await speak("question", hear(rt), () => rt.said.length);
  rt.close();
  return [words(rt.said[0]) === "reminder to buy flowers on friday", words(rt.said[0])];
});
await part("barge-in", async () => {
  const rt = await open();
  await speak("interrupted", hear(rt), () => rt.said.length > 1);
  rt.close();
  const [cut, whole] = rt.said;
  const ok = cut.status_details?.reason === "turn_detected" && whole.status === "completed";
  return [ok, `${words(cut)} | ${words(whole)}`];
});
await part("cancel while idle", async () => {
  const rt = await open();
  rt.send({ type: "response.cancel" });
  while (!rt.errors.length) await new Promise((done) => setTimeout(done, 10));
  rt.close();
  return [rt.errors[0].error?.code === "response_cancel_not_active", rt.errors[0].error?.code];
});
await part("reconnect", async () => {
  const first = await open();
  first.socket.terminate();
  const rt = await open();
  await speak("question", hear(rt), () => rt.said.length);
  rt.close();
  return [rt.said[0].status === "completed", words(rt.said[0])];
});
