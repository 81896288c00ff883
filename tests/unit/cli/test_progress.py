"""How far a command is: bars on a terminal, lines now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spectrum.cli import app
from spectrum.cli.options import global_first
from spectrum.cli.progress import PlainLines

SIMULATE = ("--dataset", "ds000052", "--subjects", "1", "--matrix", "8", "--cpus", "1")
MAIN = "from spectrum.cli import main; main()"
COLOUR = re.compile(rb"\x1b\[[\d;]*(?:3[0-9]|9[0-7])")
"""Sequences that set the colour of what follows (SGR 30 to 39 and 90 to 97)."""


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_said_now_and_then_and_the_last_one_in_the_end() -> None:
    clock, said = Clock(), []
    lines = PlainLines(said.append, every_s=30.0, clock=clock)
    for second in range(95):
        clock.now = float(second)
        lines.tell(f"{second} of 94")
    assert said == ["30 of 94, 0:30", "60 of 94, 1:00", "90 of 94, 1:30"]
    lines.end()
    assert said[3:] == ["94 of 94, 1:34"]
    lines.end()
    assert len(said) == 4


def test_what_is_done_sooner_leaves_no_line() -> None:
    clock, said = Clock(), []
    lines = PlainLines(said.append, every_s=30.0, clock=clock)
    for clock.now in (1.0, 29.0):
        lines.tell("done")
    lines.end()
    assert said == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["search", "a", "--quiet"], ["--quiet", "search", "a"]),
        (["-q", "search", "a"], ["-q", "search", "a"]),
        (
            ["study", "list", "--log-level", "info", "x"],
            ["--log-level", "info", "study", "list", "x"],
        ),
        (["demo", "--log-level=debug"], ["--log-level=debug", "demo"]),
        (["demo", "--log-level"], ["--log-level", "demo"]),
        (["inspect", "--", "--quiet"], ["inspect", "--", "--quiet"]),
    ],
)
def test_what_every_command_takes_may_stand_anywhere(
    given: list[str], expected: list[str]
) -> None:
    assert global_first(given) == expected


@pytest.mark.parametrize("command", [(), ("search",), ("study", "list"), ("shards", "prune")])
def test_every_help_names_the_options_that_every_command_takes(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    told = " ".join(done.output.split())
    assert "Every command takes --quiet (-q) and --log-level LEVEL" in told
    assert "NO_COLOR" in told


def test_an_unknown_level_is_refused_with_those_that_there_are() -> None:
    done = CliRunner().invoke(app, ["config", "show", "--log-level", "loud"])
    assert done.exit_code == 2
    assert "debug" in done.output


def simulate(
    out: Path, *options: str, stderr: int, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "simulate", str(out), *SIMULATE, *options],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
    )


def on_a_terminal(out: Path, *options: str, **environment: str) -> tuple[bytes, bytes]:
    """Return what a simulation writes to stdout, and to a terminal as its stderr."""
    ours, theirs = pty.openpty()
    process = simulate(out, *options, stderr=theirs, environment=environment)
    os.close(theirs)
    seen = io.BytesIO()
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed.
            break
        if not part:
            break
        seen.write(part)
    os.close(ours)
    assert process.stdout is not None
    told = process.stdout.read()
    assert process.wait() == 0
    return told, seen.getvalue()


def test_a_terminal_gets_a_bar_in_colour_and_without_with_no_color(tmp_path: Path) -> None:
    told, seen = on_a_terminal(tmp_path / "one")
    assert told.decode().split() == [str(tmp_path / "one" / "ds000052")]
    assert b"Simulating" in seen
    assert b"runs" in seen
    assert COLOUR.search(seen)
    _, plain = on_a_terminal(tmp_path / "two", NO_COLOR="1")
    assert b"Simulating" in plain
    assert not COLOUR.search(plain)


def test_a_quiet_command_writes_nothing_but_its_result(tmp_path: Path) -> None:
    told, seen = on_a_terminal(tmp_path / "one", "--quiet")
    assert told.decode().split() == [str(tmp_path / "one" / "ds000052")]
    assert seen == b""


def test_a_pipe_gets_no_bar(tmp_path: Path) -> None:
    told, seen = simulate(tmp_path / "one", stderr=subprocess.PIPE).communicate()
    assert told.decode().split() == [str(tmp_path / "one" / "ds000052")]
    assert seen == b""
