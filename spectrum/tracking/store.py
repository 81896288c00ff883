"""The runs of one study in an Aim repository: opened, continued, tagged, deleted.

The repository is a local folder or that of a server, ``aim://HOST:PORT``. A run is opened without
system parameters, system metrics and terminal capture, so that no environment variable, package
list or printed line of this machine is stored. Calls may hang where a server does: whoever calls
must be able to die (``follower``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from spectrum.errors import SearchError
from spectrum.tracking.index import index_runs
from spectrum.tracking.run_map import STUDY, RunMap
from spectrum.tracking.values import MANAGED_TAGS, safe_name

__all__ = ["AimStore"]

SEEN_WITHIN_S: Final = 10.0
"""Seconds within which a server must name a run that was just made; it looks twice a second."""


class AimStore:
    """Aim runs by trial number, one each, however often the writer dies.

    Parameters
    ----------
    runs : says where the repository is, and which run is whose
    study : name of the study; Aim's experiment
    on_step : called after each thing written, so that whoever watches can tell slow from stuck
    """

    def __init__(self, runs: RunMap, *, study: str, on_step: Callable[[], None]) -> None:
        from aim import Repo

        # Importing Aim takes its time too.
        on_step()
        if runs.is_remote:
            self._repo = Repo.from_path(runs.address)
        else:
            Path(runs.address).mkdir(parents=True, exist_ok=True)
            self._repo = Repo.from_path(runs.address, init=not Repo.exists(runs.address))
        self._study = safe_name(study)
        self._open: dict[int, Any] = {}
        self._on_step = on_step
        self.runs = runs

    @property
    def open_trials(self) -> tuple[int, ...]:
        """Numbers of the trials whose runs are open."""
        return tuple(self._open)

    def make(self, numbers: Iterable[int]) -> None:
        """Make the runs of trials that have none yet, all at once where a server is asked."""
        made = [self.runs.claim(number) for number in numbers]
        missing = set(made) - self._hashes()
        for run_hash in missing:
            if self.runs.is_remote:
                tree = self._repo.request_tree("meta", run_hash, read_only=False)
                tree.subtree(("meta", "chunks", run_hash))["end_time"] = None
            else:
                self._chunk(run_hash).mkdir(parents=True, exist_ok=True)
        self.drain()
        end = time.monotonic() + SEEN_WITHIN_S
        while missing - self._hashes():
            if time.monotonic() > end:
                raise SearchError(f"{self.runs.address} does not show runs that were just made.")
            time.sleep(0.1)

    def date(self, number: int, begun: datetime) -> None:
        """Say when a trial began, for a run that is not made yet; a run keeps its date."""
        self._repo.request_props(self.runs.claim(number), read_only=False, created_at=begun)

    def run_of(self, number: int) -> Any:
        """Return the open run of a trial; begin or continue it where it is not open."""
        if number not in self._open:
            self.make([number])
            run = self._open_run(self.runs.hash_of[number])
            name = "study" if number == STUDY else f"trial {number}"
            if run.name != name:
                run.name = name
            self._open[number] = run
            self._on_step()
        return self._open[number]

    def _open_run(self, run_hash: str) -> Any:
        """Open a run, also where a writer that was killed left it locked.

        One writer a study is kept by our own lock. Beneath, RocksDB holds a lock of the kernel's,
        which dies with its process.
        """
        from aim import Run

        if not self.runs.is_remote:
            (Path(self._repo.path) / "locks" / f"{run_hash}.softlock").unlink(missing_ok=True)
        run = Run(
            run_hash,
            repo=self._repo,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
            force_resume=self.runs.is_remote,
        )
        if run.experiment != self._study:
            run.experiment = self._study
        return run

    def _hashes(self) -> set[str]:
        from aim import Repo

        Repo._all_run_hashes.cache_clear()
        return set(self._repo._all_run_hashes())

    def _chunk(self, run_hash: str) -> Path:
        return Path(self._repo.path) / "meta" / "chunks" / run_hash

    def numbers(self) -> set[int]:
        """Return the trials whose runs are in the repository."""
        there = self._hashes()
        return {number for number, run_hash in self.runs.hash_of.items() if run_hash in there}

    def describe(self, number: int, text: str) -> None:
        """Set the description of a run, which Aim's tables have a column for."""
        run = self.run_of(number)
        if run.description != text:
            run.description = text

    def set_tags(self, number: int, tags: Iterable[str]) -> None:
        """Make the managed tags of a trial exactly these; leave the user's own alone."""
        wanted = set(tags)
        run = self.run_of(number)
        for tag in set(run.tags) - wanted:
            if tag.partition(":")[0] in MANAGED_TAGS:
                run.remove_tag(tag)
        for tag in sorted(wanted - set(run.tags)):
            run.add_tag(tag)

    def close_run(self, number: int, *, seconds: float | None = None) -> None:
        """Close the run of a trial, so that all of it is on disk, or taken by the server.

        Parameters
        ----------
        seconds : what the trial took; None where it has not ended, so that Aim's own time stands
        """
        run = self._open.pop(number, None)
        if run is None:
            return
        self.drain()
        stored, begun = run.meta_run_tree, run.creation_time
        run.close()
        if seconds is not None:
            # Aim takes the writing of a run for what it tells of.
            stored["end_time"] = begun + seconds
        self.drain()
        # A server takes things in order: where it has the end, it has all before.
        if self.runs.is_remote and stored["end_time"] is None:
            raise SearchError(f"{self.runs.address} did not take the end of trial {number}.")

    def drain(self) -> None:
        """Wait until a server has taken all that was written; nothing waits in a local one.

        Raises
        ------
        SearchError
            Where Aim has given up sending.
        """
        if not self.runs.is_remote:
            return
        requests = self._repo._client.get_queue()
        num_left = requests._queue.unfinished_tasks
        while num_left:
            if not requests._thread.is_alive():
                raise SearchError(f"{self.runs.address} refused what was written.")
            time.sleep(0.02)
            num_before, num_left = num_left, requests._queue.unfinished_tasks
            if num_left < num_before:
                self._on_step()

    def index(self, numbers: Iterable[int]) -> None:
        """Make trials findable by their parameters; a server's own UI does that for it."""
        if not self.runs.is_remote:
            index_runs(self._repo, [self.runs.hash_of[number] for number in numbers])

    def delete(self, number: int) -> None:
        """Delete the run of a trial."""
        if number in self.numbers():
            run_hash = self.runs.hash_of[number]
            if self.runs.is_remote:
                self._repo._remote_repo_proxy.delete_run(run_hash)
            else:
                self._repo._delete_run(run_hash)
        self.runs.forget(number)
