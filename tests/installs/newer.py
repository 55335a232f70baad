"""Made-up releases: every package that was downloaded, published anew with a version far ahead."""

from __future__ import annotations

import email
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

VERSION = "99999"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_KEPT = ("Metadata-Version", "Name", "Provides-Extra", "Requires-Dist")


def metadata(wheel: Path) -> Message:
    """Return what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        return email.message_from_bytes(archive.read(name))


def publish_anew(wheel: Path, directory: Path) -> None:
    """Write an empty wheel with the name, extras and dependencies of another."""
    was = metadata(wheel)
    name = wheel.name.partition("-")[0]
    said = "".join(f"{field}: {value}\n" for field, value in was.items() if field in _KEPT)
    with zipfile.ZipFile(directory / f"{name}-{VERSION}-py3-none-any.whl", "w") as archive:
        info = f"{name}-{VERSION}.dist-info"
        archive.writestr(f"{info}/METADATA", f"{said}Version: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", WHEEL)
        archive.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
