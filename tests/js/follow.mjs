// Follow a JSON stream of strings with the official client until it is closed, and write them down, one per line.
//
//   node follow.mjs STREAM_URL sse|long-poll OUTPUT_FILE
//
// Prints one JSON line per batch: {"received_count": n, "session_count": n}.
//
// What the client does by itself, and what is left to do here (as of 0.2.7):
// - A request that finds no server, 429 or 5xx is repeated for ever; only the pauses are cut short here.
// - A connection lost in the middle of an answer ends the session with an error; a session that ends without the stream
//   being closed is begun again at the last offset delivered.
// - An SSE connection cut between a data event and its control event delivers the data under the offset *before* it, and
//   then again after reconnecting. Such a batch has moved nothing forward, and is left out.
import { openSync, writeSync } from "node:fs";
import { stream } from "@durable-streams/client";

const [url, live, outputFile] = process.argv.slice(2);
const output = openSync(outputFile, "w");
let offset = "-1";
let ended = false;
let receivedCount = 0;
let sessionCount = 0;

function take(batch) {
  const advanced = batch.offset !== offset;
  if (advanced && batch.items.length > 0) {
    writeSync(output, batch.items.map((line) => line + "\n").join(""));
    receivedCount += batch.items.length;
  }
  if (advanced || batch.items.length === 0) {
    offset = batch.offset;
    ended ||= batch.streamClosed;
  }
  console.log(JSON.stringify({ received_count: receivedCount, session_count: sessionCount }));
}

while (!ended) {
  sessionCount += 1;
  try {
    const session = await stream({
      url,
      offset,
      live,
      json: true,
      backoffOptions: { initialDelay: 20, maxDelay: 100, multiplier: 1.3, maxRetries: Infinity },
      // Restarts of a server look like short connections; falling back to long-poll would be another test.
      sseResilience: { maxShortConnections: Infinity, backoffMaxDelay: 100, logWarnings: false },
      warnOnHttp: false,
    });
    session.subscribeJson(take);
    await session.closed;
  } catch (interruption) {
    console.error(`session ${sessionCount} at ${offset}: ${interruption}`);
  }
}
