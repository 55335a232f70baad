"""``/_ui``: a page to look into the store with: which streams there are, and what is happening in one.

Owns: the page's files and their headers. Must not know: streams; the page asks for them over HTTP as any client does.
Invariant: nothing a stream holds can become markup or script: the page has no inline script, and no other may run.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from durable_streams.http.errors import problem
from durable_streams.http.messages import Answer

if TYPE_CHECKING:
    from durable_streams.http.messages import Fields, Request

PREFIX: Final = "/_ui"
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX: Final = "index.html"
_SECURITY: Final = (
    ("Content-Security-Policy", CONTENT_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cache-Control", "no-cache"),
)


class _File(NamedTuple):
    """One file, and the tag by which a browser knows that its copy is still good."""

    body: bytes
    content_type: str
    tag: str


def handles(path: str) -> bool:
    """Whether a request's path is the page's or one of its files'."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def route(request: Request, root: str) -> Answer:
    """Answer a request below ``/_ui``: the page itself, one of its files, or 404.

    Args:
        request: GET or HEAD; others get 405.
        root: URL path of the stream root, which the page is told.
    """
    if request.method not in {"GET", "HEAD"}:
        allowed = "GET, HEAD, OPTIONS"
        return problem(405, "method-not-allowed", f"allowed: {allowed}", extra=(("Allow", allowed),))
    name = request.path[len(PREFIX) :].lstrip("/")
    if request.path != PREFIX and not name:
        return Answer(308, (("Location", f"..{PREFIX}"),))
    file = _files(root).get(name or _INDEX)
    if file is None:
        return problem(404, "not-found", "the inspector has no such file")
    fields: Fields = (("Content-Type", file.content_type), ("ETag", file.tag), *_SECURITY)
    if request.headers.get("If-None-Match") == file.tag:
        return Answer(304, fields)
    return Answer(200, fields, file.body)


@lru_cache(maxsize=1)
def _files(root: str) -> dict[str, _File]:
    """Read the page's files, once."""
    files: dict[str, _File] = {}
    for entry in resources.files(__package__).joinpath("page").iterdir():
        body = entry.read_bytes()
        if entry.name == _INDEX:
            body = body.replace(b"{{root}}", escape(root.rstrip("/")).encode())
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        files[entry.name] = _File(body, _TYPES[entry.name.rpartition(".")[2]], tag)
    return files
