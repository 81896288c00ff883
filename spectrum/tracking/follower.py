"""A process of its own that makes Aim show a study while it runs, and may be stuck or die.

It reads the study's folder, which is the spool: nothing waits for it, and what it did not come to
is written by the next one. It ends when its standard input does, which is when the search closes
it, or dies; or when Aim fails; or by itself where Aim hangs. Run as
``python -m spectrum.tracking.follower STUDY REPO``.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spectrum.search.view import view_study
from spectrum.tracking.run_map import FOLDER, pulse_file
from spectrum.tracking.values import plain

__all__ = ["FAILED", "Pulse", "follow", "locked"]

LOOK_EVERY_S: Final = 1.0
"""Seconds between two looks at the folder."""

MAX_SHARE: Final = 0.25
"""Part of the time that looking and writing may take; a study of many trials is looked at less."""

STALL_S: Final = 60.0
"""Seconds without anything written after which Aim is taken for stuck."""

BEGIN_S: Final = 180.0
"""Seconds that importing and opening Aim, or another follower's end, may take."""

SIGN_EVERY_S: Final = 0.5
"""Seconds between two signs of life; a beat comes with each thing written."""

FAILED: Final = 75
"""Exit status of a follower that Aim failed."""

NICENESS: Final = 5
"""Below the trials, which it must cost nothing."""

ERRORS: Final = "errors.log"


class Pulse:
    """Ends the process where nothing has been written for too long.

    Parameters
    ----------
    on_stall : called then, from a thread of its own; what it leaves, the kernel takes
    sign : file that is touched while something is written, for whoever waits for the end
    """

    def __init__(self, on_stall: Callable[[], None], *, sign: Path) -> None:
        sign.parent.mkdir(parents=True, exist_ok=True)
        self._sign, self._sign_at = sign, 0.0
        self._on_stall = on_stall
        self.beat(BEGIN_S)
        threading.Thread(target=self._watch, daemon=True).start()

    def beat(self, allowed_s: float = STALL_S) -> None:
        """Note that something was written; the next thing may take so long."""
        now = time.monotonic()
        self._deadline = now + allowed_s
        if now >= self._sign_at:
            self._sign.touch()
            self._sign_at = now + SIGN_EVERY_S

    def _watch(self) -> None:
        while time.monotonic() < self._deadline:
            time.sleep(0.5)
        self._on_stall()


def follow(study: Path, repo: str, *, has_ended: Callable[[float], bool], pulse: Pulse) -> None:
    """Bring Aim to what a study's folder says, again and again until the study has ended.

    Parameters
    ----------
    study : folder
    repo : folder of an Aim repository, or ``aim://HOST:PORT``
    has_ended : waits up to so many seconds; returns whether the study has ended by then
    pulse : told of each thing written
    """
    from spectrum.tracking.study_run import write_study_run
    from spectrum.tracking.writer import AimWriter

    with locked(study):
        writer = AimWriter(study, repo=repo, on_step=pulse.beat)
        seen: Mapping[Path, Any] = {}
        is_over, pause_s = has_ended(0.0), 0.0
        while not is_over:
            begin, signs = time.monotonic(), _signs(study)
            if signs != seen:
                pulse.beat()
                writer.write_trials(view_study(study), live=True)
                seen = signs
            pause_s = max(LOOK_EVERY_S, (time.monotonic() - begin) * (1 / MAX_SHARE - 1))
            pulse.beat(pause_s + STALL_S)
            is_over = has_ended(pause_s)
        pulse.beat()
        view = view_study(study)
        writer.write_trials(view)
        # Importance over many trials writes nothing for a while.
        pulse.beat(BEGIN_S)
        write_study_run(writer, view)


@contextmanager
def locked(study: Path) -> Iterator[None]:
    """Hold the writing of a study's runs; wait while another process has it."""
    folder = study / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _signs(study: Path) -> dict[Path, tuple[int, int]]:
    """Return what changes whenever the study tells something new."""
    named = [study / name for name in ("trials.jsonl", "selection.json", "front.json")]
    told = [*named, *study.glob("trials/*/records.jsonl"), *study.glob(f"{FOLDER}/started/*")]
    found = {}
    for path in told:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found[path] = (stat.st_size, stat.st_mtime_ns)
    return found


def _stdin_ends(wait_s: float) -> bool:
    """Wait for the end of standard input; return whether it came."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1024)


def note_error(study: Path, error: str, where: str = "") -> None:
    """Write down what failed, where the study's errors of Aim are kept."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": now, "error": plain(error), "at": where}
    # A study that was removed, or a full disk, must not keep the process from ending.
    with suppress(OSError), (study / FOLDER / ERRORS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _give_up(study: Path) -> None:
    note_error(study, f"Aim did not answer for {STALL_S:.0f} s or more.")
    os._exit(FAILED)


def main() -> None:
    """Follow the study of the command line."""
    study, repo = Path(sys.argv[1]), sys.argv[2]
    os.nice(NICENESS)
    pulse = Pulse(lambda: _give_up(study), sign=pulse_file(study))
    try:
        follow(study, repo, has_ended=_stdin_ends, pulse=pulse)
    except Exception as err:
        last = traceback.extract_tb(err.__traceback__)[-1]
        note_error(
            study, f"{type(err).__name__}: {err}", f"{Path(last.filename).name}:{last.lineno}"
        )
        os._exit(FAILED)
    # Nothing is left to write, and what Aim does at the end of a process may hang.
    os._exit(0)


if __name__ == "__main__":
    main()
