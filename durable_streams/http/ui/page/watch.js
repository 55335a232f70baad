// Follow one stream by long-polling: its answers hold the stored bytes as they are, so every message has its offset.

import { ask, Refusal, streamUrl } from './api.js';
import { split } from './messages.js';

const FIRST_WAIT_MS = 250, LAST_WAIT_MS = 5_000;
const PAGE_BYTES = 1 << 20; // what is read, split and shown at once, however long the stream

// Read from `from` ({tail: n} or {offset}) and on, until the signal aborts or the stream is over.
// `ready` resolves when more can be shown; `onBatch(entries, live)`; `onState(state, detail)` with reading, live,
// closed, broken or gone.
export async function watch(path, { from, signal, ready, onBatch, onState }) {
  let at = null, cursor = null, live = false, wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      await ready();
      const response = await ask(`${streamUrl(path)}?${queryOf(from, at, cursor, live)}`, { signal });
      const bytes = new Uint8Array(await response.arrayBuffer());
      const next = Number(response.headers.get('Stream-Next-Offset'));
      const type = response.headers.get('Content-Type') ?? '';
      const entries = response.status === 204 ? [] : split(bytes, next, type);
      cursor = response.headers.get('Stream-Cursor');
      at = response.headers.get('Stream-Next-Offset');
      onBatch(entries, live, at);
      wait = FIRST_WAIT_MS;
      live ||= response.headers.has('Stream-Up-To-Date');
      if (response.headers.get('Stream-Closed') === 'true' && response.headers.has('Stream-Up-To-Date')) {
        return onState('closed');
      }
      onState(live ? 'live' : 'reading');
    } catch (error) {
      if (signal.aborted) return undefined;
      if (at === null && from.tail !== undefined && error.status === 400) {
        from = { offset: '-1' }; // messages so large that the last ones are not to be found from the end
      } else if (error instanceof Refusal && error.status < 500 && error.status !== 429) {
        return onState(error.status === 404 || error.status === 410 ? 'gone' : 'broken', error.message);
      } else {
        onState('broken', 'The server cannot be reached. Trying again.');
        await pause(wait, signal);
        wait = Math.min(wait * 2, LAST_WAIT_MS);
      }
    }
  }
  return undefined;
}

function queryOf(from, at, cursor, live) {
  const query = new URLSearchParams(
    at !== null ? { offset: at } : from.tail === undefined ? { offset: from.offset } : { tail: from.tail },
  );
  if (live) query.set('live', 'long-poll');
  else query.set('max-bytes', PAGE_BYTES);
  if (live && cursor) query.set('cursor', cursor);
  return query;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
