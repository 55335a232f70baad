// The list of streams: a window over as many as there are. Pages are read as the window comes near their end, and only
// the rows in sight are in the document, so a hundred thousand streams scroll like fifty.

import { page } from './api.js';

const ROW_PX = 44, PAGE = 500, AHEAD_ROWS = 100, OVERSCAN = 8;

export class StreamList {
  constructor({ box, rows, counted, onChoose }) {
    Object.assign(this, { box, rows, counted, onChoose, prefix: '', chosen: null, known: [], after: null, more: true });
    this.reading = null;
    box.addEventListener('scroll', () => this.#soon());
    box.addEventListener('keydown', (event) => this.#move(event));
    rows.addEventListener('click', (event) => {
      const row = event.target.closest('.row');
      if (row) onChoose(row.dataset.path);
    });
    new ResizeObserver(() => this.#soon()).observe(box);
  }

  search(prefix) {
    this.prefix = prefix;
    this.box.scrollTop = 0;
    return this.refresh();
  }

  // Read again from the start of the list, as far as it was known, so that the place in it is kept.
  async refresh() {
    this.reading?.abort();
    this.reading = new AbortController();
    const { signal } = this.reading;
    const wanted = Math.min(this.box.scrollTop / ROW_PX + PAGE, this.known.length || PAGE);
    try {
      const fresh = [];
      let after = null, more = true;
      while (more && fresh.length < wanted) {
        const answer = await page(this.prefix, after, PAGE, signal);
        fresh.push(...answer.streams);
        after = answer.next_after;
        more = after !== null;
      }
      Object.assign(this, { known: fresh, after, more, reading: null });
      this.#draw();
    } catch (error) {
      this.#failed(error, signal);
    }
  }

  choose(path) {
    this.chosen = path;
    this.#draw();
  }

  // Put in what is newly known of one stream.
  update(described) {
    const at = this.known.findIndex((one) => one.path === described.path);
    if (at >= 0) {
      this.known[at] = described;
      this.#soon();
    }
  }

  async #readMore() {
    if (this.reading || !this.more) return;
    this.reading = new AbortController();
    const { signal } = this.reading;
    try {
      const answer = await page(this.prefix, this.after, PAGE, signal);
      this.known.push(...answer.streams);
      Object.assign(this, { after: answer.next_after, more: answer.next_after !== null, reading: null });
      this.#draw();
    } catch (error) {
      this.#failed(error, signal);
    }
  }

  #failed(error, signal) {
    if (signal.aborted) return;
    this.reading = null;
    this.counted.textContent = `The list cannot be read: ${error.message}`;
  }

  #soon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.#draw();
    });
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - OVERSCAN);
    const count = Math.ceil(this.box.clientHeight / ROW_PX) + 2 * OVERSCAN;
    this.rows.style.height = `${this.known.length * ROW_PX}px`;
    this.rows.replaceChildren(...this.known.slice(first, first + count).map((one, n) => this.#row(one, first + n)));
    const [all, are] = [this.known.length.toLocaleString(), this.known.length === 1 ? 'stream' : 'streams'];
    this.counted.textContent = this.more ? `${all} ${are} read, more below` : `${all} ${are}`;
    if (first + count + AHEAD_ROWS > this.known.length) this.#readMore();
  }

  #row(one, index) {
    const row = document.createElement('div');
    row.className = 'row';
    row.role = 'option';
    row.dataset.path = one.path;
    row.title = one.path;
    row.style.top = `${index * ROW_PX}px`;
    row.setAttribute('aria-selected', String(one.path === this.chosen));
    const name = document.createElement('b');
    const text = document.createElement('bdi');
    text.textContent = one.path;
    name.append(text);
    const said = document.createElement('small');
    said.textContent = [
      one.content_type, `${Number(one.next_offset).toLocaleString()} B`, one.closed && 'closed', one.forked_from && 'fork',
    ].filter(Boolean).join(' · ');
    row.append(name, said);
    return row;
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = this.known.findIndex((one) => one.path === this.chosen);
    const next = this.known[Math.min(Math.max(at + step, 0), this.known.length - 1)];
    if (!next) return;
    const top = this.known.indexOf(next) * ROW_PX;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW_PX > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW_PX - this.box.clientHeight;
    this.onChoose(next.path);
  }
}
