// The chat: which session is open, and what its buttons do. The address's fragment is the session's id.

import * as adapter from './adapter.js';
import { Follower } from './follow.js';
import { deliver } from './outbox.js';
import { Presence, drawPeople, mark, me, randomId } from './people.js';
import { Session } from './session.js';
import { Sessions, titleOf } from './sessions.js';
import { MessagesView, made, set } from './view.js';

const REST_AFTER_MS = 60_000, LOST_AFTER_MS = 20_000, NEAR_PX = 80;
const SESSION_ID = /^[A-Za-z0-9_~-][A-Za-z0-9_.~-]{0,127}$/;
const at = (id) => document.getElementById(id);

let service = null, follower = null, session = null, fault = null, line = { state: 'connecting' };
let stopping = null, drawing = null, sticking = true;

const view = new MessagesView(at('messages'), { onAgain: askAgain, onRetry: sendAgain, onAnswer: answer });
const sessions = new Sessions(at('sessions'), () => titleOf(sessions, session?.sessionId, at('title')));
const presence = new Presence((newFault) => {
  fault = newFault;
  drawConnection();
});

// ---------------------------------------------------------------- sessions

function open(sessionId) {
  session?.stop();
  view.clear();
  sticking = true;
  const opened = new Session(sessionId ?? randomId(), follower, { changed: soon });
  session = opened;
  sessions.choose(sessionId);
  titleOf(sessions, opened.sessionId, at('title'));
  list(false);
  if (sessionId) join(opened);
  else presence.enter(null);
  at('prompt').focus();
  soon();
}

// Read a session and be present in it; being present creates one that is not there yet.
function join(opened) {
  opened.start(() => presence.tell());
  presence.enter(opened.sessionId);
}

// A new chat gets its address when there is something to share.
function settle() {
  const opened = session;
  if (location.hash.slice(1) !== opened.sessionId) history.pushState(null, '', `#${opened.sessionId}`);
  if (!opened.started) presence.enter(opened.sessionId).finally(() => session === opened && join(opened));
  sessions.choose(opened.sessionId);
}

function route() {
  if (!service) return;
  const sessionId = location.hash.slice(1); // ids need no escapes
  if (sessionId && sessionId === session?.sessionId) return;
  open(SESSION_ID.test(sessionId) ? sessionId : null);
}

// ---------------------------------------------------------------- drawing

function soon() {
  drawing ??= requestAnimationFrame(draw);
}

function draw() {
  drawing = null;
  const placed = session.shown(), active = session.active;
  view.draw(placed, { me: me.name, free: !active });
  at('hello').hidden = placed.length > 0 || (session.started && !session.upToDate);
  drawButtons(active);
  const next = drawPeople({ box: at('people'), typing: at('typing') }, session.presence, { aheadMs: service.aheadMs, tab: presence.id });
  presence.heard(session.sessionId, session.presence, service.aheadMs);
  clearTimeout(draw.expiry);
  if (next !== null) draw.expiry = setTimeout(soon, Math.max(next - Date.now(), 500));
  if (sticking) at('scroll').scrollTop = at('scroll').scrollHeight;
  at('latest').hidden = sticking;
  lookForLost(active);
}

function drawButtons(active) {
  const mayAsk = !active || service.onBusy !== 'reject';
  at('send').disabled = !at('prompt').value.trim() || !mayAsk;
  at('send').hidden = Boolean(active) && !mayAsk;
  at('stop').hidden = !active;
  at('stop').disabled = stopping !== null && stopping === active?.id;
  set(at('stop'), at('stop').disabled ? 'Stopping…' : 'Stop');
}

// If nothing has been heard of an answer for long, have the service look whether it is lost.
function lookForLost(active) {
  clearTimeout(lookForLost.timer);
  if (!active) return;
  lookForLost.timer = setTimeout(() => {
    adapter.look(session.sessionId).catch(() => undefined);
    soon();
  }, LOST_AFTER_MS);
}

function drawConnection() {
  const { state } = line;
  const said = {
    connecting: 'Connecting…', live: 'Live', resting: 'Resting', waiting: 'Reconnecting…', offline: 'Offline',
  };
  const shown = state === 'live' && fault ? 'waiting' : state;
  at('connection').className = `connection ${shown}`;
  set(at('connection'), said[shown]);
  at('connection').title = fault && state !== 'offline' ? fault.message : '';
}

let toasting = null;
function toast(text) {
  clearTimeout(toasting);
  set(at('toast'), text);
  at('toast').hidden = false;
  toasting = setTimeout(() => { at('toast').hidden = true; }, 4_000);
}

// ---------------------------------------------------------------- acting

function send(text) {
  const message = { id: randomId(), role: 'user', parts: [{ type: 'text', text }] };
  sticking = true;
  settle();
  presence.pressed(false);
  dispatch(message);
}

