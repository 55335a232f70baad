// The inspector: chooses a stream, watches it, and acts on it. The address's fragment is the stream's path.

import * as api from './api.js';
import { open } from './dialog.js';
import { StreamList } from './list.js';
import { Log } from './log.js';
import { formatOffset, isJson } from './messages.js';
import { Rate } from './rate.js';
import { watch } from './watch.js';

const TAIL_COUNT = 200, TAIL_BYTES = 65_536, SEARCH_MS = 150;
const STATES = { reading: 'reading…', live: 'live', closed: 'closed', broken: 'not connected', gone: 'deleted' };
const TYPES = ['application/json', 'text/plain', 'application/octet-stream'];
const at = (id) => document.getElementById(id);

let watched = null; // {path, described, tail, stop}

const list = new StreamList({ box: at('list'), rows: at('rows'), counted: at('counted'), onChoose: go });
const log = new Log({ box: at('messages'), newest: at('newest'), onOffset: (one) => askFork(formatOffset(one.offset)) });
const rate = new Rate({ canvas: at('chart'), messages: at('message-rate'), bytes: at('byte-rate'), seen: at('seen') });

function go(path) {
  const fragment = `#${encodeURIComponent(path)}`;
  if (location.hash !== fragment) location.hash = fragment;
}

async function show(path, from = null) {
  watched?.stop.abort();
  watched = null;
  at('nothing').hidden = path !== '';
  at('stream').hidden = path === '';
  list.choose(path);
  document.title = path ? `${path} · Streams` : 'Streams';
  if (!path) return;
  const mine = { path, described: null, tail: null, stop: new AbortController() };
  watched = mine;
  at('path').textContent = path;
  at('pause').setAttribute('aria-pressed', 'false');
  log.pause(false);
  log.clear({ following: from?.offset !== '-1' });
  rate.reset();
  state('reading');
  try {
    await describe(mine);
  } catch (error) {
    return state('broken', error.message);
  }
  if (mine.described === null) return state('gone', 'There is no such stream.');
  return watch(path, {
    from: from ?? tailOf(mine.described),
    signal: mine.stop.signal,
    ready: () => log.ready(),
    onBatch: (entries, live, tail) => {
      mine.tail = tail;
      list.update({ ...mine.described, next_offset: furthest(mine) });
      log.push(entries);
      rate.add(entries, live);
      facts(mine);
    },
    onState: (name, detail) => {
      state(name, detail);
      if (name === 'closed') describe(mine).catch(() => undefined);
    },
  });
}

// Where the newest part begins: some messages back, or some bytes where there are no messages.
function tailOf(described) {
  if (isJson(described.content_type)) return { tail: TAIL_COUNT };
  return { offset: formatOffset(Math.max(0, Number(described.next_offset) - TAIL_BYTES)) };
}

async function describe(mine) {
  mine.described = await api.describe(mine.path, mine.stop.signal);
  if (mine.described === null || mine !== watched) return;
  list.update(mine.described);
  facts(mine);
}

// The tail, as far as it is known: what was read may be behind what the list says, or ahead of it.
function furthest({ tail, described }) {
  return tail && tail > described.next_offset ? tail : described.next_offset;
}

function facts(mine) {
  if (mine !== watched || !mine.described) return;
  const { described } = mine;
  const tail = furthest(mine);
  const said = [
    ['type', described.content_type], ['tail', tail], ['TTL', described.ttl_s && `${described.ttl_s} s`],
    ['expires', described.expires_at], ['forked from', described.forked_from], ['at', described.fork_offset],
  ];
  at('facts').replaceChildren(...said.filter(([, value]) => value).map(([name, value]) => {
    const pair = document.createElement('div'), term = document.createElement('dt'), told = document.createElement('dd');
    term.textContent = name;
    if (name === 'forked from') {
      const link = document.createElement('a');
      link.href = `#${encodeURIComponent(value)}`;
      link.textContent = value;
      told.append(link);
    } else told.textContent = value;
    pair.append(term, told);
    return pair;
  }));
}

function state(name, detail = '') {
  const shown = at('state');
  shown.className = `state ${name}`;
  shown.textContent = STATES[name];
  shown.title = detail;
  if (name === 'closed') log.note('The stream is closed: nothing follows.');
  if (name === 'gone') log.note(detail || 'The stream is gone.');
  for (const id of ['append', 'close']) at(id).disabled = name === 'closed' || name === 'gone';
  at('fork').disabled = name === 'gone';
}

function askAppend() {
  const { path, described } = watched;
  open({
    title: `Append to ${path}`,
    why: isJson(described.content_type) ? 'One JSON value is one message; an array is a message for each item.' : '',
    fields: [
      { name: 'body', label: described.content_type, kind: 'area' },
      { name: 'close', label: 'and close the stream, in the same write', kind: 'check' },
    ],
    action: 'Append',
    act: ({ body, close }) => api.append(path, described.content_type, body, close),
  });
}

function askClose() {
  const { path } = watched;
  open({
    title: `Close ${path}?`,
    why: 'Nobody can append to it afterwards. It cannot be opened again.',
    action: 'Close the stream',
    act: () => api.append(path, null, null, true),
  });
}

function askFork(offset) {
  const { path } = watched;
  open({
    title: `Fork ${path}`,
    why: 'The fork shares what lies before the offset and goes its own way from there.',
    fields: [
      { name: 'target', label: 'Path of the fork', value: `${path}-fork` },
      { name: 'offset', label: 'Offset', value: offset },
    ],
    action: 'Fork',
    act: async (given) => {
      await api.fork(path, given.target, given.offset);
      list.refresh();
      go(given.target);
    },
  });
}

function askCreate() {
  open({
    title: 'New stream',
    fields: [
      { name: 'path', label: 'Path', value: at('prefix').value },
      { name: 'type', label: 'Content type', kind: 'choice', choices: TYPES, value: TYPES[0] },
    ],
    action: 'Create',
    act: async ({ path, type }) => {
      await api.create(path, type);
      list.refresh();
      go(path);
    },
  });
}

function chosen() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return '';
  }
}

let searching = null;
at('prefix').addEventListener('input', () => {
  clearTimeout(searching);
  searching = setTimeout(() => list.search(at('prefix').value), SEARCH_MS);
});
at('refresh').addEventListener('click', () => list.refresh());
at('create').addEventListener('click', askCreate);
at('append').addEventListener('click', askAppend);
at('close').addEventListener('click', askClose);
at('fork').addEventListener('click', () => askFork(furthest(watched)));
at('from-start').addEventListener('click', () => show(chosen(), { offset: '-1' }));
at('from-tail').addEventListener('click', () => show(chosen()));
at('pause').addEventListener('click', (event) => {
  const paused = event.currentTarget.getAttribute('aria-pressed') !== 'true';
  event.currentTarget.setAttribute('aria-pressed', String(paused));
  log.pause(paused);
});
addEventListener('hashchange', () => show(chosen()));

list.search('');
show(chosen());
