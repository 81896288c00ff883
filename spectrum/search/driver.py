"""What the driver of a study does at each turn of a trial, in an order that a kill cannot break.

A trial that ends is written to ``trials.jsonl`` first (the truth), then told to the journal, then
to the tracker; ``StudyDriver`` brings the three to agree when a study is opened again. Knows no
Ray: ``study`` carries the calls of Ray Tune here.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spectrum.config import pin_weights
from spectrum.errors import LeakageError, SearchError, SpectrumError
from spectrum.records import TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.optuna_study import Outcome, Proposal, TrialJournal
from spectrum.search.space import SearchSpace
from spectrum.search.tracker import Tracker
from spectrum.search.trial_json import fold_line, mean_metrics, without_nan
from spectrum.search.trials import Failure, TrialEnd

__all__ = ["StudyDriver", "best_line"]

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 2000
"""Characters of an error that a trial's line keeps."""


@dataclass(slots=True)
class _LiveTrial:
    proposal: Proposal
    config: dict[str, Any]
    began: float = 0.0
    started: str = ""
    num_epochs: int = 0
    last: TrialEpochRecord | None = None
    end: TrialEnd | None = None
    failure: Failure | None = None
    is_pruned: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.failure is not None:
            return "failed"
        return "pruned" if self.is_pruned else "complete"


