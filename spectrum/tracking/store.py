"""The runs of one study in a local Aim repository: opened, continued, tagged, deleted.

A run is opened without system parameters, system metrics and terminal capture, so that no
environment variable, package list or printed line of this machine is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spectrum.tracking.index import index_runs
from spectrum.tracking.run_map import RunMap
from spectrum.tracking.values import MANAGED_TAGS, safe_name

__all__ = ["AimStore"]


class AimStore:
    """Aim runs by trial number, one each, however often the driver dies."""

    def __init__(self, folder: Path, *, study: str, runs: RunMap) -> None:
        from aim import Repo

        folder.mkdir(parents=True, exist_ok=True)
        self._repo = Repo.from_path(str(folder), init=not Repo.exists(str(folder)))
        self._study = safe_name(study)
        self._open: dict[int, Any] = {}
        self.runs = runs

    @property
    def open_trials(self) -> tuple[int, ...]:
        """Numbers of the trials whose runs are open."""
        return tuple(self._open)

    def run_of(self, number: int) -> Any:
        """Return the open run of a trial; begin or continue it where it is not open."""
        if number not in self._open:
            run = self._open_run(self.runs.hash_of(number))
            if run.name != f"trial {number}":
                run.name = f"trial {number}"
            self._open[number] = run
        return self._open[number]

    def _open_run(self, run_hash: str) -> Any:
        from aim import Repo, Run

        self._chunk(run_hash).mkdir(parents=True, exist_ok=True)
        Repo._all_run_hashes.cache_clear()
        self._release_mark_of_dead_owner(run_hash)
        run = Run(
            run_hash,
            repo=self._repo,
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
        )
        if run.experiment != self._study:
            run.experiment = self._study
        return run

    def _chunk(self, run_hash: str) -> Path:
        return Path(self._repo.path) / "meta" / "chunks" / run_hash

    def _release_mark_of_dead_owner(self, run_hash: str) -> None:
        """Remove Aim's lock file, which outlives a killed owner.

        A live owner is still safe: RocksDB holds a kernel lock, which dies with its process.
        """
        (Path(self._repo.path) / "locks" / f"{run_hash}.softlock").unlink(missing_ok=True)

    def exists(self, number: int) -> bool:
        """Whether the run of a trial is in the repository."""
        run_hash = self.runs.hash_of_trial.get(number)
        return run_hash is not None and self._chunk(run_hash).is_dir()

    def set_tags(self, number: int, tags: Iterable[str]) -> None:
        """Make the managed tags of a trial exactly these; leave the user's own alone."""
        wanted = set(tags)
        run = self.run_of(number)
        for tag in set(run.tags) - wanted:
            if tag.partition(":")[0] in MANAGED_TAGS:
                run.remove_tag(tag)
        for tag in sorted(wanted - set(run.tags)):
            run.add_tag(tag)

    def move_best(self, number: int) -> None:
        """Take the tag ``best`` from the trial that had it; ``number`` has it now."""
        previous = self.runs.best
        if previous is not None and previous != number and self.exists(previous):
            props = self._repo.request_props(self.runs.hash_of(previous), read_only=False)
            props.remove_tag("best")
        self.runs.best = number
        self.runs.write()

    def close_run(self, number: int) -> None:
        """Close the run of a trial, so that all of it is on disk."""
        run = self._open.pop(number, None)
        if run is not None:
            run.close()

    def index(self, numbers: Iterable[int]) -> None:
        """Make trials findable by their parameters."""
        index_runs(self._repo, [self.runs.hash_of_trial[number] for number in numbers])

    def delete(self, number: int) -> None:
        """Delete the run of a trial."""
        if self.exists(number):
            self._repo._delete_run(self.runs.hash_of(number))
        self.runs.forget(number)
