"""The chat page's markdown: what it shows, and that nothing gets through it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_S

if TYPE_CHECKING:
    from tests.agents.serving import AdapterProcess
    from tests.browser.cdp import Browser, Page

pytestmark = pytest.mark.slow

TEXTS = 3_000
TOKENS = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</code>", "</p>", '"', "'", "&", "&lt;", "&#106;"),
    *("[a](javascript:alert(1))", "[a](https://a.example/?b=c&d)", "[a](https://x' onclick='y)"),
    *("](", "![i](data:text/html,x)", "https://e.example/a_b_c", 'http://x" onmouseover="y', "mailto:a@b.c", "<", ">"),
    *('[a](https://x"y "t")', "\0001\1", "`", "``", "```\n", "~~~js\n"),
    *("**", "*", "__", "_", "~~", "\\", "\\`", "\n", "\n\n", "  \n", "    ", "\0"),
    *("# ", "> ", "- ", "1. ", "7) ", "- [x] ", "---\n", "|a|b|\n|-|:-:|\n|1|2|\n", "| ", "word", "ü", "😀", "\r\n"),
)  # fmt: skip
MANY = 300_000
UNITS = (
    *("> ", "- ", "[", "![", "*a ", "**a ", "***a ", "_a ", "__a ", "~~a ", "_a_", "*a* ", "`", "`a ``", "# ", "~"),
    *('[a](b "', "[a](", "http://", "http://a.", "http://a.>", "|-", "| a ", "\\", "a  ", "& ", '"', "\n- a", "\n> a"),
)
"""Each many times on end."""
RUNS = (
    *(
        ("# a", " ", "b"),
        ("# a", "#", "b"),
        ("```", " ", "`"),
        ("~~~", "~", "`"),
        ("|\n|-", " ", "x"),
        ("|\n", " ", "x"),
    ),
    *(("[a](", " ", "b"), ("a", " ", "b"), ("http://a", ".", "b"), ("- ", " ", "a"), ("``a ", "` ", "")),
    ("a|b\n", "-|", "\n" + "|\n" * 20_000),
)
"""Behind one thing, and before another."""
RENDERED = [
    ("a **b** *c* ~~d~~ `e*f*`", "<p>a <strong>b</strong> <em>c</em> <del>d</del> <code>e*f*</code></p>"),
    ("snake_case_name 2*3*4", "<p>snake_case_name 2<em>3</em>4</p>"),
    ("## Title ##", "<h2>Title</h2>"),
    ("# ##\n# a # #\n# b#  ", "<h1>#</h1><h1>a #</h1><h1>b</h1>"),
    ("**a *b** __c__ d__ ~~e", "<p><strong>a *b</strong> <strong>c</strong> d__ ~~e</p>"),
    ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("- a\n\n  b", "<ul><li><p>a</p><p>b</p></li></ul>"),
    ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
    ("```py\n<a>\n", '<pre><span class="language">py</span><code>&lt;a&gt;\n\n</code></pre>'),
    ("a\n\n---\nb", "<p>a</p><hr><p>b</p>"),
    ("[x](javascript:y)", "<p>[x](javascript:y)</p>"),
    ("1 < 2 && \"q\" 'r'", "<p>1 &lt; 2 &amp;&amp; \"q\" 'r'</p>"),
    ("\\*not\\*", "<p>*not*</p>"),
    ("- [ ] todo\n- [x] done", "<ul><li>☐ todo</li><li>☑ done</li></ul>"),
]
_RENDER = """import('/page/markdown.js').then(({ blocks }) => %s.map((text) => {
  const box = document.createElement('div');
  box.innerHTML = blocks(text).join('');
  return box;
}))"""
_COUNT = """import('/page/markdown.js').then(({ blocks }) =>
  %s.map(([before, unit, after]) => blocks(before + unit.repeat(%d) + after).length))"""
_STRANGE = """.then((boxes) => boxes.flatMap((box, n) => [...box.querySelectorAll('*')].flatMap((one) => {
  const known = /^(p|h[1-6]|hr|br|pre|code|span|blockquote|ul|ol|li|div|table|thead|tbody|tr|th|td|a|strong|em|del)$/;
  const wrong = known.test(one.localName) ? [] : [[n, one.localName]];
  for (const { name, value } of one.attributes) {
    const fine = name === 'href' ? /^(https?:\\/\\/|mailto:)/i.test(value)
      : name === 'class' ? /^(language|table|right|middle)$/.test(value)
      : name === 'start' ? /^\\d+$/.test(value)
      : one.localName === 'a' && (name === 'target' || name === 'rel');
    if (!fine) wrong.push([n, name, value]);
  }
  return wrong;
})))"""


async def a_page(browser: Browser, adapter: AdapterProcess) -> Page:
    page = await (await browser.profile()).open(adapter.url)
    await page.until("document.querySelector('#connection').textContent === 'Live'")
    return page


async def test_rendering(adapter: AdapterProcess, browser: Browser) -> None:
    page = await a_page(browser, adapter)
    script = _RENDER % json.dumps([text for text, _ in RENDERED])
    shown = await page.run(f"{script}.then((boxes) => boxes.map((box) => box.innerHTML))")
    assert shown == [html for _, html in RENDERED]
    link = 'see https://a.example/b_c_d). [t](https://b.example "w")'
    script = _RENDER % json.dumps([link])
    links = "[...boxes[0].querySelectorAll('a')].map((one) => [one.href, one.textContent, one.rel])"
    assert await page.run(f"{script}.then((boxes) => {links})") == [
        ["https://a.example/b_c_d", "https://a.example/b_c_d", "noopener noreferrer nofollow"],
        ["https://b.example/", "t", "noopener noreferrer nofollow"],
    ]


async def test_nothing_gets_through(adapter: AdapterProcess, browser: Browser) -> None:
    chance = random.Random(7)
    texts = ["".join(chance.choices(TOKENS, k=chance.randrange(1, 25))) for _ in range(TEXTS)]
    page = await a_page(browser, adapter)
    wrong = await page.run(_RENDER % json.dumps(texts) + _STRANGE)
    assert [(texts[n], *what) for n, *what in wrong] == []
    assert page.complaints == []


async def test_no_text_costs_the_square_of_its_length(adapter: AdapterProcess, browser: Browser) -> None:
    """A model may say anything, deep or broken: what is linear takes a second, and what is not, many minutes."""
    page = await a_page(browser, adapter)
    runs = [("", unit, "") for unit in UNITS] + [*RUNS]
    async with asyncio.timeout(HANG_S):
        counted = await page.run(_COUNT % (json.dumps(runs), MANY))
    assert all(counted)
    assert page.complaints == []
