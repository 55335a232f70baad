// Requests to the server, and refusals as errors with what the server said.

// The page is at `_ui` below whatever prefix a proxy takes off, and so are the streams below their root.
const prefix = new URL('.', document.baseURI).pathname.replace(/\/$/, '');
const root = prefix + document.querySelector('meta[name="stream-root"]').content;

export class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export function streamUrl(path) {
  return `${root}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

export async function ask(url, options = {}) {
  const response = await fetch(url, { cache: 'no-store', ...options });
  if (!response.ok) throw await refusalOf(response);
  return response;
}

// Streams in path order: {streams, next_after}. `after` null begins anew.
export async function page(prefix, after, limit, signal) {
  const query = new URLSearchParams({ prefix, limit: String(limit) });
  if (after !== null) query.set('after', after);
  return (await ask(`${root}/__ds/streams?${query}`, { signal })).json();
}

// What the list says of one stream; null if there is none.
export async function describe(path, signal) {
  const { streams } = await page(path, null, 1, signal);
  return streams[0]?.path === path ? streams[0] : null;
}

export function create(path, contentType, headers = {}) {
  return ask(streamUrl(path), { method: 'PUT', headers: { 'Content-Type': contentType, ...headers } });
}

export function fork(source, path, offset) {
  const headers = { 'Stream-Forked-From': streamUrl(source), 'Stream-Fork-Offset': offset };
  return ask(streamUrl(path), { method: 'PUT', headers });
}

// Append, close, or both at once. `body` null only closes.
export function append(path, contentType, body, close) {
  const headers = {};
  if (body !== null) headers['Content-Type'] = contentType;
  if (close) headers['Stream-Closed'] = 'true';
  return ask(streamUrl(path), { method: 'POST', headers, body: body ?? undefined });
}

async function refusalOf(response) {
  const text = await response.text();
  try {
    const problem = JSON.parse(text);
    return new Refusal(response.status, problem.code, problem.detail ?? problem.title ?? text);
  } catch {
    return new Refusal(response.status, '', text || `the server answered ${response.status}`);
  }
}
