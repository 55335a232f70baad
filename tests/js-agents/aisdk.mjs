// Scenarios with the AI SDK's own chat, unmodified. Arguments: transport ("durable" or "plain"), the adapter's origin,
// by which name the SDK is installed, and the model's origin: its "gated" answer waits after w8 for a POST to /go.
// Prints one JSON object: scenario -> what every tab ended with.
import { createDurableChatTransport } from "@durable-streams/aisdk-transport";

const [kind, origin, sdk, model] = process.argv.slice(2);
const { AbstractChat, DefaultChatTransport } = await import(sdk);
const api = `${origin}/api/${kind === "plain" ? "sse/chat" : "chat"}`;

class State {
  status = "ready";
  error = undefined;
  messages;
  listeners = new Set();
  constructor(messages) { this.messages = messages; }
  pushMessage = (message) => { this.messages = [...this.messages, message]; this.tell(); };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, structuredClone(message)); this.tell(); };
  snapshot = structuredClone;
  tell() { for (const listener of this.listeners) listener(); }
}

class Tab extends AbstractChat {
  constructor(id, messages = []) {
    const state = new State(messages);
    const transport = kind === "plain" ? new DefaultChatTransport({ api }) : createDurableChatTransport({ api });
    super({ id, state, transport, messages });
    this.shown = state;
  }
  text() {
    const last = this.shown.messages.at(-1);
    return last?.role === "assistant" ? last.parts.filter((p) => p.type === "text").map((p) => p.text).join("") : "";
  }
  // Resolves once the answer shows this much text.
  shows(text) {
    return new Promise((resolve) => {
      const look = () => { if (this.text().includes(text)) { this.shown.listeners.delete(look); resolve(); } };
      this.shown.listeners.add(look);
      look();
    });
  }
  result() {
    const last = this.shown.messages.at(-1);
    return {
      status: this.shown.status,
      error: this.shown.error?.message,
      id: last?.id,
      role: last?.role,
      text: this.text(),
      metadata: last?.metadata ?? {},
      tools: last?.parts.filter((p) => p.type.startsWith("tool-")).map((p) => [p.state, p.output ?? p.errorText]),
      count: this.shown.messages.length,
    };
  }
}

const post = async (path, body = {}) => {
  const response = await fetch(origin + path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return { status: response.status, ...(await response.json()) };
};
const go = () => fetch(`${model}/go`, { method: "POST" });
const session = async (id) => (await fetch(`${origin}/api/sessions/${id}`)).json();
const until = async (happened) => { while (!(await happened())) await new Promise((r) => setTimeout(r, 20)); };

const scenarios = {
  async submit() {
    const tab = new Tab("submit");
    await tab.sendMessage({ text: "words" });
    await tab.sendMessage({ text: "quick" });
    return [tab.result()];
  },
  async lateJoin() {
    const first = new Tab("late-join");
    const sent = first.sendMessage({ text: "gated" });
    await first.shows("w3");
    const second = new Tab("late-join", first.messages.slice(0, 1));
    const resumed = second.resumeStream();
    await second.shows("w3");
    await go();
    await Promise.all([sent, resumed]);
    return [first.result(), second.result()];
  },
  async reloadMidAnswer() {
    const gone = new Tab("reload-mid");
    gone.sendMessage({ text: "gated" });
    await gone.shows("w3");
    await gone.stop(); // closes this tab's connection; the run goes on
    const tab = new Tab("reload-mid", gone.messages.slice(0, 1));
    const resumed = tab.resumeStream();
    await tab.shows("w3");
    await go();
    await resumed;
    return [tab.result()];
  },
  async reloadAfterEnd() {
    const gone = new Tab("reload-end");
    await gone.sendMessage({ text: "quick" });
    await until(async () => (await session("reload-end")).generations.every((g) => g.status === "finished"));
    const tab = new Tab("reload-end", (await session("reload-end")).messages);
    await tab.resumeStream(); // 204
    return [gone.result(), tab.result()];
  },
  async regenerate() {
    const tab = new Tab("regenerate");
    await tab.sendMessage({ text: "quick" });
    const before = tab.result();
    await tab.regenerate();
    await until(async () => (await session("regenerate")).generations.every((g) => g.status === "finished"));
    return [before, tab.result(), { stored: (await session("regenerate")).messages.map((m) => m.id) }];
  },
  async stopByThirdParty() {
    const first = new Tab("third-party");
    const sent = first.sendMessage({ text: "endless" });
    await first.shows("w3");
    const second = new Tab("third-party", first.messages.slice(0, 1));
    const resumed = second.resumeStream();
    await second.shows("w3");
    const stopped = await post("/api/chat/third-party/stop", { by: "eve", reason: "enough" });
    await Promise.all([sent, resumed]);
    return [first.result(), second.result(), stopped];
  },
  async stopBeforeFirstToken() {
    const tab = new Tab("before-first");
    const sent = tab.sendMessage({ text: "silence" });
    await until(async () => (await session("before-first")).generations.length === 1);
    const stopped = await post("/api/chat/before-first/stop", { by: "eve" });
    await sent;
    return [tab.result(), stopped];
  },
  async stopAfterEnd() {
    const tab = new Tab("after-end");
    await tab.sendMessage({ text: "quick" });
    const { generations } = await session("after-end");
    return [tab.result(), await post("/api/chat/after-end/stop", { generationId: generations[0].id, by: "eve" })];
  },
  async stopDuringTool() {
    const tab = new Tab("tool");
    const sent = tab.sendMessage({ text: "half a call" });
    await until(async () => tab.result().tools?.length === 1);
    await post("/api/chat/tool/stop", { by: "eve" });
    await sent;
    return [tab.result()];
  },
  async upstreamFails() {
    const tab = new Tab("fails");
    await tab.sendMessage({ text: "broken" });
    return [tab.result()];
  },
  async busy() {
    const first = new Tab("busy");
    const sent = first.sendMessage({ text: "endless" });
    await first.shows("w1");
    const second = new Tab("busy");
    await second.sendMessage({ text: "quick" });
    await post("/api/chat/busy/stop", { by: "eve" });
    await sent;
    return [first.result(), second.result()];
  },
};

const results = await Promise.all(
  Object.entries(scenarios).map(async ([name, run]) => [name, await run().catch((error) => ({ threw: String(error.stack) }))]),
);
console.log(JSON.stringify(Object.fromEntries(results)));
process.exit(0);
