"""Follows the trials of a study in Aim; an error of Aim never reaches the study.

One run a trial. Its parameters: ``hparams`` (the whole configuration, nested, so that
``run.hparams.optimizer.lr > 1e-4`` works), ``searched`` (the part that the search chose),
``trial`` (number, state, score with interval), ``floor`` and ``ladder`` (what it is read against),
``folds``, ``metrics`` and ``nonfinite`` (each NaN or infinity, by metric, fold, side and epoch).
Metrics have the context ``{"fold": name, "role": "training" | "validation"}``; pooled ones have
the fold ``all``.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spectrum.records import TrialEpochRecord
from spectrum.search.ladders import ladder_scores
from spectrum.search.tracker import TrialLine
from spectrum.search.view import StudyView, view_study
from spectrum.tracking.confusion import track_confusion
from spectrum.tracking.run_map import RunMap
from spectrum.tracking.store import AimStore
from spectrum.tracking.values import (
    TrackedValue,
    floor_params,
    nested,
    outcome_params,
    plain,
    safe_name,
    tags_of_line,
    values_of_epoch,
)

__all__ = ["AimTracker"]

PATIENCE_S: Final = 60.0
"""Seconds that failing calls may cost a study in all; then Aim is left alone."""


class AimTracker:
    """A ``spectrum.search.tracker.Tracker`` over a local Aim repository, for one driver.

    Parameters
    ----------
    repo : folder that holds, or will hold, ``.aim``
    study : name of the study; Aim's experiment
    floor : JSON of the study's floor
        Stored with every trial, so that a query can compare with it.
    clock : seconds; times how long failing calls take
    """

    def __init__(
        self,
        repo: Path,
        *,
        study: str,
        floor: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repo = repo
        self._study = study
        self._floor = floor_params(floor or {})
        self._clock = clock
        self._store: AimStore | None = None
        self._seconds_lost = 0.0
        self._epochs_seen: dict[int, int] = {}
        self.num_errors = 0
        self.error_log = (
            repo / ".aim" / "spectrum" / safe_name(study).replace("/", "_") / "errors.log"
        )

    def start_trial(
        self, number: int, *, config: Mapping[str, Any], params: Mapping[str, Any]
    ) -> None:
        """Begin or continue the run of a trial."""
        self._guard(f"start of trial {number}", lambda: self._start(number, config, params))

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        """Track every number of an epoch; one logged before is replaced, not doubled."""
        self._guard(f"epoch {record.epoch} of trial {number}", lambda: self._log(number, record))

    def finish_trial(self, number: int, line: TrialLine, *, tags: Sequence[str] = ()) -> None:
        """Store the outcome of a trial with its tags, close its run and index it."""
        self._guard(f"end of trial {number}", lambda: self._finish(number, line, tags))

    def close(self) -> None:
        """Close the runs still open, as unfinished; make good what failed on the way.

        The latter needs the study's folder beside ``.aim``, where ``spectrum search`` puts it.
        """
        if self._store is None:
            return
        self._guard("close", self._close_all)
        folder = self._repo / self._study
        if (folder / "study.json").is_file():
            self._guard("check at close", lambda: self._sync_ended(view_study(folder), []))

    def sync(self, study_folder: Path) -> int:
        """Make Aim equal to a study folder: add what is missing, repeat nothing, drop strays.

        Parameters
        ----------
        study_folder : folder with ``study.jsonl`` and ``trials/<number>/records.jsonl``

        Returns
        -------
        num_written : trials whose runs were written or removed
            0 where Aim showed all of them already, or could not be reached.
        """
        written: list[int] = []
        self._guard("sync", lambda: self._sync(view_study(study_folder), written))
        return len(written)

    # The methods above never raise; those below may.

    def _guard(self, what: str, action: Callable[[], object]) -> None:
        if self._seconds_lost > PATIENCE_S:
            return
        begin = self._clock()
        try:
            action()
        except Exception as err:
            self._seconds_lost += self._clock() - begin
            self._note_error(what, err)

    def _note_error(self, what: str, err: Exception) -> None:
        self.num_errors += 1
        last = traceback.extract_tb(err.__traceback__)[-1]
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "what": what,
            "error": f"{type(err).__name__}: {plain(str(err))}",
            "at": f"{Path(last.filename).name}:{last.lineno}",
            "left_alone": self._seconds_lost > PATIENCE_S,
        }
        try:
            self.error_log.parent.mkdir(parents=True, exist_ok=True)
            with self.error_log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError:
            return

    def _opened(self) -> AimStore:
        if self._store is None:
            identity = _identity(self._repo / self._study / "study.json")
            runs = RunMap.open(self.error_log.parent, identity=identity)
            self._store = AimStore(self._repo, study=self._study, runs=runs)
        return self._store

    def _start(self, number: int, config: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        store = self._opened()
        store.runs.set_digest(number, None)
        self._epochs_seen[number] = 0
        run = store.run_of(number)
        run["hparams"] = nested(config)
        run["searched"] = nested(params)
        run["trial"] = {"number": number, "state": "running"}
        run["study"] = plain(self._study)
        if self._floor:
            run["floor"] = self._floor
        if ladder := ladder_scores(self._repo / self._study):
            run["ladder"] = plain(ladder)

    def _log(self, number: int, record: TrialEpochRecord) -> None:
        run = self._opened().run_of(number)
        values = values_of_epoch(record)
        for value in values:
            if value.is_finite:
                context = {"fold": value.fold, "role": value.role}
                run.track(
                    value.value, value.name, step=record.epoch, epoch=record.epoch, context=context
                )
        self._log_nonfinite(number, record.epoch, [v for v in values if not v.is_finite])
        self._epochs_seen[number] = self._epochs_seen.get(number, 0) + 1

    def _log_nonfinite(self, number: int, epoch: int, values: Sequence[TrackedValue]) -> None:
        if not values:
            return
        run = self._opened().run_of(number)
        for value in values:
            place = ("nonfinite", value.name, value.fold, value.role, f"epoch {epoch}")
            run.set(place, str(value.value))
        if "nonfinite" not in run.tags:
            run.add_tag("nonfinite")

    def _finish(self, number: int, line: TrialLine, tags: Sequence[str]) -> None:
        store = self._opened()
        if number not in store.open_trials:
            self._start(number, line.get("config") or {}, line.get("params") or {})
        run = store.run_of(number)
        for name, section in outcome_params(line).items():
            run[name] = section
        track_confusion(run, line)
        marks = {"nonfinite"} & set(run.tags)
        store.set_tags(number, {*tags_of_line(line), *map(safe_name, tags), *marks})
        if "best" in tags:
            store.move_best(number)
        store.close_run(number)
        if self._epochs_seen.pop(number, 0) == (line.get("num_epochs") or 0):
            store.runs.set_digest(number, plain(line))
        store.index([number])

    def _close_all(self) -> None:
        store = self._opened()
        numbers = store.open_trials
        for number in numbers:
            store.run_of(number)["trial", "state"] = "unfinished"
            store.close_run(number)
        store.index(numbers)

    def _sync(self, study: StudyView, written: list[int]) -> None:
        self._sync_ended(study, written)
        store = self._opened()
        for number in sorted(set(study.unfinished) - set(store.open_trials)):
            self._log_all(number, study)
            written.append(number)
        for number in sorted(
            set(store.runs.hash_of_trial) - study.numbers - set(store.open_trials)
        ):
            store.delete(number)
            written.append(number)

    def _sync_ended(self, study: StudyView, written: list[int]) -> None:
        store = self._opened()
        for line in study.lines:
            number = line["number"]
            if not (store.exists(number) and store.runs.shows(number, plain(line))):
                self._replay(number, line, study)
                written.append(number)

    def _replay(self, number: int, line: TrialLine, study: StudyView) -> None:
        self._start(number, line.get("config") or {}, line.get("params") or {})
        for record in study.records_of(number):
            self._log(number, record)
        self._epochs_seen[number] = line.get("num_epochs") or 0
        self._finish(number, line, study.tags_of(number))

    def _log_all(self, number: int, study: StudyView) -> None:
        for record in study.records_of(number):
            self._log(number, record)
        self._opened().close_run(number)


def _identity(manifest: Path) -> str:
    """Tell this study from an earlier one of the same name, where there is a manifest to read."""
    try:
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        return str(stored["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
