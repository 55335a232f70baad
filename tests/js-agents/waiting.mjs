// Chats of the AI SDK, unmodified, that answer by themselves what a run waits for. Arguments: transport ("durable" or
// "plain"), the adapter's origin, by which name the SDK is installed, and the model's origin: its "gated" answer waits
// for a POST to /go. Prints one JSON object: scenario -> what every tab ended with.
import { createDurableChatTransport } from "@durable-streams/aisdk-transport";

const [kind, origin, sdk, model] = process.argv.slice(2);
const ai = await import(sdk);
const api = `${origin}/api/${kind === "plain" ? "sse/chat" : "chat"}`;

class State {
  status = "ready";
  error = undefined;
  listeners = new Set();
  constructor(messages) { this.messages = messages; }
  pushMessage = (message) => { this.messages = [...this.messages, message]; this.tell(); };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, structuredClone(message)); this.tell(); };
  snapshot = structuredClone;
  tell() { for (const listener of this.listeners) listener(); }
}

const complete = (options) =>
  ai.lastAssistantMessageIsCompleteWithToolCalls(options) ||
  Boolean(ai.lastAssistantMessageIsCompleteWithApprovalResponses?.(options));

class Tab extends ai.AbstractChat {
  constructor(id, { messages = [], onToolCall, sendAutomaticallyWhen = complete } = {}) {
    const state = new State(messages);
    const transport = kind === "plain" ? new ai.DefaultChatTransport({ api }) : createDurableChatTransport({ api });
    super({ id, state, transport, messages, onToolCall: (call) => onToolCall?.(this, call), sendAutomaticallyWhen });
    this.shown = state;
  }
  text() {
    const last = this.shown.messages.at(-1);
    return last?.role === "assistant" ? last.parts.filter((p) => p.type === "text").map((p) => p.text).join("") : "";
  }
  until(happened) {
    return new Promise((resolve) => {
      const look = () => { if (happened(this)) { clearInterval(timer); resolve(); } };
      const timer = setInterval(look, 10);
      look();
    });
  }
  quiet(text) { return this.until(() => this.shown.status === "error" || (this.shown.status === "ready" && this.text().includes(text))); }
  result() {
    const last = this.shown.messages.at(-1);
    return {
      status: this.shown.status, error: this.shown.error?.message, id: last?.id, text: this.text(), count: this.shown.messages.length,
      tools: last?.parts.filter((p) => p.type.startsWith("tool-")).map((p) => [p.type, p.state, p.output ?? p.errorText ?? null]),
    };
  }
}

const session = async (id) => (await fetch(`${origin}/api/sessions/${id}`)).json();
const until = async (happened) => { while (!(await happened())) await new Promise((r) => setTimeout(r, 20)); };
const waits = (id) => until(async () => (await session(id)).generations.some((one) => one.status === "waiting"));
// The answer's stream ends before the session is told of it.
const settled = (id) => until(async () => (await session(id)).generations.every((one) => one.status === "finished"));
const output = (tab, toolCallId, value) => (tab.addToolOutput ?? tab.addToolResult)({ tool: "look", toolCallId, output: value });

const scenarios = {
  async clientTool() {
    const tab = new Tab("client-tool", { onToolCall: (mine, { toolCall }) => { output(mine, toolCall.toolCallId, { seen: 7 }); } });
    await tab.sendMessage({ text: "look" });
    await tab.quiet("Done.");
    await settled("client-tool");
    return [tab.result(), { stored: (await session("client-tool")).messages.map((m) => [m.id, m.parts.map((p) => p.type)]) }];
  },
  async bothAtOnce() {
    const tab = new Tab("at-once", { sendAutomaticallyWhen: complete });
    await tab.sendMessage({ text: "look" });
    await waits("at-once");
    const other = new Tab("at-once", { messages: (await session("at-once")).messages });
    output(tab, tab.shown.messages.at(-1).parts.find((p) => p.toolCallId).toolCallId, 1);
    output(other, tab.shown.messages.at(-1).parts.find((p) => p.toolCallId).toolCallId, 2);
    await Promise.all([tab.quiet("Done."), other.quiet("Done.")]);
    return [tab.result(), other.result()];
  },
  async approval() {
    if (!ai.lastAssistantMessageIsCompleteWithApprovalResponses) return [];
    const tab = new Tab("approval");
    await tab.sendMessage({ text: "gated charge" });
    const asked = tab.result();
    await waits("approval");
    const other = new Tab("approval", { messages: (await session("approval")).messages }); // another device
    other.addToolApprovalResponse({ id: other.shown.messages.at(-1).parts.at(-1).approval.id, approved: true });
    await other.until(() => other.text().includes("w3"));
    const late = new Tab("approval", { messages: (await session("approval")).messages });
    const resumed = late.resumeStream();
    await late.until(() => late.text().includes("w3"));
    await fetch(`${model}/go`, { method: "POST" });
    await Promise.all([resumed, other.quiet("w9")]);
    return [asked, other.result(), late.result()];
  },
  async denial() {
    if (!ai.lastAssistantMessageIsCompleteWithApprovalResponses) return [];
    const tab = new Tab("denial");
    await tab.sendMessage({ text: "charge" });
    await tab.addToolApprovalResponse({ id: tab.shown.messages.at(-1).parts.at(-1).approval.id, approved: false, reason: "no" });
    await tab.quiet("Done.");
    return [tab.result()];
  },
  async complete() { // an answer that ends with calls that have all failed: such clients send it back by themselves
    const tab = new Tab("complete");
    await tab.sendMessage({ text: "nod" });
    await tab.until(() => tab.shown.status === "ready" && tab.shown.messages.at(-1).parts.at(-1).type === "step-start");
    return [tab.result()];
  },
  async always() { // a client that never stops by itself
    const tab = new Tab("always", { sendAutomaticallyWhen: () => true });
    await tab.sendMessage({ text: "hi" });
    await tab.until(() => tab.shown.status === "error");
    return [tab.result()];
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) results[name] = await scenario();
console.log(JSON.stringify(results));
process.exit(0);
