// What the bytes of a page amount to: messages with the offset of each, and text to show for them.

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, OPENING = new Set([0x5b, 0x7b]), CLOSING = new Set([0x5d, 0x7d]);
const HEX_BYTES = 4096;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g;

export const isJson = (type) => /^application\/json\s*(;|$)/i.test(type);
export const isText = (type) => /^text\//i.test(type);

export function formatOffset(position) {
  return String(position).padStart(16, '0');
}

// Return [{offset, end, bytes, text}] for a page that ends at `end`. Positions are counted back from there: a JSON
// array is a bracket, the stored messages with a comma after each, the last one left out, and a bracket.
export function split(bytes, end, type) {
  if (!isJson(type)) return bytes.length ? [entry(end - bytes.length, end, bytes, type)] : [];
  const start = end - (bytes.length - 1);
  return spans(bytes).map(([from, to]) => entry(start + from - 1, start + to, bytes.subarray(from, to), type));
}

// Return [from, to) of each item of a JSON array, by its bytes.
function spans(bytes) {
  const found = [];
  let depth = 0, quoted = false, from = 1;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === BACKSLASH) at += 1;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (OPENING.has(byte)) depth += 1;
    else if (CLOSING.has(byte)) depth -= 1;
    else if (byte === COMMA && depth === 1) {
      found.push([from, at]);
      from = at + 1;
    }
  }
  if (bytes.length > 2) found.push([from, bytes.length - 1]);
  return found;
}

function entry(offset, end, bytes, type) {
  return { offset, end, size: bytes.length, bytes, type };
}

export function textOf({ bytes, type }) {
  if (isJson(type)) return new TextDecoder().decode(bytes).trim();
  if (isText(type)) return new TextDecoder().decode(bytes);
  return hex(bytes);
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, HEX_BYTES); at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(48);
    lines.push(`${digits} ${row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '·')).join('')}`);
  }
  if (bytes.length > HEX_BYTES) lines.push(`… ${bytes.length - HEX_BYTES} more bytes`);
  return lines.join('\n');
}

// Indent JSON without reading it: numbers and doubled keys stay as they were written.
export function indented(text) {
  let depth = 0, out = '', quoted = false;
  const line = () => `\n${'  '.repeat(depth)}`;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quoted) {
      out += char;
      if (char === '\\') out += text[at += 1] ?? '';
      else if (char === '"') quoted = false;
    } else if (char === '"') { quoted = true; out += char; }
    else if (char === '{' || char === '[') {
      const next = text.slice(at + 1).match(/^\s*([\]}])/);
      if (next) { out += char + next[1]; at += next[0].length; } else { depth += 1; out += char + line(); }
    } else if (char === '}' || char === ']') { depth -= 1; out += line() + char; }
    else if (char === ',') out += char + line();
    else if (char === ':') out += ': ';
    else if (!/\s/.test(char)) out += char;
  }
  return out;
}

// Fill an element with JSON text, its tokens told apart; never as markup.
export function paint(element, text) {
  element.textContent = '';
  let last = 0;
  for (const match of text.matchAll(TOKEN)) {
    element.append(text.slice(last, match.index));
    const span = document.createElement('span');
    span.className = match[1] ? (match[2] ? 'key' : 'string') : /^[tfn]/.test(match[0]) ? 'word' : 'number';
    span.textContent = match[0];
    element.append(span);
    last = match.index + match[0].length;
  }
  element.append(text.slice(last));
}
