"""How long a data file must be, by what it says itself, read before anybody maps it.

Owns: the parts of LMDB's file format that say so: meta pages, and the tree of free pages. (Format of LMDB 0.9, as this
    machine writes it: numbers have its byte order and its word size.)
Must not know: databases, rows.
Invariant: nothing is mapped and nothing is trusted. Reading a map beyond the end of its file ends the process.

A sound file may be a little shorter than its last page: LMDB does not write pages that it took and gave back within
one transaction. Those are in the list of free pages; a page that is missing and not free was cut off.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAGE: Final = struct.Struct("@NHHHH")
"""Page number, padding, flags, end of the list of nodes, start of the nodes."""
_META: Final = struct.Struct("@IIPN")
"""Magic, version, address and size of the map; the two databases follow."""
_DATABASE: Final = struct.Struct("@IHHNNNNN")
"""Page size (of the first one), flags, depth, branch pages, leaf pages, overflow pages, entries, root."""
_META_END: Final = struct.Struct("@NN")
"""Last page, transaction."""
_NODE: Final = struct.Struct("@HHHH")
"""Two halves of a size, flags, size of the key. In a branch all but the last are the number of a page below."""
_NUMBER: Final = struct.Struct("@N")
_MAGIC: Final = 0xBEEFC0DE
_METAS_AT: Final = _PAGE.size
_LAST_AT: Final = _METAS_AT + _META.size + 2 * _DATABASE.size
_BRANCH, _LEAF, _LARGE_NODE = 0x01, 0x02, 0x01
_NO_PAGE: Final = (1 << 8 * _NUMBER.size) - 1
_UNWRITTEN_PAGES: Final = 1 << 17
"""More pages than this no transaction of LMDB has in hand."""


class Extent(NamedTuple):
    """How long a file is, and how long it must be for all pages in use to be in it. In bytes."""

    found: int
    wanted: int

    @property
    def is_cut(self) -> bool:
        """Whether pages in use are missing."""
        return self.found < self.wanted


class _Meta(NamedTuple):
    page_bytes: int
    free_root: int
    last_page: int
    transaction: int


class _UnreadableError(Exception):
    """A page is missing, or is not what the one above it says."""


def extent_of(data_file: Path) -> Extent:
    """Return the extent of a data file. One whose meta pages say nothing is left to LMDB, which refuses it.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(data_file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        meta = _newest_meta(descriptor)
        found = os.fstat(descriptor).st_size  # after the meta page: another process may be writing
        if meta is None:
            return Extent(found, 0)
        wanted = (meta.last_page + 1) * meta.page_bytes
        if found < wanted and _is_free(descriptor, meta, found // meta.page_bytes):
            wanted = found
        return Extent(found, wanted)
    finally:
        os.close(descriptor)


def _newest_meta(descriptor: int) -> _Meta | None:
    """Return the meta page that LMDB goes by."""
    first = _meta_at(descriptor, 0)
    second = None if first is None else _meta_at(descriptor, first.page_bytes)
    if first is None or second is None:
        return None
    return second if second.transaction > first.transaction else first


def _meta_at(descriptor: int, position: int) -> _Meta | None:
    raw = os.pread(descriptor, _LAST_AT + _META_END.size, position)
    if len(raw) < _LAST_AT + _META_END.size or _META.unpack_from(raw, _METAS_AT)[0] != _MAGIC:
        return None
    page_bytes, *_, free_root = _DATABASE.unpack_from(raw, _METAS_AT + _META.size)
    last_page, transaction = _META_END.unpack_from(raw, _LAST_AT)
    return _Meta(page_bytes, free_root, last_page, transaction)


def _is_free(descriptor: int, meta: _Meta, first_missing: int) -> bool:
    """Whether every page from there on is free."""
    missing = set(range(first_missing, meta.last_page + 1))
    if len(missing) > _UNWRITTEN_PAGES:
        return False
    try:
        for free in _free_lists(descriptor, meta):
            missing.difference_update(free)
    except (_UnreadableError, struct.error):
        return False
    return not missing


def _free_lists(descriptor: int, meta: _Meta) -> Iterator[tuple[int, ...]]:
    """Yield the page numbers of each row of the tree of free pages."""
    pages = [] if meta.free_root == _NO_PAGE else [meta.free_root]
    seen = set(pages)
    while pages:
        page = _read(descriptor, meta, pages.pop())
        for flags, node in _nodes(page):
            if flags & _BRANCH:
                below = _page_below(node)
                if below in seen:
                    raise _UnreadableError
                seen.add(below)
                pages.append(below)
            else:
                yield _free_list(descriptor, meta, node)


def _read(descriptor: int, meta: _Meta, number: int, *, size_bytes: int | None = None) -> bytes:
    size_bytes = size_bytes or meta.page_bytes
    raw = os.pread(descriptor, size_bytes, number * meta.page_bytes) if number <= meta.last_page else b""
    if len(raw) < size_bytes:
        raise _UnreadableError
    return raw


def _nodes(page: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the page's flags and the bytes from each of its nodes on."""
    _, _, flags, lower, _ = _PAGE.unpack_from(page)
    if not flags & (_BRANCH | _LEAF):
        raise _UnreadableError
    for at in range(_PAGE.size, lower, 2):
        (start,) = struct.unpack_from("@H", page, at)
        yield flags, page[start:]


def _page_below(node: bytes) -> int:
    low, high, top, _ = _NODE.unpack_from(node)
    return int(low | high << 16 | top << 32)


def _free_list(descriptor: int, meta: _Meta, node: bytes) -> tuple[int, ...]:
    low, high, flags, key_bytes = _NODE.unpack_from(node)
    size_bytes = low | high << 16
    stored = node[_NODE.size + key_bytes :]
    if flags & _LARGE_NODE:
        (number,) = _NUMBER.unpack_from(stored)
        stored = _read(descriptor, meta, number, size_bytes=_PAGE.size + size_bytes)[_PAGE.size :]
    count = size_bytes // _NUMBER.size
    length, *free = struct.unpack_from(f"@{count}N", stored)
    return tuple(free[:length])
