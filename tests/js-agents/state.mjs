// A session's rows through @durable-streams/state, unmodified. Argument: the adapter's origin. Two readers, one from the
// beginning and one that comes late, see the same.
import { createStateSchema, createStreamDB } from "@durable-streams/state/db";

const [origin] = process.argv.slice(2);
const any = { "~standard": { version: 1, vendor: "tests", validate: (value) => ({ value }) } };
const collection = (type) => ({ schema: any, type, primaryKey: "id" });
const state = createStateSchema({
  messages: collection("message"), generations: collection("generation"), presence: collection("presence"),
});
const open = async () => {
  const url = `${origin}/api/sessions/state/stream`;
  const db = createStreamDB({ streamOptions: { url, contentType: "application/json" }, state });
  await db.preload();
  return db;
};
const post = (path, body) =>
  fetch(origin + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
const until = async (happened) => { while (!happened()) await new Promise((r) => setTimeout(r, 10)); };
const text = (message) => message.parts.filter((p) => p.type === "text").map((p) => p.text).join("");
const seen = (db) => ({
  messages: [...db.collections.messages.values()].sort((a, b) => a.order - b.order).map((m) => [m.role, text(m), m.metadata?.by ?? null]),
  generations: [...db.collections.generations.values()].map((g) => [g.status, g.stopped_by]),
  presence: [...db.collections.presence.values()].map((p) => [p.id, p.name]),
});

const early = await open();
const statuses = [];
early.collections.generations.subscribeChanges((changes) => {
  for (const change of changes) if (change.value.status !== statuses.at(-1)) statuses.push(change.value.status);
});
await post("/api/sessions/state/presence", { id: "tab-1", name: "Ann", typing: true });
await post("/api/sessions/state/presence", { id: "tab-2", name: "Bob" });
await post("/api/sessions/state/presence", { id: "tab-2", leave: true });
const message = { id: "u1", role: "user", parts: [{ type: "text", text: "endless" }] };
await post("/api/chat", { id: "state", messages: [message], by: "Ann", txid: "tx-1" });
await until(() => early.collections.generations.size === 1);
await post("/api/chat/state/stop", { by: "eve" });
await until(() => [...early.collections.generations.values()][0].status === "aborted");
const late = await open();
console.log(JSON.stringify({ statuses, early: seen(early), late: seen(late) }));
process.exit(0);
