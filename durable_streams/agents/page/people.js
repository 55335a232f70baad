// Who else is here, and who is typing; and telling the others about this tab.

import * as adapter from './adapter.js';
import { made, set } from './view.js';

const TYPING_MS = 4_000, SHOWN_COUNT = 5, LATE_MS = 3_000, AGAIN_MS = 2_000;
const ADJECTIVES = ['Quiet', 'Bright', 'Swift', 'Gentle', 'Brave', 'Clever', 'Sunny', 'Calm'];
const ANIMALS = ['Heron', 'Otter', 'Lynx', 'Finch', 'Badger', 'Marten', 'Crane', 'Vole'];
const HUES = 12;

export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function kept(name, make) {
  let value = localStorage.getItem(name);
  if (!value) {
    value = make();
    localStorage.setItem(name, value);
  }
  return value;
}

const isSeen = () => document.visibilityState === 'visible';
const picked = (list) => list[crypto.getRandomValues(new Uint8Array(1))[0] % list.length];

// This person, in all tabs of this browser.
export const me = {
  id: kept('person', randomId),
  get name() { return kept('name', () => `${picked(ADJECTIVES)} ${picked(ANIMALS)}`); },
  set name(given) { localStorage.setItem('name', given); },
};

// Tells a session that this tab is there, again and again, as long as the page is looked at and somebody else is there to
// see it: every telling is a row in the session for good. Alone, it only asks whether the service is still there.
export class Presence {
  constructor(onFault) {
    Object.assign(this, { id: randomId(), sessionId: null, typing: false, alone: true, toldAt: 0, isTelling: false, lastsMs: 60_000, timer: null, idle: null, onFault });
    addEventListener('pagehide', () => this.#leave());
    addEventListener('pageshow', (event) => event.persisted && this.tell());
    document.addEventListener('visibilitychange', () => this.#beat());
  }

  // Enter a session, or none.
  async enter(sessionId) {
    if (this.sessionId === sessionId) return;
    this.#leave();
    Object.assign(this, { sessionId, typing: false, alone: true });
    await this.tell();
  }

  // What a session says of who is there. Whoever comes is told of this tab, if it has been silent.
  heard(sessionId, rows, aheadMs) {
    if (sessionId !== this.sessionId) return;
    this.alone = ![...rows.values()].some((row) => row.id !== this.id && leavesAt(row, aheadMs) >= Date.now());
    if (!this.alone && !this.isTelling && Date.now() - this.toldAt > this.#pauseMs) this.tell();
  }

  tell() {
    return this.#say(async (sessionId) => {
      this.toldAt = Date.now();
      const { said } = await adapter.present(sessionId, { id: this.id, person: me.id, name: me.name, typing: this.typing });
      this.lastsMs = said.lasts_ms;
    });
  }

  async #say(how) {
    clearTimeout(this.timer);
    const { sessionId } = this;
    if (sessionId === null) return;
    let waitMs = AGAIN_MS, next = () => isSeen() && this.#say(how);
    this.isTelling = true;
    try {
      await how(sessionId);
      waitMs = this.#pauseMs;
      next = () => this.#beat();
      this.onFault(null);
    } catch (fault) {
      this.onFault(fault);
    }
    this.isTelling = false;
    clearTimeout(this.timer);
    if (sessionId === this.sessionId) this.timer = setTimeout(next, waitMs);
  }

  #beat() {
    clearTimeout(this.timer);
    const leftMs = this.toldAt + this.#pauseMs - Date.now();
    if (!isSeen()) return;
    if (this.alone) this.#say(adapter.config);
    else if (leftMs > 0) this.timer = setTimeout(() => this.#beat(), leftMs);
    else this.tell();
  }

  get #pauseMs() {
    return this.lastsMs * 0.8;
  }

  // A key was pressed: the others see it, until nothing follows for a while.
  pressed(isTyping) {
    clearTimeout(this.idle);
    if (isTyping) this.idle = setTimeout(() => this.pressed(false), TYPING_MS);
    if (this.typing !== isTyping) {
      this.typing = isTyping;
      if (!this.alone) this.tell();
    }
  }

  #leave() {
    clearTimeout(this.timer);
    clearTimeout(this.idle);
    if (this.sessionId !== null) adapter.leave(this.sessionId, this.id);
  }
}

// When somebody is no longer there by our clock, unless there is another sign.
function leavesAt(row, aheadMs) {
  return Math.max(row.expires_at - aheadMs, 0) + LATE_MS;
}

// Draw who is here: one mark for a person, however many tabs; returns when somebody's time is up, or null.
export function drawPeople({ box, typing }, rows, { aheadMs, tab }) {
  const people = new Map();
  let next = null;
  for (const row of rows.values()) {
    const until = leavesAt(row, aheadMs);
    if (until < Date.now() || row.id === tab) continue;
    next = Math.min(next ?? Infinity, until);
    const key = row.person ?? row.id, known = people.get(key);
    people.set(key, { name: row.name ?? 'Somebody', typing: Boolean(row.typing || known?.typing), mine: key === me.id });
  }
  const all = [...people].sort(([, a], [, b]) => a.name.localeCompare(b.name));
  const marks = all.slice(0, SHOWN_COUNT).map(([key, one]) => mark(key, one));
  if (all.length > SHOWN_COUNT) marks.push(made('span', 'more', `+${all.length - SHOWN_COUNT}`));
  const drawn = marks.map((one) => `${one.title}${one.className}`).join('\n');
  if (box.dataset.drawn !== drawn) {
    box.dataset.drawn = drawn;
    box.replaceChildren(...marks);
  }
  set(typing, sentence(all.filter(([, one]) => one.typing && !one.mine).map(([, one]) => one.name)));
  return next;
}

export function mark(key, { name, typing, mine }) {
  const element = made('span', `mark hue${hueOf(key)}${typing ? ' typing' : ''}`, initials(name));
  element.title = mine ? `${name} (you, in another tab)` : name;
  return element;
}

function initials(name) {
  return name.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? '').join('').toUpperCase();
}

function hueOf(key) {
  return [...key].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 997, 7) % HUES;
}

function sentence(names) {
  if (!names.length) return '';
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return 'Several people are typing…';
}
