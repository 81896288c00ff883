"""What the driver of a study does at each turn of a trial, in an order that a kill cannot break.

A trial that ends is written to ``trials.jsonl`` first (the truth), then told to the journal, then
to the tracker; ``StudyDriver`` brings the three to agree when a study is opened again. Knows no
Ray: ``study`` carries the calls of Ray Tune here. Not here: which trials are run again at the end
(``selection``), and whether another one is proposed (``budget``).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from spectrum.config import pin_weights
from spectrum.errors import LeakageError, SearchError, SpectrumError
from spectrum.records import TrialEpochRecord
from spectrum.search.agreement import bring_to_agree
from spectrum.search.budget import Budget, gpu_hours_of
from spectrum.search.first_points import FirstTrials
from spectrum.search.folder import StudyFolder
from spectrum.search.objectives import pareto_front, value_of
from spectrum.search.optuna_study import Proposal, TrialJournal
from spectrum.search.placement import gpus_of_trial
from spectrum.search.pruning import is_pruning_step
from spectrum.search.racing import is_behind
from spectrum.search.selection import (
    Rerun,
    best_line,
    is_rerun,
    planned_reruns,
    select,
)
from spectrum.search.space import SearchSpace
from spectrum.search.status import StudyStatus, seconds_left, status_of_trial
from spectrum.search.tracker import Tracker
from spectrum.search.trial_lines import LiveTrial, line_of, missing_result, not_finite
from spectrum.search.trials import Failure, TrialEnd

__all__ = ["Moment", "StudyDriver"]

logger = logging.getLogger(__name__)

Moment = Literal["asked", "started", "reported", "written", "told"]
"""Between two writes: after ask, start, report, the trial's line, and tell."""

SELECTION: Final = "selection.json"
FRONT: Final = "front.json"


