"""What is half written tells whose it is, and goes when its owner is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.owners import (
    Owner,
    aside_path,
    folder_written_aside,
    owner_of,
    remove_abandoned,
    this_process,
)

LIVING = [sys.executable, "-c", "input()"]


def renamed(path: Path, owner: Owner) -> Path:
    """Return the name that another owner would have given."""
    me = this_process()
    tag = f"{me.machine}.{me.pid}.{me.started}."
    return path.with_name(path.name.replace(tag, f"{owner.machine}.{owner.pid}.{owner.started}."))


def test_a_name_tells_its_owner_and_is_nobody_elses(tmp_path: Path) -> None:
    paths = {aside_path(tmp_path / name) for name in ("a.json", ".a.json", "b-c.d") * 3}
    assert len(paths) == 9
    for path in paths:
        assert path.name.startswith(".")
        assert owner_of(path) == this_process()
    assert owner_of(tmp_path / ".aside-0123456789abcdef-0123") is None


@pytest.mark.parametrize("is_folder", [False, True])
def test_only_what_a_dead_process_of_this_machine_left_is_removed(
    tmp_path: Path, is_folder: bool
) -> None:
    with subprocess.Popen(LIVING, stdin=subprocess.PIPE) as process:
        living = replace(this_process(), pid=process.pid, started=0)
        assert not living.is_gone
        process.kill()
        process.wait()
    dead = living
    elsewhere = replace(dead, machine="0" * 12)
    reborn = replace(this_process(), started=this_process().started - 1)
    assert [o.is_gone for o in (dead, elsewhere, reborn)] == [True, False, True]
    owners = (this_process(), elsewhere, dead, reborn)
    names = [renamed(aside_path(tmp_path / "x"), owner) for owner in owners]
    bystanders = [tmp_path / ".x.123.aside", tmp_path / "x"]
    for path in (*names, *bystanders):
        if is_folder:
            (path / "inside").mkdir(parents=True)
        else:
            path.touch()
    remove_abandoned(tmp_path)
    assert set(tmp_path.iterdir()) == {*names[:2], *bystanders}


def test_a_process_that_nobody_waits_for_is_gone() -> None:
    """Killed in a container without an init it stays in the table, as a zombie."""
    with subprocess.Popen(LIVING, stdin=subprocess.PIPE) as process:
        owner = replace(this_process(), pid=process.pid, started=0)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert owner.is_gone


def fill(out: Path, text: str) -> None:
    with folder_written_aside(out) as aside:
        aside.mkdir()
        (aside / "one").write_text("1")
        assert not out.exists()
        (aside / "number").write_text(str(int(text)))


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(ValueError, match="half"):
        fill(out, "half")
    assert list(out.parent.iterdir()) == []
    fill(out, "2")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert {path.name: path.read_text() for path in out.iterdir()} == {"one": "1", "number": "2"}
