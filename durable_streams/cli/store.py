"""``check``, ``backup`` and ``compact``: work on a data directory, without a server in between."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from durable_streams.cli.descriptors import printable, say
from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.options import as_json, option
from durable_streams.engine.base import EngineError

if TYPE_CHECKING:
    from durable_streams.engine.lmdb.report import CheckReport

_source = click.argument("source", metavar="DATA_DIR", envvar="DS_DATA_DIR", type=click.Path(path_type=Path))


@click.command("check")
@_source
@as_json
def check_command(source: Path, *, as_json: bool) -> int:
    """Check every invariant of the store in DATA_DIR (or DS_DATA_DIR), which no server may have open.

    Writes nothing. Exits with 1 if anything is wrong, and says what.
    """
    from durable_streams.engine.lmdb.check import check_data_dir  # noqa: PLC0415 --help need not load LMDB

    try:
        report = check_data_dir(source)
    except EngineError as refusal:
        raise Failure(str(refusal)) from refusal
    say(_report_json(source, report) if as_json else _report_text(source, report))
    return Status.DONE if report.sound else Status.FAILED


def _report_json(source: Path, report: CheckReport) -> str:
    problems = [{"where": problem.where, "what": problem.what} for problem in report.problems]
    return orjson.dumps(
        {"store": printable(source), "sound": report.sound, **asdict(report), "problems": problems}
    ).decode()


def _report_text(source: Path, report: CheckReport) -> str:
    lines = [f"{problem.where}: {problem.what}" for problem in report.problems]
    untold = report.problem_count - len(lines)
    if untold > 0:
        lines.append(f"... and {untold} more")
    found = (
        f"{report.stream_count} streams, {report.chunk_count} chunks, {report.byte_count} bytes, "
        f"{report.producer_count} producer rows, {report.dropped_count} dropped streams to collect, "
        f"{report.file_bytes} bytes on disk, room for {report.room_bytes} in them"
    )
    verdict = "sound" if report.sound else f"DAMAGED, {report.problem_count} problems"
    return "\n".join([*lines, f"{source}: {verdict} ({found})"])


@click.command("backup")
@_source
@click.argument("target", type=click.Path(path_type=Path))
@option("--compact", is_flag=True, help="Leave out free pages: a smaller copy for more processor time.")
@as_json
def backup_command(source: Path, target: Path, *, compact: bool, as_json: bool) -> None:
    """Copy the store in DATA_DIR to TARGET, a new or empty directory, while a server may be serving it.

    The copy is one moment's state and a complete data directory.
    """
    from durable_streams.engine.lmdb.backup import backup  # noqa: PLC0415 --help need not load LMDB

    try:
        backup(source, target, compact=compact)
    except EngineError as refusal:
        raise Failure(str(refusal)) from refusal
    size_bytes = sum(entry.stat().st_size for entry in target.iterdir())
    values = {"source": printable(source), "target": printable(target), "byte_count": size_bytes}
    say(orjson.dumps(values).decode() if as_json else f"copied {source} to {target} ({size_bytes} bytes)")


@click.command("compact")
@_source
@as_json
def compact_command(source: Path, *, as_json: bool) -> None:
    """Make the file of the store in DATA_DIR as small as what is in it; no server may have it open.

    Takes room for the new file beside the old one.
    """
    from durable_streams.engine.lmdb.compact import compact  # noqa: PLC0415 --help need not load LMDB

    try:
        done = compact(source)
    except EngineError as refusal:
        raise Failure(str(refusal)) from refusal
    values = {"store": printable(source), "before_bytes": done.before, "after_bytes": done.after}
    text = f"compacted {source}: {done.before} bytes before, {done.after} now"
    say(orjson.dumps(values).decode() if as_json else text)