function dispatch(message) {
  const mine = session;
  deliver(mine, message, {
    by: me.name,
    changed: soon,
    busy(text) {
      toast('Somebody else was faster: an answer is being written. Your message is back in the box.');
      if (mine === session && !at('prompt').value) compose(text);
    },
  });
}

function sendAgain(id) {
  const { message } = session.pending.get(id);
  session.pending.delete(id);
  dispatch(message);
}

function askAgain(id) {
  adapter.again(session.sessionId, id, me.name).catch((refused) => toast(refused.message));
}

function answer(gid, given) {
  adapter.answer(session.sessionId, gid, { ...given, by: me.name }).catch((refused) => toast(refused.message));
}

async function stop() {
  const { active, sessionId } = session;
  if (!active) return;
  stopping = active.id;
  soon();
  try {
    await adapter.stop(sessionId, active.id, me.name);
  } catch (refused) {
    stopping = null;
    toast(`Not stopped. ${refused.message}`);
  }
  soon();
}

async function share() {
  settle();
  try {
    await navigator.clipboard.writeText(location.href);
    toast('The link is copied. Whoever opens it is in this chat.');
  } catch {
    await ask('Link to this chat', location.href); // pages without https may not write to the clipboard
  }
}

async function rename() {
  const name = (await ask('Your name', me.name))?.trim().slice(0, 40);
  if (!name) return;
  me.name = name;
  drawMe();
  presence.tell();
  soon();
}

function ask(label, value) {
  const dialog = at('asking'), field = dialog.querySelector('input');
  dialog.querySelector('label span').textContent = label;
  field.value = value;
  dialog.returnValue = 'cancel';
  dialog.showModal();
  field.select();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'done' ? field.value : null), { once: true });
  });
}

// Show the list of chats, or put it away, where there is no room for it beside the chat.
function list(isShown) {
  document.body.classList.toggle('listing', isShown);
  at('menu').setAttribute('aria-expanded', String(isShown));
  set(at('menu'), isShown ? '✕' : '☰');
}

function drawMe() {
  at('me').replaceChildren(mark(me.id, { name: me.name }), made('span', '', me.name));
}

function compose(text) {
  at('prompt').value = text;
  at('prompt').dispatchEvent(new Event('input'));
}

// ---------------------------------------------------------------- listening

at('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = at('prompt').value.trim();
  if (!text || at('send').disabled) return;
  compose('');
  send(text);
});
at('prompt').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at('composer').requestSubmit();
  }
});
at('prompt').addEventListener('input', (event) => {
  const field = event.target;
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + 2}px`;
  if (session?.started) presence.pressed(field.value !== '');
  if (session) drawButtons(session.active);
});
at('scroll').addEventListener('scroll', () => {
  const box = at('scroll');
  sticking = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
  at('latest').hidden = sticking;
}, { passive: true });
at('latest').addEventListener('click', () => {
  sticking = true;
  soon();
});
at('stop').addEventListener('click', stop);
at('share').addEventListener('click', share);
at('me').addEventListener('click', rename);
at('menu').addEventListener('click', (event) => {
  event.stopPropagation();
  list(!document.body.classList.contains('listing'));
});
document.querySelector('main').addEventListener('click', () => list(false));
addEventListener('keydown', (event) => event.key === 'Escape' && list(false));
at('new').addEventListener('click', () => {
  history.pushState(null, '', location.pathname + location.search);
  route();
});
addEventListener('hashchange', route);
addEventListener('popstate', route);
document.addEventListener('visibilitychange', () => {
  clearTimeout(resting);
  if (document.visibilityState === 'visible') follower?.wake();
  else resting = setTimeout(() => follower?.rest(), REST_AFTER_MS);
});
let resting = null;

// ---------------------------------------------------------------- starting

// The streams server as this browser reaches it: on the same machine as the service, if its address is only that
// machine's own name for itself.
function rootFor(address) {
  const url = new URL(address);
  const isLoopback = /^(localhost|127\.|0\.0\.0\.0|\[::1?\])/.test(url.hostname);
  if (isLoopback) url.hostname = location.hostname;
  return url.href.replace(/\/$/, '');
}

async function begin() {
  for (;;) {
    try {
      service = await adapter.config();
      break;
    } catch (failed) {
      fault = failed;
      drawConnection();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
  fault = null;
  set(at('model'), service.model ?? '');
  follower = new Follower(rootFor(service.streamsUrl), (state) => {
    const back = state === 'live' && line.state !== 'live';
    line = { state };
    drawConnection();
    if (back && fault) presence.tell();
  });
  drawMe();
  route();
  sessions.start(follower.root, follower);
}

begin();
