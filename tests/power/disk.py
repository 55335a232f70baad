"""A disk that loses its power: which of the recorded writes are on it is decided by chance, within what syncs promise.

Owns: what a sync promises. Knows nothing of stores.

- A file's bytes are on the disk when it was synced after they were written, or were written through a descriptor that
  syncs. Of pages written since, each by itself may be there as it was after any of its writes, or not at all, or torn
  between sectors; so may the length.
- What became of names (made, renamed, removed) is on the disk when their directory was synced; of what came since, the
  earlier part may be, as on file systems with a journal, or any part.
- The call that was under way may be done, or half done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

    from tests.power.recording import Op

PAGE: Final = 4096
SECTOR: Final = 512
KEEPS: Final = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How likely it is that a page is kept which nobody has synced; one of these for a whole image."""


@dataclass
class File:
    """cached: as the system shows it. durable: what syncs have promised. versions: of each page not synced since."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    versions: dict[int, list[bytes]] = field(default_factory=dict)

    def write(self, at: int, data: bytes) -> None:
        if len(self.cached) < at + len(data):
            self.cached.extend(bytes(at + len(data) - len(self.cached)))
        self.cached[at : at + len(data)] = data
        for page in range(at // PAGE, (at + len(data) - 1) // PAGE + 1):
            self.versions.setdefault(page, []).append(self._page(page))

    def _page(self, page: int) -> bytes:
        return bytes(self.cached[page * PAGE : (page + 1) * PAGE])

    def resize(self, size: int) -> None:
        del self.cached[size:]
        self.cached.extend(bytes(size - len(self.cached)))

    def sync(self, pages: list[int] | None = None) -> None:
        """Make pages durable: all, or some and as much of the length as they need."""
        end = len(self.cached) if pages is None else min(len(self.cached), (max(pages) + 1) * PAGE)
        if pages is None:
            del self.durable[end:]
        self.durable.extend(bytes(max(0, end - len(self.durable))))
        for page in list(self.versions) if pages is None else pages:
            if self.versions.pop(page, None) is not None:
                self.durable[page * PAGE : (page + 1) * PAGE] = self._page(page)

    def left(self, chance: random.Random, keep: float) -> bytearray:
        """Return what is there after a power cut."""
        ends = [len(self.durable), len(self.cached)]
        end = chance.choice([*ends, chance.randrange(min(ends) // PAGE, max(ends) // PAGE + 1) * PAGE])
        end = max(end, min(ends))
        image = bytearray(self.durable[:end])
        image.extend(bytes(end - len(image)))
        for page, versions in self.versions.items():
            at = page * PAGE
            if at < end and chance.random() < keep:
                kept = chance.choice(versions) if chance.random() < 0.3 else versions[-1]
                if chance.random() < 0.2:
                    kept = _torn(chance, bytes(image[at : at + PAGE]), kept)
                kept = kept[: end - at]
                image[at : at + len(kept)] = kept
        return image


def _torn(chance: random.Random, old: bytes, new: bytes) -> bytes:
    old = old.ljust(len(new), b"\0")
    sectors = range(0, len(new), SECTOR)
    return b"".join((new if chance.random() < 0.5 else old)[at : at + SECTOR] for at in sectors)


class Disk:
    """Plays a recording.

    Args:
        root: the directory that was watched; it is there from the start.
        lies: kinds of calls that are taken for done and are not, to see that this is noticed: ``S``, ``D``, ``Y``.
    """

    def __init__(self, root: str, lies: str = "") -> None:
        self._root, self._lies = root, lies
        self._names: dict[str, File | None] = {}
        self._durable_names: dict[str, File | None] = {}
        self._pending: dict[str, list[tuple[str, str, File | None]]] = {}
        self._open: dict[int, File] = {}

    def play(self, op: Op) -> None:
        """Do what the call did."""
        match op.kind:
            case "O":
                self._opened(op)
            case "W" | "D":
                self._wrote(op, synced=op.kind == "D" and "D" not in self._lies)
            case "T":
                self._open[op.handle].resize(op.number)
            case "S" if "S" not in self._lies:
                self._open[op.handle].sync()
            case "Y" if "Y" not in self._lies:
                self._sync_names(op.content.decode())
            case "M":
                self._name(op.content.decode(), None)
            case "U":
                self._unname(op.content.decode())
            case "R":
                old, new = op.content.decode().split("\0")
                self._pending_in(new).append(("renamed", f"{old}\0{new}", None))
                self._names[new] = self._names.pop(old)
            case _:
                assert op.kind in self._lies

    def begin(self, op: Op) -> None:
        """Let a write be under way: what it writes may be there, whether it is to be synced or not."""
        if op.kind in {"W", "D"}:
            self._wrote(op, synced=False)

    def _opened(self, op: Op) -> None:
        path = op.content.decode()
        if op.number:
            self._name(path, File())
        found = self._names[path]
        assert found is not None
        self._open[op.handle] = found

    def _wrote(self, op: Op, *, synced: bool) -> None:
        file = self._open[op.handle]
        file.write(op.number, op.content)
        if synced:
            file.sync(list(range(op.number // PAGE, (op.number + len(op.content) - 1) // PAGE + 1)))

    def _pending_in(self, path: str) -> list[tuple[str, str, File | None]]:
        return self._pending.setdefault(str(PurePosixPath(path).parent), [])

    def _name(self, path: str, file: File | None) -> None:
        self._names[path] = file
        self._pending_in(path).append(("named", path, file))

    def _unname(self, path: str) -> None:
        del self._names[path]
        self._pending_in(path).append(("unnamed", path, None))

    def _sync_names(self, directory: str) -> None:
        for change in self._pending.pop(directory, []):
            _apply(self._durable_names, change)

    def image(self, target: Path, chance: random.Random) -> None:
        """Write what is there after a power cut now into an empty directory."""
        keep = chance.choice(KEEPS)
        names = dict(self._durable_names)
        in_order = chance.random() < 0.5
        for changes in self._pending.values():
            kept = changes[: chance.randint(0, len(changes))] if in_order else changes
            for change in kept:
                if in_order or chance.random() < 0.5:
                    _apply(names, change)
        for path in sorted(names):
            place = target / PurePosixPath(path).relative_to(self._root)
            if place.parent.is_dir():  # else the directory's own name is not there
                file = names[path]
                if file is None:
                    place.mkdir()
                else:
                    place.write_bytes(file.left(chance, keep))


def _apply(names: dict[str, File | None], change: tuple[str, str, File | None]) -> None:
    what, path, file = change
    if what == "named":
        names[path] = file
    elif what == "unnamed":
        names.pop(path, None)
    else:
        old, new = path.split("\0")
        if old in names:
            names[new] = names.pop(old)
