// Messages as elements. Only what has changed is touched, so selections and scroll positions survive a growing answer.

import { blocks } from './markdown.js';

// An answer that ended by itself is whole only if its model stopped.
const CUTS = {
  length: 'Cut off: the model reached its limit of length',
  'content-filter': 'Cut off: the model or its provider refused to go on',
  'tool-calls': 'Ended while it still wanted to use tools',
};

const ENDINGS = {
  finished: ({ finishReason = 'stop', rawFinishReason }) =>
    (finishReason === 'stop' ? '' : CUTS[finishReason] ?? `Ended early: ${rawFinishReason ?? finishReason}`),
  aborted: ({ by, reason }) => (by ? `Stopped by ${by}` : `Stopped${reason && reason !== 'stopped' ? `: ${reason}` : ''}`),
  failed: ({ reason }) => `The model failed${reason ? `: ${reason}` : ''}`,
  lost: () => 'Cut off: what was writing this has gone away',
};

const TOOL_STATES = {
  'output-available': 'done', 'output-error': 'failed', 'output-denied': 'denied', 'approval-requested': 'waits for approval',
};

export class MessagesView {
  // `onAgain(id)`: another answer is wanted; `onRetry(id)`: a refused message should be sent again; `onAnswer(gid,
  // given)`: somebody approves what waits, or does not.
  constructor(list, { onAgain, onRetry, onAnswer }) {
    Object.assign(this, { list, onAgain, onRetry, onAnswer, shown: new Map() });
  }

  clear() {
    this.shown.clear();
    this.list.replaceChildren();
  }

  // Show placed messages ({message, live, queued, pending}); `me` signs one's own; `free`: nothing is being written.
  draw(placed, { me, free }) {
    const ids = new Set(placed.map((one) => one.message.id));
    for (const [id, shown] of this.shown) {
      if (!ids.has(id)) {
        shown.item.remove();
        this.shown.delete(id);
      }
    }
    placed.forEach((one, n) => {
      const shown = this.#element(one.message);
      if (this.list.children[n] !== shown.item) this.list.insertBefore(shown.item, this.list.children[n] ?? null);
      const last = n === placed.length - 1;
      this.#fill(shown, one, { me, again: free && last && one.message.role === 'assistant' });
    });
  }

  #element({ id, role }) {
    let shown = this.shown.get(id);
    if (!shown) {
      const item = made('li', `message ${role}`);
      item.dataset.id = id;
      const by = made('p', 'by'), parts = made('div', 'parts'), asks = made('div'), foot = made('p', 'foot');
      item.append(by, parts, asks, foot);
      shown = { item, by, parts, asks, foot, drawn: [], asksKey: '' };
      this.shown.set(id, shown);
    }
    return shown;
  }

  // Ask for what a message waits for: approvals are given here, the rest is only told.
  #asks({ gid, pending, answered }) {
    return pending.filter(({ id }) => !answered.has(id)).map(({ id, kind, tool }) => {
      const item = made('p', 'asks');
      const told = { approval: `May ${tool || 'this'} run?`, result: `Waits for ${tool}, which this page does not have`, answer: 'Waits for an answer' };
      item.append(made('span', '', told[kind] ?? told.answer));
      for (const [label, approved] of kind === 'approval' ? [['Approve', true], ['Deny', false]] : []) {
        const press = made('button', 'plain', label);
        press.type = 'button';
        press.addEventListener('click', () => this.onAnswer(gid, { toolCallId: id, approved }));
        item.append(press);
      }
      return item;
    });
  }

  #fill(shown, { message, live, queued, pending, waiting: asked }, { me, again }) {
    const { metadata = {} } = message;
    const mine = message.role === 'user' && (pending || metadata.by === me);
    shown.item.classList.toggle('mine', Boolean(mine));
    shown.item.classList.toggle('live', Boolean(live));
    shown.item.classList.toggle('pending', Boolean(pending));
    set(shown.by, message.role === 'assistant' ? 'Assistant' : mine ? 'You' : metadata.by ?? 'Somebody');
    message.parts.filter(isShown).forEach((part, n) => drawPart(shown, part, n));
    while (shown.drawn.length > message.parts.filter(isShown).length) shown.drawn.pop().element.remove();
    const waiting = live && !shown.drawn.length;
    shown.item.classList.toggle('waiting', Boolean(waiting));
    const asksKey = asked ? JSON.stringify([asked.gid, asked.pending, [...asked.answered.keys()]]) : '';
    if (shown.asksKey !== asksKey) {
      shown.asksKey = asksKey;
      shown.asks.replaceChildren(...(asked ? this.#asks(asked) : []));
    }
    const ending = live || asked ? '' : ENDINGS[metadata.ending]?.(metadata) ?? '';
    const said = queued ? 'Waiting for its turn' : pending ? pending.said : ending;
    shown.foot.className = `foot ${metadata.ending ?? ''}`;
    const button = pending?.refused ? ['Send again', this.onRetry] : again ? [ending ? 'Try again' : 'Another answer', this.onAgain] : null;
    const key = `${said}\n${button?.[0] ?? ''}`;
    if (shown.footKey === key) return;
    shown.footKey = key;
    shown.foot.replaceChildren(...(said ? [made('span', '', said)] : []));
    if (button) {
      const press = made('button', 'plain', button[0]);
      press.type = 'button';
      press.addEventListener('click', () => button[1](message.id));
      shown.foot.append(press);
    }
  }
}

