// docs/adapters.md's StreamDurability in TanStack AI's own server, unmodified. Arguments: the file taken from the page, a
// root of streams. A run's response is cut, and a second one goes on from the last event's id.
import { resumeServerSentEventsResponse, toServerSentEventsResponse } from "@tanstack/ai";

const [file, root] = process.argv.slice(2);
const { durableStreams, fromRequest } = await import(file);
const request = (runId, headers = {}) => new Request(`http://site.example/chat?runId=${runId}`, { headers });
const words = Array.from({ length: 12 }, (_, n) => `w${n} `);

async function* chunks(gate) {
  yield { type: "RUN_STARTED", runId: "r", threadId: "t", timestamp: 1 };
  yield { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant", timestamp: 1 };
  for (const [n, delta] of words.entries()) {
    if (n === 8) await gate;
    yield { type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta, timestamp: 1 };
  }
  yield { type: "TEXT_MESSAGE_END", messageId: "m", timestamp: 1 };
  yield { type: "RUN_FINISHED", runId: "r", threadId: "t", timestamp: 1 };
}

// The events of a response, each with its id, until one says so.
async function events(response, enough = () => false) {
  const found = [];
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return found;
    const parts = (left + value).split("\n\n");
    left = parts.pop();
    for (const part of parts) {
      const id = /^id: ?(.*)$/m.exec(part)?.[1], data = /^data: ?(.*)$/m.exec(part)?.[1];
      if (!data || data === "[DONE]") continue;
      found.push({ id, chunk: JSON.parse(data) });
      if (enough(found.at(-1).chunk)) {
        await reader.cancel();
        return found;
      }
    }
  }
}
const text = (found) => found.map(({ chunk }) => chunk.delta ?? "").join("");

let open;
const gate = new Promise((resolve) => { open = resolve; });
const adapter = fromRequest(root, request("run-1"));
const fresh = toServerSentEventsResponse(chunks(gate), { durability: { adapter, batch: 4 } });
const first = events(fresh, (chunk) => chunk.delta === "w4 ");
const before = await first;
open();
const last = before.at(-1).id;
const resumed = await events(resumeServerSentEventsResponse({ adapter: fromRequest(root, request("run-1", { "Last-Event-ID": last })) }));
const whole = await events(resumeServerSentEventsResponse({ adapter: durableStreams(root, { runId: "run-1", offset: "-1" }) }));

const plain = durableStreams(root, { runId: "run-2" });
const empty = await plain.snapshot();
const offsets = [...await plain.append([{ n: 0 }, { n: 1 }]), ...await plain.append([{ n: 2 }])];
const open2 = await plain.snapshot();
const behind = {};
const cancel = new AbortController();
for (const offset of offsets) {
  const seen = [];
  const reading = plain.read(offset, cancel.signal);
  for (let left = 2 - offsets.indexOf(offset); left > 0; left--) seen.push((await reading.next()).value.chunk.n);
  behind[offset] = seen;
}
await plain.close();
const closed = [];
for await (const { chunk } of plain.read(offsets[0])) closed.push(chunk.n);
console.log(JSON.stringify({
  before: text(before), resumed: text(resumed), whole: text(whole), kinds: whole.map(({ chunk }) => chunk.type).filter((type) => type !== "CUSTOM"),
  empty, open: open2.map(({ chunk }) => chunk.n), behind: Object.values(behind), distinct: new Set(offsets).size, closed,
}));
process.exit(0);