class StudyDriver:
    """Proposes, follows and ends the trials of one study.

    Parameters
    ----------
    folder : locked by the caller, with its manifest written
    space : what is searched
    tracker : follows the trials; an error of it is noted and the study goes on
    num_trials : trials of the whole study, those of earlier sessions included, re-runs not
    clock : seconds, monotonic
    first : called where a study begins, for what comes before its first proposal
    at : told each moment between two writes, and the trial; a test kills the process there

    Attributes
    ----------
    gpus_per_worker : what the trials of this session have, for their lines; set by who places them
    """

    def __init__(  # noqa: PLR0913 - the parts of a study, one name each
        self,
        folder: StudyFolder,
        space: SearchSpace,
        tracker: Tracker,
        *,
        num_trials: int,
        clock: Callable[[], float] = time.monotonic,
        first: Callable[[], FirstTrials] = FirstTrials,
        at: Callable[[Moment, int], None] = lambda moment, number: None,
    ) -> None:
        self._folder, self._space, self._tracker = folder, space, tracker
        self._clock, self._at, self.num_trials = clock, at, num_trials
        self.notes: list[str] = list(folder.repair())
        lines = folder.read_trials()
        self._lines = {n: line for n, line in lines.items() if not is_rerun(n)}
        self._reruns = {n: line for n, line in lines.items() if is_rerun(n)}
        self._journal = TrialJournal(folder.journal, space, first)
        self.notes += self._journal.notes
        self._budget = Budget(space.study, num_trials=num_trials, begin=clock())
        self._regret_after: tuple[int, float | None] = (-1, None)
        self.gpus_per_worker = 0.0
        self._live: dict[int, LiveTrial] = {}
        stored = folder.read(FRONT) if folder.has(FRONT) else {"trials": []}
        self._front: tuple[int, ...] = tuple(stored["trials"])
        self._num_failed_now = 0
        self.fatal: SpectrumError | None = None
        bring_to_agree(folder, self._journal, self._lines)
        self.selection = select(self._lines, self._reruns, space.study.rerun)
        for number in lines:
            folder.drop_state(number)
        self._catch_up_tracker()
        outcomes = self._journal.outcomes
        self._unfinished = [number for number, outcome in outcomes.items() if outcome is None]

    @property
    def lines(self) -> Mapping[int, Mapping[str, Any]]:
        """The lines of ended trials by number, without re-runs."""
        return self._lines

    @property
    def num_left(self) -> int:
        """Trials that this session has to run at least, re-runs of those that ended included."""
        num_open = len(self._unfinished) + self._num_open
        return num_open or len(self._open_reruns())

    @property
    def progress(self) -> tuple[int, int]:
        """Trials and re-runs that have ended, and those there will be as far as is known."""
        num_reruns = len(planned_reruns(self._lines, self._space.study.rerun))
        return len(self._lines) + len(self._reruns), self.num_trials + num_reruns

    @property
    def status(self) -> StudyStatus:
        """What the search is doing now."""
        best = best_line(self._lines, self.selection)
        num_done, num_total = self.progress
        ended = [*self._lines.values(), *self._reruns.values()]
        running = {number: trial for number, trial in self._live.items() if trial.started}
        left = seconds_left([line["seconds"] for line in ended], num_total - num_done, running)
        now = self._clock()
        return StudyStatus(
            trials=tuple(
                status_of_trial(number, trial, now=now) for number, trial in running.items()
            ),
            num_done=num_done,
            num_total=num_total,
            best=None if best is None else (best["number"], best["value"]),
            seconds_left=left,
        )

    @property
    def has_live(self) -> bool:
        """Whether a trial was handed out that did not end."""
        return bool(self._live)

    @property
    def is_waiting(self) -> bool:
        """Whether there is no next trial now, but may be one when those that run have ended.

        The best may then be run again; or one of them scores higher, so that patience begins anew.
        """
        if all(is_rerun(number) for number in self._live):
            return False
        may_propose = self._journal.num_proposed < self.num_trials
        return self._space.study.rerun.top > 0 or (may_propose and not self._over)

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        """Return number and configuration of the next trial, or None.

        Unfinished ones come first, then proposals, then the re-runs of the best.
        """
        if self._unfinished:
            proposal = self._journal.ask_again(self._unfinished.pop(0))
        elif self._num_open:
            proposal = self._journal.ask()
        elif self.is_waiting or not (reruns := self._open_reruns()):
            return None
        else:
            return self._begin_rerun(reruns[0])
        config = pin_weights(self._space.config(proposal.point)).model_dump(mode="json")
        self._live[proposal.number] = LiveTrial(proposal, config)
        self._at("asked", proposal.number)
        return proposal.number, config

    def start(self, number: int) -> None:
        """Note that a trial begins, or begins again after its worker died."""
        trial = self._live[number]
        self._live[number] = trial = LiveTrial(trial.proposal, trial.config, trial.rerun)
        trial.began = self._clock() - self._folder.begin_records(number)
        trial.started = datetime.now(UTC).isoformat(timespec="seconds")
        if trial.rerun is None:
            params = dict(trial.proposal.point)
            self._told(
                lambda: self._tracker.start_trial(number, config=trial.config, params=params)
            )
        self._at("started", number)

    def should_stop(self, number: int, record: TrialEpochRecord) -> bool:
        """Take an epoch that is not the last; return whether the trial stops here.

        After a kill epochs are told again, beside rivals that came since. A trial that went on
        from one then is not stopped at it now, as it would lose what it has trained.
        """
        trial = self._live[number]
        score = record.score.value
        if not math.isfinite(score):
            self.fail(number, not_finite(score, record.epoch))
            return True
        if trial.rerun is not None:
            return False
        is_step = is_pruning_step(record, self._space.default_config.training.fold_order)
        went_on = self._journal.went_past(number, record.epoch)
        is_hopeless = self._journal.report(number, epoch=record.epoch, value=score)
        if went_on:
            return False
        if is_hopeless and is_step:
            trial.stopped_by = "epochs"
        elif number and record.ends_fold and self._is_behind(record):
            trial.stopped_by = "folds"
        return trial.stopped_by is not None

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        """Write the record of an epoch, and hand it to the tracker."""
        trial = self._live[number]
        trial.last = record
        trial.num_epochs += 1
        self._folder.append_record(number, record, seconds=self._clock() - trial.began)
        if trial.rerun is None:
            self._told(lambda: self._tracker.log_epoch(number, record))
        self._at("reported", number)

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
        trial.failure = trial.failure or missing_result(trial)
        if trial.outcome == "complete" and trial.end is not None:
            predictions = tuple(p for fold in trial.end.folds for p in fold.predictions)
            self._folder.write_predictions(number, predictions)
        seconds = self._clock() - trial.began if trial.started else 0.0
        line = line_of(trial, seconds=seconds, gpus=self._gpus_of(trial))
        line = self._with_objectives(line)
        self._folder.append_trial(line)
        self._at("written", number)
        if trial.rerun is None:
            self._lines[number] = line
            self._journal.tell(number, trial.outcome, values=self._journal.values_in(line))
            self._at("told", number)
            self._track_end(number, line)
        else:
            self._reruns[number] = line
        self._folder.forget_state(number)
        del self._live[number]
        self._count(trial)
        self._select()
        return line

    def close(self) -> None:
        """Write what the study found besides its trials: the selection, and the Pareto front."""
        if self.selection is not None:
            self._folder.write(SELECTION, self.selection.to_json())
        if len(self._space.study.objectives) > 1:
            self._close_front()

    @property
    def _num_open(self) -> int:
        """Trials that may still be proposed."""
        num_open, note = self._budget.num_open(
            self._journal.num_proposed,
            tuple(self._lines.values()),
            over=self._over,
            regret=self._regret,
        )
        self._note_end(note)
        return num_open

    @property
    def _over(self) -> str:
        now = self._clock()
        running = (
            {"gpus": self._gpus_of(trial), "seconds": now - trial.began}
            for trial in self._live.values()
            if trial.started
        )
        trials = (*self._lines.values(), *self._reruns.values(), *running)
        return self._budget.over(now, sum(map(gpu_hours_of, trials)))

    def _gpus_of(self, trial: LiveTrial) -> float:
        return gpus_of_trial(trial.config["training"]["workers"], self.gpus_per_worker)

    def _regret(self) -> float | None:
        """Return the bound on what can still be gained; asked once for each number of lines."""
        if self._regret_after[0] != len(self._lines):
            self._regret_after = (len(self._lines), self._journal.regret_bound())
        return self._regret_after[1]

    def _open_reruns(self) -> list[Rerun]:
        planned = planned_reruns(self._lines, self._space.study.rerun)
        known = self._reruns.keys() | self._live.keys()
        found = [rerun for rerun in planned if rerun.number not in known]
        if found and (over := self._over):
            self._note_end(self._budget.reruns_note(over, len(found)))
            return []
        return found

    def _note_end(self, note: str) -> None:
        """Note why nothing more begins, where no trial that runs can change that."""
        if note and note not in self.notes and not self._live:
            self.notes.append(note)

    def _begin_rerun(self, rerun: Rerun) -> tuple[int, dict[str, Any]]:
        line = self._lines[rerun.of]
        config = {**line["config"], "seed": rerun.seed_of(line["config"]["seed"])}
        proposal = Proposal(number=rerun.number, point=line["params"])
        self._live[rerun.number] = LiveTrial(proposal, config, rerun)
        return rerun.number, config

    def _is_behind(self, record: TrialEpochRecord) -> bool:
        best = best_line(self._lines)
        return best is not None and is_behind(
            record.score.by_group,
            best["score"]["by_group"],
            config=self._space.study.pruner.folds,
        )

    def _with_objectives(self, line: dict[str, Any]) -> dict[str, Any]:
        names = self._space.study.objectives
        if len(names) == 1 or line["state"] != "complete":
            return line
        folder = self._folder.trial(line["number"])
        return {**line, "objectives": {name: value_of(name, line, folder) for name in names}}

    def _select(self) -> None:
        """See whether the re-runs are done, and move the tag of the best where they say so."""
        before = best_line(self._lines, self.selection)
        self.selection = select(self._lines, self._reruns, self._space.study.rerun)
        after = best_line(self._lines, self.selection)
        if self.selection is not None and after is not None and after is not before:
            self._track_end(after["number"], after)

    def _close_front(self) -> None:
        front = pareto_front(self._lines, self._space.study.objectives)
        changed, self._front = set(front) ^ set(self._front), front
        for number in sorted(changed & self._lines.keys()):
            self._track_end(number, self._lines[number])
        self._folder.write(FRONT, {"trials": list(front)})

    def _count(self, trial: LiveTrial) -> None:
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

    def _catch_up_tracker(self) -> None:
        for number, line in self._lines.items():
            if not self._folder.is_tracked(number):
                self._replay(number, line)

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
        best = best_line(self._lines, self.selection)
        is_tagged = {
            "default": line["number"] == 0,
            "pareto": line["number"] in self._front,
            "best": best is not None and best["number"] == line["number"],
        }
        return [tag for tag, holds in is_tagged.items() if holds]

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