class StudyDriver:
    """Proposes, follows and ends the trials of one study.

    Parameters
    ----------
    folder : locked by the caller, with its manifest written
    space : what is searched
    tracker : follows the trials; an error of it is noted and the study goes on
    num_trials : trials of the whole study, those of earlier sessions included
    clock : seconds, monotonic
    """

    def __init__(
        self,
        folder: StudyFolder,
        space: SearchSpace,
        tracker: Tracker,
        *,
        num_trials: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._space, self._tracker = folder, space, tracker
        self._clock, self.num_trials = clock, num_trials
        self.notes: list[str] = list(folder.repair())
        self._lines = folder.read_trials()
        self._journal = TrialJournal(folder.journal, space)
        self._live: dict[int, _LiveTrial] = {}
        self._num_failed_now = 0
        self.fatal: SpectrumError | None = None
        self._agree()
        outcomes = self._journal.outcomes
        self._unfinished = [number for number, outcome in outcomes.items() if outcome is None]

    @property
    def lines(self) -> Mapping[int, Mapping[str, Any]]:
        """The lines of ended trials by number."""
        return self._lines

    @property
    def num_left(self) -> int:
        """Trials that this session has to run."""
        return len(self._unfinished) + max(0, self.num_trials - self._journal.num_proposed)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """Return number and configuration of the next trial, unfinished ones first, or None."""
        if self._unfinished:
            proposal = self._journal.ask_again(self._unfinished.pop(0))
        elif self._journal.num_proposed < self.num_trials:
            proposal = self._journal.ask()
        else:
            return None
        config = pin_weights(self._space.config(proposal.point)).model_dump(mode="json")
        self._live[proposal.number] = _LiveTrial(proposal, config)
        return proposal.number, config

    def start(self, number: int) -> None:
        """Note that a trial begins, or begins again after its worker died."""
        trial = self._live[number]
        self._live[number] = trial = _LiveTrial(trial.proposal, trial.config)
        trial.began = self._clock()
        trial.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._folder.begin_records(number)
        params = dict(trial.proposal.point)
        self._told(lambda: self._tracker.start_trial(number, config=trial.config, params=params))

    def should_stop(self, number: int, *, epoch: int, score: float) -> bool:
        """Take the score of an epoch that is not the last; return whether the trial stops here."""
        trial = self._live[number]
        if not math.isfinite(score):
            self.fail(number, _not_finite(score, epoch))
            return True
        trial.is_pruned = self._journal.report(number, epoch=epoch, value=score)
        return trial.is_pruned

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        """Write the record of an epoch, and hand it to the tracker."""
        trial = self._live[number]
        trial.last = record
        trial.num_epochs += 1
        self._folder.append_record(number, record)
        self._told(lambda: self._tracker.log_epoch(number, record))

    def conclude(self, number: int, end: TrialEnd) -> None:
        """Take what a trial that trained all its epochs leaves."""
        self._live[number].end = end
        self.notes += [note for note in end.notes if note not in self.notes]

    def fail(self, number: int, failure: Failure) -> None:
        """Take the cause for which a trial ends; the first cause counts."""
        trial = self._live[number]
        trial.failure = trial.failure or failure

    def finish(self, number: int) -> Mapping[str, Any]:
        """End a trial: line, journal, tracker, in this order; return its line."""
        trial = self._live[number]
        trial.failure = trial.failure or _missing(trial)
        if trial.outcome == "complete" and trial.end is not None:
            predictions = tuple(p for fold in trial.end.folds for p in fold.predictions)
            self._folder.write_predictions(number, predictions)
        line = self._line_of(trial)
        self._folder.append_trial(line)
        self._lines[number] = line
        self._journal.tell(number, trial.outcome, value=line["value"])
        self._folder.drop_state(number)
        self._track_end(number, line)
        del self._live[number]
        self._count(trial)
        return line

    def _line_of(self, trial: _LiveTrial) -> dict[str, Any]:
        last, end = trial.last, trial.end
        is_complete = trial.outcome == "complete"
        metrics = mean_metrics(last.folds) if last is not None else {}
        line = {
            "number": trial.proposal.number,
            "state": trial.outcome,
            "params": dict(trial.proposal.point),
            "config": trial.config,
            "score": last.score.to_json() if last is not None else None,
            "value": last.score.value if last is not None and is_complete else None,
            "folds": [fold_line(fold) for fold in end.folds] if is_complete and end else [],
            "metrics": {**metrics, **(end.metrics if is_complete and end else {})},
            "num_epochs": trial.num_epochs,
            "seconds": round(self._clock() - trial.began, 3) if trial.started else 0.0,
            "started": trial.started or None,
            "error": {"kind": trial.failure.kind, "message": trial.failure.message[:MAX_MESSAGE]}
            if trial.failure
            else None,
        }
        return {name: without_nan(value) for name, value in line.items()}

    def _count(self, trial: _LiveTrial) -> None:
        if trial.failure is None:
            return
        self._num_failed_now += 1
        number, failure = trial.proposal.number, trial.failure
        if failure.kind == LeakageError.__name__:
            self.fatal = LeakageError(failure.message)
        elif self._num_failed_now > self._space.study.max_failed:
            self.fatal = SearchError(
                f"{self._num_failed_now} trials failed, study.max_failed allows "
                f"{self._space.study.max_failed}. The last one, trial {number}: {failure.kind}: "
                f"{failure.message[:200]}. Mend the cause and continue with --resume."
            )

    def _agree(self) -> None:
        """Bring journal and tracker to what ``trials.jsonl`` says."""
        outcomes = self._journal.outcomes
        for number, line in self._lines.items():
            if number not in outcomes:
                raise SearchError(
                    _disagreement(self._folder, number, "trials.jsonl", "the journal")
                )
            if outcomes[number] is None:
                self._journal.tell(number, line["state"], value=line["value"])
            self._folder.drop_state(number)
            if not self._folder.is_tracked(number):
                self._replay(number, line)
        for number, outcome in outcomes.items():
            if outcome is not None and number not in self._lines:
                raise SearchError(
                    _disagreement(self._folder, number, "the journal", "trials.jsonl")
                )

    def _replay(self, number: int, line: Mapping[str, Any]) -> None:
        config, params = line["config"], line["params"]
        self._told(lambda: self._tracker.start_trial(number, config=config, params=params))
        for record in self._folder.read_records(number):
            self._told(lambda record=record: self._tracker.log_epoch(number, record))  # type: ignore[misc]
        self._track_end(number, line)

    def _track_end(self, number: int, line: Mapping[str, Any]) -> None:
        tags = self._tags_of(line)
        if self._told(lambda: self._tracker.finish_trial(number, line, tags=tags)):
            self._folder.mark_tracked(number)

    def _tags_of(self, line: Mapping[str, Any]) -> Sequence[str]:
        best = best_line(self._lines)
        tags = ["default"] if line["number"] == 0 else []
        return [*tags, "best"] if best is not None and best["number"] == line["number"] else tags

    def _told(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as err:
            sentence = (
                f"The tracker failed: {type(err).__name__}: {err}. trials.jsonl is complete."
            )
            logger.warning(sentence)
            self.notes = [*self.notes, sentence] if sentence not in self.notes else self.notes
            return False
        return True


def best_line(lines: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the line of the complete trial with the highest score, the first of equals."""
    complete = [line for _, line in sorted(lines.items()) if line["state"] == "complete"]
    return max(complete, key=lambda line: line["value"], default=None)


def _missing(trial: _LiveTrial) -> Failure | None:
    """Return why a trial that says it is complete is not."""
    if trial.is_pruned:
        return None
    if trial.end is None or trial.last is None:
        return Failure(
            kind="NoResult", message="The trial ended without reporting that it finished."
        )
    if not math.isfinite(trial.last.score.value):
        return _not_finite(trial.last.score.value, trial.last.epoch)
    return None


def _not_finite(score: float, epoch: int) -> Failure:
    return Failure(
        kind="NotFinite", message=f"The score after epoch {epoch} is {score}, not a number."
    )


def _disagreement(folder: StudyFolder, number: int, having: str, lacking: str) -> str:
    return (
        f"{folder.path}: {having} has trial {number} as ended, {lacking} does not know it. "
        "A file of the study was removed or damaged; restore it, or search under another name."
    )
