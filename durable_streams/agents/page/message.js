// The message that chunks amount to, as they arrive. Chunks of unknown kinds are skipped.

export class Folding {
  constructor(id) {
    this.message = { id, role: 'assistant', parts: [], metadata: {} };
    this.open = new Map();
    this.calls = new Map();
  }

  feed(chunk) {
    const { type, id, toolCallId } = chunk;
    if (type === 'text-start' || type === 'reasoning-start') {
      this.open.set(id, this.#add({ type: type.slice(0, -6), text: '', state: 'streaming' }));
    } else if (type === 'text-delta' || type === 'reasoning-delta') {
      const part = this.open.get(id);
      if (part) part.text += chunk.delta;
    } else if (type === 'text-end' || type === 'reasoning-end') {
      const part = this.open.get(id);
      if (part) part.state = 'done';
      this.open.delete(id);
    } else if (type === 'tool-input-start') this.#call(chunk);
    else if (type === 'tool-input-available') this.#called(chunk);
    else if (type === 'tool-approval-request' && this.calls.has(toolCallId)) {
      Object.assign(this.calls.get(toolCallId), { state: 'approval-requested', approval: { id: chunk.approvalId } });
    } else if (type === 'tool-output-denied' && this.calls.has(toolCallId)) this.calls.get(toolCallId).state = 'output-denied';
    else if (type === 'data-continues') this.#continue(chunk.data);
    else if (type === 'tool-input-error' || type === 'tool-output-error') {
      Object.assign(this.#call(chunk), { state: 'output-error', errorText: chunk.errorText });
      if ('input' in chunk) this.#call(chunk).input = chunk.input;
    } else if (type === 'tool-output-available' && this.calls.has(toolCallId)) {
      Object.assign(this.calls.get(toolCallId), { state: 'output-available', output: chunk.output });
    } else if (type === 'source-url' || type === 'file') this.#add({ ...chunk });
    if (chunk.messageMetadata) Object.assign(this.message.metadata, chunk.messageMetadata);
  }

  #add(part) {
    this.message.parts.push(part);
    return part;
  }

  // What goes on tells of its calls once more: those that somebody has answered stay so.
  #called(chunk) {
    const call = this.#call(chunk);
    if (call.state.startsWith('input-')) Object.assign(call, { state: 'input-available', input: chunk.input });
  }

  // The message so far, of an answer that goes on after somebody has answered what it waited for.
  #continue({ parts, order }) {
    this.message.parts = structuredClone(parts);
    this.message.order = order;
    this.calls = new Map(this.message.parts.filter((part) => part.toolCallId).map((part) => [part.toolCallId, part]));
  }

  #call({ toolCallId, toolName }) {
    if (!this.calls.has(toolCallId)) {
      this.calls.set(toolCallId, this.#add({ type: `tool-${toolName}`, toolCallId, state: 'input-streaming' }));
    }
    return this.calls.get(toolCallId);
  }
}
