// Markdown to HTML, block by block, so that a growing text changes only its last block.
//
// All of the source is escaped before anything else is looked at: every tag in the result was written by this file, and
// every attribute is either a constant or an address that begins with http:, https: or mailto:.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const FENCE = /^ {0,3}(`{3,}|~{3,}(?!~))([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.+)$/s;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}&gt; ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+|$)(.*)$/;
const DIVIDER = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$/;
const DEPTH_MAX = 12;
// A row is filled up to the head's cells: without a bound, short rows below a wide head would cost the square.
const COLUMNS_MAX = 100;
// What opens and closes a span. Each is looked for once: a text that only opens would be read anew for each opening.
const SPANS = [
  ['strong', /\*\*(?=\S)/g, /(?<=\S)\*\*/g],
  ['strong', /(?<!\w)__(?=\S)/g, /(?<=\S)__(?!\w)/g],
  ['em', /\*(?=[^\s*])/g, /(?<=[^\s*])\*/g],
  ['em', /(?<!\w)_(?=\S)/g, /(?<=\S)_(?!\w)/g],
  ['del', /~~(?=\S)/g, /(?<=\S)~~/g],
];
const ENDS = ['&quot;', '&#39;', '&gt;', '&lt;', '.', ',', ';', ':', '!', '?', ')', ']'];

// Return the HTML of each block of a text.
export function blocks(source) {
  const safe = source.replace(/[\0\x01]/g, '').replace(/\r\n?/g, '\n').replace(/[&<>"']/g, (char) => ESCAPES[char]);
  return parse(safe.split('\n'), 0);
}

function parse(lines, depth) {
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const [html, next] = depth > DEPTH_MAX ? paragraph(lines, at, depth) : block(lines, at, depth);
    if (html) out.push(html);
    at = next;
  }
  return out;
}

// Read one block that begins at a line; return its HTML and the line behind it.
function block(lines, at, depth) {
  const line = lines[at];
  if (!line.trim()) return ['', at + 1];
  if (FENCE.test(line)) return fenced(lines, at);
  const heading = line.match(HEADING);
  if (heading) return [`<h${heading[1].length}>${inline(title(heading[2]))}</h${heading[1].length}>`, at + 1];
  if (RULE.test(line)) return ['<hr>', at + 1];
  if (QUOTE.test(line)) return quoted(lines, at, depth);
  if (ITEM.test(line)) return list(lines, at, depth);
  if (line.includes('|') && divides(lines[at + 1] ?? '')) return table(lines, at);
  return paragraph(lines, at, depth);
}

// A heading's text without the number signs that may close it.
function title(text) {
  let end = text.trimEnd().length;
  while (end > 0 && text[end - 1] === '#') end -= 1;
  return text.slice(0, Math.max(1, text.slice(0, end).trimEnd().length));
}

function divides(line) {
  return DIVIDER.test(line.trim()) && cells(line).length <= COLUMNS_MAX;
}

function fenced(lines, at) {
  const [, fence, language] = lines[at].match(FENCE);
  let end = at + 1;
  while (end < lines.length && !closes(lines[end], fence)) end += 1;
  const name = language.trim().split(/\s/)[0].replace(/[^\w+#.-]/g, '');
  const label = name ? `<span class="language">${name}</span>` : '';
  return [`<pre>${label}<code>${lines.slice(at + 1, end).join('\n')}\n</code></pre>`, end + 1];
}

function closes(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && [...text].every((char) => char === fence[0]);
}

function quoted(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ''));
  return [`<blockquote>${parse(inner, depth + 1).join('')}</blockquote>`, end];
}

function list(lines, at, depth) {
  const [, lead, marker] = lines[at].match(ITEM);
  const ordered = /\d/.test(marker), items = [];
  let end = at, loose = false;
  while (end < lines.length) {
    const item = lines[end].match(ITEM);
    if (!item || item[1].length < lead.length || /\d/.test(item[2]) !== ordered || RULE.test(lines[end])) break;
    const inner = [item[3]];
    end += 1;
    while (end < lines.length && belongs(lines, end, lead.length)) {
      inner.push(lines[end].slice(Math.min(indent(lines[end]), lead.length + item[2].length + 1)));
      end += 1;
    }
    loose ||= inner.some((line, n) => !line.trim() && n < inner.length - 1 && inner[n + 1].trim());
    items.push(inner);
  }
  const shown = items.map((inner) => `<li>${entry(parse(inner, depth + 1).join(''), loose)}</li>`).join('');
  const first = ordered ? Number.parseInt(marker, 10) : 1;
  const begin = first === 1 ? '' : ` start="${first}"`;
  return [ordered ? `<ol${begin}>${shown}</ol>` : `<ul>${shown}</ul>`, end];
}

// A line is an item's if it is further in than the marker, or an empty line before one that is, or goes on its text.
function belongs(lines, at, lead) {
  const line = lines[at];
  if (!line.trim()) return at + 1 < lines.length && indent(lines[at + 1]) > lead + 1 && lines[at + 1].trim() !== '';
  if (indent(line) > lead + 1) return true;
  return !ITEM.test(line) && !FENCE.test(line) && !HEADING.test(line) && !RULE.test(line) && !QUOTE.test(line)
    && lines[at - 1].trim() !== '';
}

function entry(html, loose) {
  const tight = loose ? html : html.replace(/<p>(.*?)<\/p>/gs, '$1');
  return tight.replace(/^(<p>)?\[([ xX])\]\s/, (_, p = '', mark) => `${p}${mark === ' ' ? '☐' : '☑'} `);
}

function indent(line) {
  return line.length - line.trimStart().length;
}

function table(lines, at) {
  const columns = cells(lines[at + 1]).map((cell) => {
    if (!cell.endsWith(':')) return '';
    return cell.startsWith(':') ? ' class="middle"' : ' class="right"';
  });
  const row = (line, tag) => `<tr>${columns.map((side, n) => `<${tag}${side}>${inline(cells(line)[n] ?? '')}</${tag}>`).join('')}</tr>`;
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|') && lines[end].trim()) end += 1;
  const body = lines.slice(at + 2, end).map((line) => row(line, 'td')).join('');
  return [`<div class="table"><table><thead>${row(lines[at], 'th')}</thead><tbody>${body}</tbody></table></div>`, end];
}

function cells(line) {
  const guarded = line.replace(/\\\|/g, '\0').trim().replace(/^\||\|$/g, '');
  return guarded.split('|').map((cell) => cell.trim().replace(/\0/g, '|'));
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && (depth > DEPTH_MAX || !interrupts(lines[end]))) end += 1;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join('\n');
  return [text.trim() ? `<p>${inline(text.trimEnd())}</p>` : '', end];
}

