// Follow any number of streams on one connection: a browser has only six for a server, over all its tabs.
//
// Items reach their stream's handler together with the offset behind them, so what was handled is never handled twice.

const FIRST_WAIT_MS = 200, LAST_WAIT_MS = 5_000, SILENCE_MS = 45_000, FIRST_MISSING_MS = 250;

export class Follower {
  // `onState(state, retryAt)`: connecting, live, waiting (tries again at a time), offline or resting.
  constructor(root, onState) {
    Object.assign(this, { root, onState, wanted: new Map(), connection: null, timer: null, wait: FIRST_WAIT_MS, missingWait: FIRST_MISSING_MS, resting: false });
    addEventListener('online', () => this.#restart());
    addEventListener('offline', () => this.#restart());
  }

  // Hand every item of a stream to `onItems(items, upToDate)`, from an offset on; `onEnd()` once it is closed. A stream
  // that is not there yet is tried again until it is; `onMissing()` is told each time.
  follow(path, { offset = '-1', onItems, onEnd = () => {}, onMissing = () => {} }) {
    this.wanted.set(path, { offset, onItems, onEnd, onMissing });
    this.missingWait = FIRST_MISSING_MS;
    this.#restart();
  }

  unfollow(path) {
    if (this.wanted.delete(path)) this.#restart();
  }

  // Let go of the connection while nobody looks; `wake` takes it up again where it was.
  rest() {
    this.resting = true;
    this.#restart();
  }

  wake() {
    if (this.resting) {
      this.resting = false;
      this.#restart();
    }
  }

  #restart() {
    clearTimeout(this.timer);
    this.connection?.abort();
    this.connection = null;
    if (this.resting) return this.onState('resting');
    if (!navigator.onLine) return this.onState('offline');
    this.timer = setTimeout(() => this.#run(), 0);
    return undefined;
  }

  async #run() {
    if (!this.wanted.size) return;
    const mine = new AbortController();
    this.connection = mine;
    this.later = null;
    try {
      await this.#read(mine);
      if (mine.signal.aborted) return;
      this.wait = FIRST_WAIT_MS;
      if (this.later === null) this.timer = setTimeout(() => this.#run(), 0);
    } catch {
      if (mine.signal.aborted && this.connection !== mine) return;
      const wait = this.wait * (0.75 + Math.random() / 2);
      this.onState('waiting', Date.now() + wait);
      this.wait = Math.min(this.wait * 2, LAST_WAIT_MS);
      this.timer = setTimeout(() => this.#run(), wait);
    }
  }

  async #read(mine) {
    const body = JSON.stringify([...this.wanted].map(([path, { offset, cursor }]) => ({ path, offset, cursor })));
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => mine.abort(), SILENCE_MS);
    };
    heard();
    try {
      const response = await fetch(`${this.root}/__ds/follow`, { method: 'POST', body, signal: mine.signal, cache: 'no-store' });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      this.onState('live');
      const held = new Map();
      for await (const event of events(response.body, heard)) {
        if (mine !== this.connection) return;
        this.#take(event, held);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #take({ id, event, data }, held) {
    const path = decodeURIComponent(id), one = this.wanted.get(path);
    if (!one) return;
    if (event === 'data') held.set(path, JSON.parse(data));
    else if (event === 'control') {
      const control = JSON.parse(data), items = held.get(path) ?? [];
      held.delete(path);
      this.wait = FIRST_WAIT_MS;
      one.offset = control.streamNextOffset;
      one.cursor = control.streamCursor;
      if (control.streamClosed) this.wanted.delete(path);
      one.onItems(items, Boolean(control.upToDate));
      if (control.streamClosed) one.onEnd();
    } else if (event === 'refused' || event === 'gone') {
      // An offset of a stream that is no more, or of which another has taken the place, leads nowhere.
      if (event === 'gone' || JSON.parse(data).code === 'replaced') one.offset = '-1';
      this.#laterAgain();
      one.onMissing();
    }
  }

  // Come back for what was missing; other streams may keep the connection open meanwhile.
  #laterAgain() {
    if (this.later !== null) return;
    clearTimeout(this.timer);
    this.later = this.timer = setTimeout(() => this.#restart(), this.missingWait);
    this.missingWait = Math.min(this.missingWait * 2, LAST_WAIT_MS);
  }
}

// The events of an event stream, each {id, event, data}.
async function* events(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let left = '', id = '', event = 'message', data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (left + value).split('\n');
    left = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (data.length) yield { id, event, data: data.join('\n') };
        event = 'message';
        data = [];
      } else {
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (field === 'data') data.push(text);
        else if (field === 'event') event = text;
        else if (field === 'id') id = text;
      }
    }
  }
}
