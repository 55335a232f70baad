// Read what streams hold now with the official client, in every form it has, one request each.
//
//   node read.mjs JSON_STREAM_URL TEXT_STREAM_URL BYTES_STREAM_URL
//
// Prints {"json": n, "json_sha256": …, "text": n, "text_sha256": …, "body": n, "body_sha256": …}: how many messages, UTF-16
// units and bytes came, and their digests, the messages' over one JSON text a line.
import { createHash } from "node:crypto";
import { stream } from "@durable-streams/client";

const [jsonUrl, textUrl, bytesUrl] = process.argv.slice(2);
const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const read = (url) => stream({ url, offset: "-1", live: false, warnOnHttp: false });

const messages = await (await read(jsonUrl)).json();
const text = await (await read(textUrl)).text();
const body = await (await read(bytesUrl)).body();
console.log(
  JSON.stringify({
    json: messages.length,
    json_sha256: sha256(messages.map((message) => JSON.stringify(message) + "\n").join("")),
    text: text.length,
    text_sha256: sha256(text),
    body: body.length,
    body_sha256: sha256(body),
  }),
);
