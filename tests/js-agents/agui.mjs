// AG-UI's own client, unmodified: what CopilotKit speaks to an agent with. Arguments: the adapter's origin and the
// model's: its "gated" answer waits after w7 for a POST to /go; and by which name the client is installed. Every event
// goes through the client's own schemas and its check of their order. Prints one JSON object: scenario -> what the client ended with.
import { EventSchemas } from "@ag-ui/core/schemas";

const [origin, model, name] = process.argv.slice(2);
const { HttpAgent } = await import(name);
const user = (id, content) => ({ id, role: "user", content });
const post = (url, body) =>
  fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

class Client {
  constructor(threadId, messages) {
    this.agent = new HttpAgent({ url: `${origin}/api/agui`, threadId, initialMessages: messages });
    this.events = [];
    this.errors = [];
  }

  async run(parameters = {}) {
    const seen = [];
    this.shown = "";
    const told = {
      onEvent: ({ event }) => {
        EventSchemas.parse(event);
        seen.push(event);
        if (event.delta) this.shown += event.delta;
      },
      onRunErrorEvent: ({ event }) => void this.errors.push([event.message, event.code]),
      onRunFailed: ({ error }) => void this.errors.push(String(error)),
    };
    this.events = seen;
    await this.agent.runAgent(parameters, told).catch((error) => this.errors.push(String(error)));
    return this;
  }

  async shows(text) {
    while (!this.shown?.includes(text)) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  result() {
    const text = (content) => (typeof content === "string" ? content : null);
    return {
      kinds: this.events.map((event) => event.type),
      last: this.events.at(-1),
      messages: this.agent.messages.map((m) => ({
        role: m.role, content: text(m.content), calls: (m.toolCalls ?? []).map((c) => [c.function.name, c.function.arguments]),
      })),
      errors: this.errors,
    };
  }
}

const scenarios = {
  async answer() {
    const client = new Client("agui-answer", [user("u1", "quick")]);
    await client.run({ runId: "run-1" });
    client.agent.addMessage(user("u2", "quick"));
    return [(await client.run({ runId: "run-2" })).result()];
  },
  async tool() {
    return [(await new Client("agui-tool", [user("u1", "call")]).run()).result()];
  },
  async comesBack() {
    const first = new Client("agui-back", [user("u1", "gated")]);
    const running = first.run({ runId: "run-1" });
    await first.shows("w7");
    first.agent.abortRun();
    await running;
    const second = new Client("agui-back", [user("u1", "gated")]);
    const again = second.run({ runId: "run-1" });
    await second.shows("w7");
    await fetch(`${model}/go`, { method: "POST" });
    await again;
    let generations; // the session is told a moment after the stream has ended
    do {
      ({ generations } = await (await fetch(`${origin}/api/sessions/agui-back`)).json());
    } while (generations.some((one) => one.status === "running"));
    return [second.result(), generations];
  },
  async stopped() {
    const client = new Client("agui-stop", [user("u1", "endless")]);
    const running = client.run();
    await client.shows("w3");
    await post(`${origin}/api/sessions/agui-stop/stop`, { by: "eve", reason: "enough" });
    await running;
    return [client.result()];
  },
  async broken() {
    return [(await new Client("agui-broken", [user("u1", "broken")]).run()).result()];
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  results[name] = await scenario().catch((error) => ({ threw: String(error.stack) }));
}
console.log(JSON.stringify(results));
process.exit(0);
