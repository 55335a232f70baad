"""The README does what it says: its curl lines run as they stand, and its numbers are those of the code."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from durable_streams.cli.program import program
from durable_streams.http.answers import EXTENSIONS
from durable_streams.protocol.create import FORK_DEPTH_MAX
from durable_streams.protocol.headers import PRODUCER_ID_MAX_BYTES, STREAM_SEQ_MAX_BYTES
from durable_streams.protocol.json_scan import DEPTH_MAX
from durable_streams.protocol.paths import PATH_MAX_BYTES
from durable_streams.streams.pages import TAIL_MESSAGES_MAX
from tests.conformance.suite import JS
from tests.conformance.test_conformance import SUITE_COUNT
from tests.patience import HANG_S
from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from types import ModuleType

    from tests.serving import ServerProcess

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ORIGIN = "http://127.0.0.1:4437"
MARK = "--- this command is done ---"


def console() -> list[tuple[str, str]]:
    """The commands of the console block, each with what the README says it prints."""
    (block,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    told = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (one.partition("\n") for one in told)]


def test_there_are_seven_lines_of_curl() -> None:
    assert sum(command.startswith("curl ") for command, _ in console()) == 7


def test_the_commands_print_what_the_readme_says(server: ServerProcess) -> None:
    """As they stand, but for the port: the one in the README may be taken."""
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _ in console())
    assert ORIGIN in script
    ended = subprocess.run(
        ["bash", "-c", script.replace(ORIGIN, server.url)], capture_output=True, text=True, timeout=HANG_S, check=True
    )
    printed = ended.stdout.split(f"{MARK}\n")[:-1]
    for (command, said), came in zip(console(), printed, strict=True):
        assert _lines(came) == _lines(said), command


def _lines(printed: str) -> list[str]:
    """Blank lines at the end are not shown; a body without a line end is shown as a line.

    The id of an event names the incarnation of the stream: each run has another.
    """
    return re.sub(r"^(id:\d{16}):[0-9a-f]{16}$", r"\1:-", printed.rstrip("\n"), flags=re.MULTILINE).split("\n")


def test_the_conformance_count_is_the_one_that_is_tested() -> None:
    package = json.loads((JS / "package.json").read_text(encoding="utf-8"))
    version = package["dependencies"]["@durable-streams/server-conformance-tests"]
    assert f"`@durable-streams/server-conformance-tests` {version}: **{SUITE_COUNT} of {SUITE_COUNT}**" in README


@pytest.mark.parametrize(
    "said",
    [
        f"A path has at most {PATH_MAX_BYTES} bytes",
        f"a producer id at most {PRODUCER_ID_MAX_BYTES} bytes",
        f"`Stream-Seq` at most {STREAM_SEQ_MAX_BYTES}",
        f"nested at most {DEPTH_MAX} deep",
        f"`?tail=` takes up to {TAIL_MESSAGES_MAX:,}",
        f"A chain of forks is at most {FORK_DEPTH_MAX} deep",
    ],
)
def test_limits_are_those_of_the_code(said: str) -> None:
    assert said in " ".join(README.split())


def test_every_extension_is_told_of() -> None:
    assert re.findall(r"^\| `([a-z][a-z-]*)` \| ", README, re.MULTILINE) == EXTENSIONS.split(", ")


def test_every_command_is_named() -> None:
    assert [name for name in program.commands if f"`{name}`" not in README] == []


def options_table() -> ModuleType:
    path = REPOSITORY / "scripts" / "options_table.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_up_to_date() -> None:
    table = options_table()
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), "run scripts/options_table.py"


def test_chosen_options_are_as_they_are() -> None:
    (chosen,) = re.findall(r"<!-- chosen options -->\n.*?\n.*?\n(.*?)<!-- end -->", README, re.DOTALL)
    every = {f"| {option} | {default} | {what} |" for option, _, default, what in options_table().rows()}
    assert chosen.splitlines()
    assert set(chosen.splitlines()) <= every


def test_links_within_the_repository_lead_somewhere() -> None:
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
