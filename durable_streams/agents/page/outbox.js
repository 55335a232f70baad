// Prompts on their way. A message has its id from the start, so sending one again is sending the same one.

import * as adapter from './adapter.js';

const FIRST_WAIT_MS = 500, LAST_WAIT_MS = 5_000, BUSY = 409;

// Send a message of a session until it has arrived. `changed()` after each step; `busy(text)` if another answer is being
// written: the text goes back to its author.
export async function deliver(session, message, { by, changed, busy }) {
  const entry = { message, said: '', refused: false };
  session.pending.set(message.id, entry);
  changed();
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LAST_WAIT_MS)) {
    try {
      await adapter.post(session.sessionId, message, by);
      entry.said = '';
      return changed();
    } catch (fault) {
      if (!session.pending.has(message.id)) return changed(); // it is in the session: only the answer was lost
      if (fault.status === BUSY) {
        session.pending.delete(message.id);
        busy(message.parts[0].text);
        return changed();
      }
      if (!fault.passes) {
        Object.assign(entry, { said: `Not sent: ${fault.message}`, refused: true });
        return changed();
      }
      entry.said = 'Not sent yet. It goes out as soon as the connection is back.';
      changed();
      await backOrLater(wait);
    }
  }
}

function backOrLater(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
  });
}
