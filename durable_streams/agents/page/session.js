// What a session's rows amount to, with the answers that are being written and the prompts that are on their way.

import { Folding } from './message.js';

const ACTIVE = new Set(['queued', 'running']);

export class Session {
  // `changed()` is called after every change, `onUpToDate()` when all rows that are stored have been read.
  constructor(sessionId, follower, { changed, path = `sessions/${sessionId}` }) {
    Object.assign(this, { sessionId, follower, changed, path, upToDate: false, started: false });
    this.messages = new Map();
    this.generations = new Map();
    this.presence = new Map();
    this.answers = new Map();
    this.foldings = new Map();
    this.pending = new Map();
  }

  // Begin to read. A session that nobody has written to is not there yet: `onMissing` is told.
  start(onMissing) {
    if (this.started) return;
    this.started = true;
    this.follower.follow(this.path, {
      onItems: (rows, upToDate) => {
        for (const row of rows) this.#apply(row);
        this.upToDate ||= upToDate;
        this.changed();
      },
      onMissing,
    });
  }

  stop() {
    for (const path of [this.path, ...[...this.foldings.keys()].map((gid) => this.generations.get(gid)?.stream)]) {
      if (path) this.follower.unfollow(path);
    }
  }

  // The generation that is being written, or null.
  get active() {
    const active = [...this.generations.values()].filter((one) => ACTIVE.has(one.status) && !this.#isOver(one));
    return active.sort((a, b) => a.turn - b.turn)[0] ?? null;
  }

  // Messages in the order of the conversation; those not in the session yet have `live` or `pending` set.
  shown() {
    const growing = this.#growing();
    const placed = [...this.messages.values()].map((message) => (
      growing.has(message.id)
        ? { message: growing.get(message.id), order: message.order ?? -1, live: true }
        : { message, order: message.order ?? -1, waiting: this.#waiting(message.id) }
    ));
    for (const [gid, folding] of this.foldings) {
      const generation = this.generations.get(gid);
      if (!this.messages.has(generation.message_id) && ACTIVE.has(generation.status)) {
        placed.push({ message: folding.message, order: generation.turn * 2 + 1, live: true, queued: generation.status === 'queued' });
      }
    }
    for (const one of this.pending.values()) placed.push({ message: one.message, order: Infinity, pending: one });
    return placed.sort((a, b) => a.order - b.order || 0);
  }

  // Messages that go on after somebody has answered, by id, as far as they are read.
  #growing() {
    const going = [...this.foldings].filter(([gid, folding]) => (
      this.generations.get(gid).continues && folding.message.parts.length && ACTIVE.has(this.generations.get(gid).status)
    ));
    return new Map(going.map(([, folding]) => [folding.message.id, folding.message]));
  }

  // What a message waits for, {gid, pending, answered}, or null.
  #waiting(messageId) {
    const one = [...this.generations.values()].find((each) => each.message_id === messageId && each.status === 'waiting');
    return one ? { gid: one.id, pending: one.waiting ?? [], answered: this.answers.get(one.id) ?? new Map() } : null;
  }

  #isOver(generation) {
    return this.foldings.get(generation.id)?.over ?? false;
  }

  #apply({ type, key, value, headers }) {
    const isGone = headers?.operation === 'delete';
    if (type === 'answer' && value) {
      const given = this.answers.get(value.generation) ?? new Map();
      this.answers.set(value.generation, given.has(value.call_id) ? given : given.set(value.call_id, value));
    }
    const rows = { message: this.messages, generation: this.generations, presence: this.presence }[type];
    if (!rows) return;
    if (isGone) rows.delete(key);
    else if (value) rows.set(key, value);
    if (type === 'message') this.pending.delete(key);
    if (type === 'presence' && value) value.seen = Date.now();
    if (type === 'generation' && value) this.#attend(value);
  }

  // Read an answer while it is written; its message takes its place once the session has it.
  #attend(generation) {
    const known = this.foldings.get(generation.id);
    if (!ACTIVE.has(generation.status)) {
      this.foldings.delete(generation.id);
      if (known) this.follower.unfollow(generation.stream);
    } else if (!known) {
      const folding = new Folding(generation.message_id);
      this.foldings.set(generation.id, folding);
      this.follower.follow(generation.stream, {
        onItems: (chunks) => {
          for (const chunk of chunks) folding.feed(chunk);
          this.changed();
        },
        onEnd: () => {
          folding.over = true;
          this.changed();
        },
      });
    }
  }
}
