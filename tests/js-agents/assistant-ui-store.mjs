// docs/adapters.md's ResumableStreamStore in assistant-ui's own context, unmodified. Arguments: the file taken from the
// page, a root of streams.
import { createResumableStreamContext } from "assistant-stream/resumable";

const [file, root] = process.argv.slice(2);
const { durableStreamsStore } = await import(file);
const store = durableStreamsStore(root);
const context = createResumableStreamContext({ store });
const bytes = (text) => new TextEncoder().encode(text);
const read = async (stream) => new Response(stream).text();

let open;
const gate = new Promise((resolve) => { open = resolve; });
let made = 0;
const make = () => new ReadableStream({
  async start(controller) {
    made += 1;
    controller.enqueue(bytes("one \u{1F600}"));
    await gate;
    controller.enqueue(Uint8Array.of(0, 255));
    controller.enqueue(bytes(" two"));
    controller.close();
  },
});
const producing = await context.run("answer", make);
const consuming = await context.run("answer", make);
const half = producing.getReader();
const first = new TextDecoder().decode((await half.read()).value);
const during = await context.status("answer");
open();
const all = await read(consuming);
const late = await read(await context.resume("answer"));
const after = await context.status("answer");

const fails = () => new ReadableStream({ start: (controller) => { controller.enqueue(bytes("x")); controller.error(new Error("inside")); } });
const failed = await read(await context.run("broken", fails)).catch((error) => String(error.message));
const broken = await context.status("broken");

const missing = [await context.status("nobody"), await context.resume("nobody")];
const roles = await Promise.all(Array.from({ length: 8 }, () => store.acquire("race")));
await store.append("race", bytes("a"));
await store.append("race", bytes("b"));
const cursors = [];
for await (const entry of (async function* () {
  const reading = store.read("race", "", new AbortController().signal);
  yield (await reading.next()).value;
  yield (await reading.next()).value;
})()) cursors.push(entry.cursor);
const [behind] = [await store.read("race", cursors[0], new AbortController().signal).next()];
const cancel = new AbortController();
const waiting = (async () => { for await (const _ of store.read("race", cursors[1], cancel.signal)) return "more"; return "over"; })();
cancel.abort();
const aborted = await waiting;
await store.finalize("race", "done");
await store.finalize("race", "done");
const refused = await store.append("race", bytes("c")).then(() => "taken", () => "refused");
await context.delete("race");
await context.delete("race");
console.log(JSON.stringify({
  made, first, during, all, late, after, failed, broken, missing, roles: roles.sort(),
  behind: new TextDecoder().decode(behind.value.chunk), aborted, refused, gone: await context.status("race"),
}));
process.exit(0);
