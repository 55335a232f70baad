// Requests to the adapter.

const JSON_TYPE = 'application/json';

export class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }

  // Whether the same request may well succeed later.
  get passes() {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: 'POST', headers: { 'Content-Type': JSON_TYPE }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', ...options });
  } catch {
    throw new Refused(0, 'The adapter cannot be reached.');
  }
  const text = await response.text();
  let said = null;
  try {
    said = JSON.parse(text);
  } catch {
    // not everything has a body, and what stands between may answer in its own words
  }
  if (!response.ok) throw new Refused(response.status, said?.detail ?? (text.slice(0, 200) || `Answer ${response.status}`));
  return { said, response };
}

const part = encodeURIComponent;

// What the service says of itself, and by how much its clock is ahead of ours.
export async function config() {
  const { said, response } = await ask('api/config');
  const theirs = Date.parse(response.headers.get('Date') ?? '');
  return { ...said, aheadMs: Number.isNaN(theirs) ? 0 : theirs - Date.now() };
}

export const post = (sessionId, message, by) => ask('api/chat', { id: sessionId, messages: [message], trigger: 'submit-message', by });

export const again = (sessionId, messageId, by) => ask('api/chat', { id: sessionId, messages: [], trigger: 'regenerate-message', messageId, by });

export const stop = (sessionId, generationId, by) => ask(`api/chat/${part(sessionId)}/stop`, { generationId, by, reason: 'stopped' });

export const answer = (sessionId, generationId, given) => ask(`api/sessions/${part(sessionId)}/answers`, { generationId, ...given });

export const present = (sessionId, presence) => ask(`api/sessions/${part(sessionId)}/presence`, presence);

// Has the service look whether what runs has been lost.
export const look = (sessionId) => ask(`api/chat/${part(sessionId)}/stream`);

export function leave(sessionId, id) {
  const body = new Blob([JSON.stringify({ id, leave: true })], { type: JSON_TYPE });
  navigator.sendBeacon(`api/sessions/${part(sessionId)}/presence`, body);
}