function isShown({ type, text }) {
  if (type === 'text' || type === 'reasoning') return text !== '';
  return type.startsWith('tool-') || type === 'source-url' || type === 'file';
}

function drawPart(shown, part, n) {
  const role = shown.item.classList.contains('user') ? 'user' : 'assistant';
  let drawn = shown.drawn[n];
  if (!drawn || drawn.type !== part.type) {
    drawn?.element.remove();
    drawn = { type: part.type, ...(makers[kindOf(part)] ?? makers.text)(part) };
    shown.drawn[n] = drawn;
    shown.parts.insertBefore(drawn.element, shown.parts.children[n] ?? null);
  }
  const key = part.text ?? part.url ?? JSON.stringify(part);
  if (drawn.key !== key) {
    drawn.key = key;
    drawn.update(part, role);
  }
}

function kindOf(part) {
  return part.type.startsWith('tool-') ? 'tool' : part.type;
}

const makers = {
  text() {
    const element = made('div', 'text'), growing = { blocks: [] };
    return { element, update: (part, role) => (role === 'user' ? set(element, part.text) : grow(element, growing, part.text)) };
  },
  reasoning() {
    const element = made('details', 'reasoning'), body = made('div', 'text'), growing = { blocks: [] };
    element.append(made('summary', '', 'Thoughts'), body);
    return { element, update: (part) => grow(body, growing, part.text) };
  },
  tool() {
    const element = made('details', 'tool'), summary = made('summary'), body = made('pre');
    element.append(summary, body);
    const update = (part) => {
      const state = TOOL_STATES[part.state] ?? 'running…';
      set(summary, `${part.type.slice(5)} · ${state}`);
      element.classList.toggle('failed', part.state === 'output-error');
      set(body, [part.input, part.output ?? part.errorText].filter((one) => one !== undefined).map(pretty).join('\n\n'));
    };
    return { element, update };
  },
  'source-url'() {
    const element = made('p', 'source'), anchor = made('a');
    Object.assign(anchor, { target: '_blank', rel: 'noopener noreferrer nofollow' });
    element.append(anchor);
    const update = (part) => {
      set(anchor, part.title || part.url);
      if (/^https?:\/\//i.test(part.url)) anchor.href = part.url;
    };
    return { element, update };
  },
  file() {
    const element = made('p', 'file');
    const update = ({ url, mediaType, filename }) => {
      // What is elsewhere is not fetched by itself: whoever made the answer would learn who reads it.
      const isPicture = /^data:image\/(png|jpeg|webp|gif);base64,/.test(url);
      const shown = isPicture ? made('img') : made('a', '', filename || mediaType);
      if (isPicture) Object.assign(shown, { src: url, alt: filename || 'a picture' });
      else if (/^https?:\/\//i.test(url)) Object.assign(shown, { href: url, target: '_blank', rel: 'noopener noreferrer nofollow' });
      element.replaceChildren(shown);
    };
    return { element, update };
  },
};

// Put a text's blocks in place, leaving those that are as they were.
function grow(element, growing, text) {
  const fresh = blocks(text);
  fresh.forEach((html, n) => {
    if (growing.blocks[n] === html) return;
    const holder = made('div');
    holder.innerHTML = html; // written by markdown.js, from escaped text
    const block = holder.firstElementChild;
    if (element.children[n]) element.children[n].replaceWith(block);
    else element.append(block);
  });
  while (element.children.length > fresh.length) element.lastElementChild.remove();
  growing.blocks = fresh;
}

function pretty(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

export function made(tag, name = '', text = '') {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
}

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
