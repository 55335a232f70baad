// Follow a JSON stream with the official client until its session ends, by itself or by an error.
//
//   node watch.mjs STREAM_URL sse|long-poll
//
// Prints one JSON line per batch, {"items": [...]}, and {"ended": the status of the error, or null} as the last.
import { stream } from "@durable-streams/client";

const [url, live] = process.argv.slice(2);
let status = null;
try {
  const session = await stream({ url, live, offset: "-1", json: true, warnOnHttp: false, sseResilience: { logWarnings: false } });
  session.subscribeJson((batch) => { console.log(JSON.stringify({ items: batch.items, cursor: session.cursor ?? null })); });
  await session.closed;
} catch (error) {
  status = error.status ?? String(error);
}
console.log(JSON.stringify({ ended: status }));
process.exit(0);
