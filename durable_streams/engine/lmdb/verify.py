"""Look whether the rows of a closed data file match their checksums: of a copy that was just made.

Owns: walking all sealed rows of a file. Must not know: what a row means; ``check`` does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from durable_streams.engine.lmdb.layout import SEALED, Databases, open_databases
from durable_streams.engine.lmdb.sums import RowDamagedError, is_sound

if TYPE_CHECKING:
    from pathlib import Path


class Damage(NamedTuple):
    """Rows that are not what was stored: how many, and what the first of them is."""

    row_count: int
    first: RowDamagedError


def find_damage(data_file: Path) -> Damage | None:
    """Read all of a data file that nobody writes to; ``None`` if all of it is sound.

    Raises:
        lmdb.Error: LMDB cannot read it.
    """
    count, first = 0, None
    env = lmdb.open(
        os.fsencode(data_file),
        subdir=False,
        map_size=0,
        max_dbs=len(Databases._fields),
        readonly=True,
        lock=False,
        create=False,
        lib_version=0,
    )
    with env:
        databases = open_databases(env)
        with env.begin(buffers=True) as txn:
            for name in sorted(SEALED):
                for key, sealed in txn.cursor(getattr(databases, name)):
                    if not is_sound(key, sealed):
                        count += 1
                        first = first or RowDamagedError(name, key)
    return None if first is None else Damage(count, first)
