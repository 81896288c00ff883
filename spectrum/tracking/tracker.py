"""Follows a study in Aim without ever waiting for Aim, which may be slow, stuck or dead.

All that the driver's calls do is to keep a process running (``follower``) that reads the study's
folder. Where it dies it is begun again, later each time; what Aim missed then is written by the
next one, or at the close, or by ``show_study`` at any time later.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.errors import ConfigError, SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.tracker import TrialLine
from spectrum.search.view import view_study
from spectrum.tracking.run_map import FOLDER, RunMap, num_missing, pulse_file, started_file
from spectrum.tracking.values import plain

__all__ = [
    "AimTracker",
    "Shown",
    "repo_of_study",
    "show_behind",
    "show_study",
    "status_of",
    "told_repo",
]

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 120.0
"""Pause before a follower that died is begun again; it doubles up to the longest."""

CLOSE_S: Final = 60.0
"""Seconds that a close waits for a follower that writes nothing."""

LOOK_S: Final = 0.5
"""Longest pause between two looks at what the follower wrote."""

ADDRESS: Final = re.compile(r"aim://[A-Za-z0-9._-]+:\d{1,5}(/[A-Za-z0-9._/-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How much of a study Aim shows: ended trials, and those that it does not show yet.

    ``is_whole`` says whether the study's own run is there too.
    """

    study: Path
    repo: str
    num_trials: int
    num_missing: int
    is_whole: bool

    @property
    def note(self) -> str:
        """A sentence for the user where something is missing, else ""."""
        if self.is_whole:
            return ""
        missing = f"{self.num_missing} of {self.num_trials} trials"
        return (
            f"Aim ({self.repo}) does not show {missing if self.num_missing else 'all'} of "
            f"{self.study}: {_last_error(self.study)} Nothing is lost: spectrum study track "
            f"{self.study} adds the rest."
        )


class AimTracker:
    """A ``spectrum.search.tracker.Tracker`` that costs the driver a look at a process.

    Parameters
    ----------
    repo : folder of the studies, which holds, or will hold, ``.aim``
    study : name of the study; Aim's experiment
    to : another repository: its folder, or ``aim://HOST:PORT``
        None is where the study was shown before, else ``repo``.
    patience_s : seconds that the close waits for a follower that writes nothing
        One that goes on writing is waited for, however much there is to write.
    clock : seconds, monotonic
    """

    def __init__(
        self,
        repo: Path,
        *,
        study: str,
        to: str | None = None,
        patience_s: float = CLOSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study = (repo / study).resolve()
        self._to = told_repo(to) if to else repo_of_study(self._study)
        self._clock, self._patience_s = clock, patience_s
        self._follower: subprocess.Popen[bytes] | None = None
        self._begin_at, self._pause_s = clock(), FIRST_PAUSE_S

    def start_trial(
        self, number: int, *, config: Mapping[str, Any], params: Mapping[str, Any]
    ) -> None:
        """Leave word of what a trial begins with, for the time until it has a line."""
        file = started_file(self._study, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(plain({"config": config, "params": params})), encoding="utf-8")
        self._keep_following()

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        """See to it that somebody follows; the record is in the study's folder."""
        self._keep_following()

    def finish_trial(self, number: int, line: TrialLine, *, tags: Sequence[str] = ()) -> None:
        """Take back what was left of the trial's beginning; its line is in the folder."""
        started_file(self._study, number).unlink(missing_ok=True)
        self._keep_following()

    def close(self) -> None:
        """Let the follower write the rest; where it failed before, another one tries."""
        self.finish()

    def finish(self) -> bool:
        """Do as ``close``; return whether Aim shows all of the study now."""
        if not (self._study / "study.json").is_file():
            return self._end(0.0)
        if self._follower is None or self._follower.poll() is not None:
            self._begin()
        return self._end(self._patience_s)

    def _keep_following(self) -> None:
        if self._follower is not None and self._follower.poll() is None:
            return
        now = self._clock()
        if now < self._begin_at or not (self._study / "study.json").is_file():
            return
        self._begin_at, self._pause_s = (
            now + self._pause_s,
            min(2 * self._pause_s, LONGEST_PAUSE_S),
        )
        self._begin()

    def _begin(self) -> None:
        self._end(0.0)
        if repo_of_study(self._study) != self._to:
            # Written down at once: where Aim is dead, a later command has to know it.
            RunMap.open(self._study, self._to).write()
        self._follower = subprocess.Popen(
            [sys.executable, "-m", "spectrum.tracking.follower", str(self._study), self._to],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self, patience_s: float) -> bool:
        """Tell the follower that the study is over, wait, and end it where it is not done then.

        Returns whether it was done.
        """
        process, self._follower = self._follower, None
        if process is None:
            return False
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            return status_of(process, pulse_file(self._study), patience_s) == 0
        finally:
            process.kill()
            process.wait()


def status_of(process: subprocess.Popen[bytes], pulse: Path, patience_s: float) -> int | None:
    """Wait for a follower's end while it goes on writing; return its status, None where stuck."""
    seen, end = _time_of(pulse), time.monotonic() + patience_s
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(LOOK_S, patience_s))
        if (told := _time_of(pulse)) != seen:
            seen, end = told, time.monotonic() + patience_s
    return process.poll()


def _time_of(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def show_study(study: Path, *, to: str | None = None) -> Shown:
    """Make Aim show all that a study's folder holds; return how far that went.

    Parameters
    ----------
    study : folder; one that a search works on is left to that search's follower
    to : repository as for ``AimTracker``

    Raises
    ------
    SearchError
        Where there is no study.
    ConfigError
        Where the repository is none.
    """
    view = view_study(study)
    tracker = AimTracker(study.resolve().parent, study=study.resolve().name, to=to)
    is_done = not StudyFolder(study).is_locked and tracker.finish()
    missing = num_missing(view)
    return Shown(
        study=study,
        repo=repo_of_study(study),
        num_trials=len(view.lines),
        num_missing=missing,
        is_whole=is_done and not missing,
    )


def show_behind(studies: Path) -> Iterator[str]:
    """Show those studies of a folder that its Aim repository is behind of; yield what went wrong.

    Parameters
    ----------
    studies : folder of studies; those that are shown in another repository are left alone
    """
    for manifest in sorted(studies.glob("*/study.json")):
        study = manifest.parent
        if repo_of_study(study) != str(studies.resolve()):
            continue
        try:
            note = show_study(study).note if num_missing(view_study(study)) else ""
        except SearchError as err:
            note = str(err)
        if note:
            yield note


def repo_of_study(study: Path) -> str:
    """Return the repository that a study is shown in: a folder, or ``aim://HOST:PORT``."""
    return RunMap.open(study).address


def told_repo(to: str) -> str:
    """Return a repository as it is kept: an address as it is, a folder with its whole path.

    Raises
    ------
    ConfigError
        Where it looks like an address and is none of an Aim server.
    """
    if "://" not in to:
        return str(Path(to).resolve())
    if not ADDRESS.fullmatch(to):
        raise ConfigError(
            f"The Aim repository {to!r} is no address of an Aim server. Give aim://HOST:PORT, or "
            "a folder."
        )
    return to.rstrip("/")


def _last_error(study: Path) -> str:
    try:
        lines = (study / FOLDER / "errors.log").read_text(encoding="utf-8").splitlines()
        error = json.loads(lines[-1])["error"]
    except (OSError, ValueError, KeyError, IndexError):
        return "it did not answer in time."
    return f"{' '.join(error.split())[:200].rstrip('.')}."
