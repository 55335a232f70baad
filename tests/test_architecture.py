"""The rooms say what they are for in one place and the same in another; decisions have one form."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = REPOSITORY / "durable_streams"
ROOM = re.compile(r"\| `([a-z_/]+/)` \| (.+?) \|")
DECISIONS = sorted((REPOSITORY / "docs" / "adr").glob("0*.md"))[1:]
"""All but the template."""
FLATS = {"agents"}
"""Rooms that tell of their own rooms themselves."""


def rooms() -> dict[str, str]:
    """Return the first paragraph of each package's docstring, as one line of Markdown."""
    found = {}
    for place in PACKAGE.rglob("__init__.py"):
        room = place.parent.relative_to(PACKAGE)
        if room.parts and (len(room.parts) == 1 or room.parts[0] not in FLATS):
            docstring = ast.get_docstring(ast.parse(place.read_text(encoding="utf-8"))) or ""
            sentence = " ".join(docstring.partition("\n\n")[0].split())
            found[f"{room.as_posix()}/"] = sentence.replace("``", "`")
    return found


def test_every_room_has_its_sentence() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")

    assert dict(ROOM.findall(page)) == rooms()


def test_every_module_named_stands() -> None:
    pages = [REPOSITORY / "docs" / "architecture.md", *DECISIONS]
    named = {name for page in pages for name in re.findall(r"`([a-z_/]+\.py)", page.read_text(encoding="utf-8"))}

    assert sorted(name for name in named if not (PACKAGE / name).is_file() and not (REPOSITORY / name).is_file()) == []


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_number_title_date_and_status(decision: Path) -> None:
    lines = decision.read_text(encoding="utf-8").splitlines()

    assert re.fullmatch(rf"# {decision.stem[:4]} — [^\W_].*[^.]", lines[0])
    assert re.fullmatch(r"Date: \d{4}-\d\d-\d\d · Status: (proposed|accepted|replaced by \[\d{4}\].*)(; .+)?", lines[2])


def test_links_between_decisions_lead_somewhere() -> None:
    links = {
        link for path in DECISIONS for link in re.findall(r"\]\((\d{4}-[^)]+)\)", path.read_text(encoding="utf-8"))
    }

    assert links <= {path.name for path in DECISIONS}
