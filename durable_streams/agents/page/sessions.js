// The list of all sessions, newest first.

import { made, set } from './view.js';

const PATH = 'agents/sessions', SHOWN_COUNT = 200;

export class Sessions {
  constructor(nav, onChange) {
    Object.assign(this, { nav, onChange, known: new Map(), changed: new Set(), chosen: null });
  }

  // Read the last ones and follow from there. Until the first session there is no list.
  async start(root, follower) {
    let offset = '-1';
    try {
      const response = await fetch(`${root}/${PATH}?tail=${SHOWN_COUNT}`, { cache: 'no-store' });
      if (response.ok) {
        this.#take(await response.json());
        offset = response.headers.get('Stream-Next-Offset') ?? offset;
      }
    } catch {
      // the follower tries again, from the start
    }
    follower.follow(PATH, { offset, onItems: (rows) => this.#take(rows) });
  }

  choose(sessionId) {
    this.chosen = sessionId;
    this.draw();
  }

  titleOf(sessionId) {
    return this.known.get(sessionId)?.title || null;
  }

  #take(rows) {
    for (const { type, key, value, headers } of rows) {
      if (type !== 'session') continue;
      // The announcement of a session may come after somebody has renamed or deleted it.
      const isNews = headers?.operation !== 'insert';
      if (!isNews && this.changed.has(key)) continue;
      if (isNews) this.changed.add(key);
      if (value) this.known.set(key, value);
      else this.known.delete(key);
    }
    this.draw();
    this.onChange();
  }

  draw() {
    const newest = [...this.known.values()].sort((a, b) => b.created_at - a.created_at).slice(0, SHOWN_COUNT);
    const links = newest.map((one) => {
      const link = made('a', '', one.title || 'Untitled');
      link.href = `#${one.id}`;
      link.title = `${one.title}\n${new Date(one.created_at).toLocaleString()}`;
      if (one.id === this.chosen) link.setAttribute('aria-current', 'page');
      return link;
    });
    if (!links.length) links.push(made('p', 'none', 'Chats appear here, for everybody.'));
    this.nav.replaceChildren(...links);
  }
}

export function titleOf(sessions, sessionId, element) {
  const title = sessions.titleOf(sessionId) ?? 'New chat';
  set(element, title);
  document.title = title;
}
