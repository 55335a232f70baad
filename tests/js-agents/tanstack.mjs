// TanStack AI's own chat client, unmodified, on a session's AG-UI stream. Argument: the adapter's origin.
import { ChatClient } from "@tanstack/ai-client";
import { durableStreamConnection } from "@durable-streams/tanstack-ai-transport";

const [origin] = process.argv.slice(2);
const session = `${origin}/api/sessions/tanstack`;
const open = () => {
  const connection = durableStreamConnection({ sendUrl: `${session}/messages`, readUrl: `${session}/agui` });
  const client = new ChatClient({ connection, live: true });
  client.subscribe?.();
  return client;
};
const text = (message) =>
  message.parts.filter((part) => part.type === "text").map((part) => part.content ?? part.text).join("");
const seen = (client) => client.getMessages().map((message) => [message.role, text(message)]);
const until = async (happened) => { while (!happened()) await new Promise((r) => setTimeout(r, 10)); };
const answered = (client, said) => until(() => seen(client).some(([role, shown]) => role === "assistant" && shown.includes(said)));
const post = (path, body) =>
  fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

const first = open();
const second = open();
await first.sendMessage("quick");
await Promise.all([answered(first, "world"), answered(second, "world")]);
const afterOne = [seen(first), seen(second)];
const ids = (client) => client.getMessages().map((message) => message.id);
const before = ids(first);
await first.reload();
await until(() => ids(second).at(-1) !== before.at(-1) && JSON.stringify(seen(second)) === JSON.stringify(seen(first)));
const reloaded = {
  first: seen(first), second: seen(second), kept: ids(first)[0] === before[0], fresh: ids(first).at(-1) !== before.at(-1),
};
const between = open();
await answered(between, "world");
reloaded.late = seen(between);
first.sendMessage("endless");
await Promise.all([answered(first, "w3"), answered(second, "w3")]);
await post(`${session}/stop`, { by: "eve" });
const quiet = async () => {
  const { generations } = await (await fetch(session)).json();
  return generations.every((g) => !["running", "queued"].includes(g.status));
};
while (!(await quiet())) await new Promise((r) => setTimeout(r, 10));
await until(() => !first.getIsLoading() && JSON.stringify(seen(first)) === JSON.stringify(seen(second)));
const late = open();
await answered(late, "w3");
await until(() => JSON.stringify(seen(late)) === JSON.stringify(seen(first)));
console.log(JSON.stringify({
  afterOne, reloaded, first: seen(first), second: seen(second), late: seen(late), error: String(first.getError() ?? ""),
}));
process.exit(0);