function interrupts(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

// Markup within a line. What is finished is put aside under a number, so that nothing looks into it again.
function inline(text, nested = false) {
  const aside = [];
  const keep = (html) => `\0${aside.push(html) - 1}\x01`;
  let left = text.replace(/(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)/gs, (_, ticks, code) => keep(`<code>${code.trim()}</code>`));
  left = left.replace(/\\([!-/:-@[-`{-~])(?!#?\w+;)/g, (_, char) => keep(char));
  if (!nested) {
    left = left.replace(/!?\[([^[\]]*)\]\(\s*(?!\s)([^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?!\s)&quot;(?:(?!&quot;).)*&quot;)?\s*\)/g,
      (whole, label, address) => (isSafe(address) ? keep(link(address, inline(restore(label, aside, true), true))) : whole));
    left = left.replace(/\b(https?:\/\/)([^\s\0\x01]+)/g, (_, scheme, rest) => {
      const end = addressEnd(rest);
      return keep(link(scheme + rest.slice(0, end), scheme + rest.slice(0, end))) + rest.slice(end);
    });
  }
  for (const one of SPANS) left = span(left, one);
  return restore(left.replace(/(?:(?<! ) {2,}|\\)\n/g, '<br>'), aside, false);
}

// Return where an address ends that is followed by punctuation; it is one character long at least.
function addressEnd(text) {
  let end = text.length;
  for (;;) {
    const last = ENDS.find((mark) => mark.length < end && text.endsWith(mark, end));
    if (last === undefined) return end;
    end -= last.length;
  }
}

function span(text, [tag, opens, closes]) {
  let out = '', at = 0;
  for (;;) {
    opens.lastIndex = at;
    const open = opens.exec(text);
    if (!open) return out + text.slice(at);
    const from = open.index + open[0].length;
    closes.lastIndex = from + 1;
    const close = closes.exec(text);
    if (!close) return out + text.slice(at);
    out += `${text.slice(at, open.index)}<${tag}>${text.slice(from, close.index)}</${tag}>`;
    at = close.index + close[0].length;
  }
}

// Put back what was put aside. A link's label is looked at again, so there it is put back as it was shown.
function restore(text, aside, plain) {
  return text.replace(/\0(\d+)\x01/g, (_, n) => (plain ? aside[n].replace(/<[^>]*>/g, '') : aside[n]));
}

function isSafe(address) {
  return /^(https?:\/\/|mailto:)/i.test(address);
}

function link(address, label) {
  return `<a href="${address}" target="_blank" rel="noopener noreferrer nofollow">${label || address}</a>`;
}
