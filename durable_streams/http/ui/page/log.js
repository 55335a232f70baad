// The messages of the stream that is watched: a bounded number in the document, more as the reader comes near the end.

import { formatOffset, indented, isJson, paint, textOf } from './messages.js';

const ROWS_MAX = 3_000, ROWS_PER_FRAME = 250, QUEUE_MAX = 2_000, NEAR_PX = 400, SHOWN_CHARS = 1_500, PAINTED_CHARS = 20_000;

export class Log {
  constructor({ box, newest, onOffset }) {
    Object.assign(this, { box, newest, onOffset, queue: [], waiting: [], paused: false, following: true });
    box.addEventListener('scroll', () => this.#scrolled());
    newest.addEventListener('click', () => this.toEnd());
    box.addEventListener('click', (event) => this.#clicked(event));
  }

  clear({ following }) {
    this.queue = [];
    this.entries = new WeakMap();
    this.following = following;
    this.box.replaceChildren();
    this.newest.hidden = true;
    this.#release();
  }

  // Resolves when there is room for more: while paused or while much is still to be scrolled to, there is none.
  ready() {
    if (!this.paused && this.queue.length < QUEUE_MAX) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  push(entries) {
    const seen = new Date();
    for (const one of entries) this.queue.push({ ...one, seen });
    this.#soon();
  }

  note(text) {
    const line = document.createElement('p');
    line.className = 'note';
    line.textContent = text;
    this.box.append(line);
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) {
      this.#soon();
      this.#release();
    }
  }

  toEnd() {
    this.following = true;
    this.#soon();
    this.box.scrollTop = this.box.scrollHeight;
  }

  #near() {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_PX;
  }

  #scrolled() {
    this.following = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40 && this.queue.length === 0;
    if (this.queue.length && this.#near()) this.#soon();
    this.newest.hidden = this.following || (this.#near() && !this.queue.length);
  }

  #soon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.#draw();
    });
  }

  #draw() {
    if (this.paused || !this.queue.length) return;
    if (!this.following && !this.#near()) {
      this.newest.hidden = false;
      return;
    }
    const rows = this.queue.splice(0, ROWS_PER_FRAME).map((one) => this.#row(one));
    this.box.append(...rows);
    this.#trim();
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
    if (this.queue.length < QUEUE_MAX) this.#release();
    if (this.queue.length) this.#soon();
  }

  #trim() {
    const before = this.box.scrollHeight;
    let gone = this.box.childElementCount - ROWS_MAX;
    if (gone <= 0) return;
    while (gone-- > 0) this.box.firstElementChild.remove();
    this.box.scrollTop -= before - this.box.scrollHeight;
  }

  #release() {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  #row(one) {
    const row = document.createElement('div');
    row.className = 'message';
    const offset = document.createElement('button');
    offset.className = 'offset';
    offset.type = 'button';
    offset.textContent = formatOffset(one.offset);
    offset.title = `${one.size.toLocaleString()} bytes at ${one.offset.toLocaleString()}. Fork here…`;
    const time = document.createElement('time');
    time.textContent = one.seen.toLocaleTimeString(undefined, { hour12: false });
    time.title = `received ${one.seen.toISOString()}`;
    const shown = document.createElement('pre');
    fill(shown, one, false);
    row.append(offset, time, shown);
    this.entries.set(row, one);
    return row;
  }

  #clicked(event) {
    const row = event.target.closest('.message');
    const one = row && this.entries.get(row);
    if (!one) return;
    if (event.target.closest('.offset')) this.onOffset(one);
    else if (event.target.closest('pre') && !getSelection().toString()) {
      fill(row.querySelector('pre'), one, row.classList.toggle('open'));
    }
  }
}

function fill(element, one, open) {
  const text = textOf(one);
  const shown = open ? (isJson(one.type) ? indented(text) : text) : text.slice(0, SHOWN_CHARS);
  if (isJson(one.type) && shown.length <= PAINTED_CHARS) paint(element, shown);
  else element.textContent = shown;
  if (!open && text.length > SHOWN_CHARS) element.append(' …');
}
