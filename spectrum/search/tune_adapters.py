"""Ray Tune around a study driver: the one doorway to ray.tune.

Tune gives trials to workers and carries their results; it decides nothing and remembers nothing
that counts. Its searcher, scheduler and callback are thin: each call goes on to ``StudyDriver``.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import NoopStopper, Stopper

from spectrum.data.waits import WaitTeller, waits_told
from spectrum.errors import SearchError, SpectrumError
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.machines import await_first_place
from spectrum.search.placement import (
    Placement,
    bundles_of,
    has_place,
    nodes_of_cluster,
    place_trials,
)
from spectrum.search.settings import StudySettings
from spectrum.search.signals import noted_signals
from spectrum.search.status import StudyStatus
from spectrum.search.trial_actor import TrialActor
from spectrum.search.trials import Failure, ObjectiveMaker, TrialEnd
from spectrum.search.tune_session import TuneSession
from spectrum.training.environment import environment

__all__ = ["run_trials"]

ENVIRONMENT: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
}
"""Tune's own logs, state files and signal handler are off: the study folder is the truth. No death
is made good by Tune itself, those of machines that were taken away included."""

MAX_ERROR_TEXT: Final = 500
"""Characters of Tune's account of a lost worker that are kept."""


class _JournalSearcher(Searcher):  # type: ignore[misc]
    """Hands out the driver's proposals, and ends trials."""

    def __init__(self, session: TuneSession) -> None:
        super().__init__()
        self._session = session
        self._number_of: dict[str, int] = {}
        self._configs: dict[int, dict[str, Any]] = {}

    def suggest(self, trial_id: str) -> Any:
        # Tune puts its own handler on SIGUSR1 when it starts, after which it ends as if all were
        # done; the first proposal is asked for after that.
        self._session.take_signals()
        if self._session.is_over:
            return Searcher.FINISHED
        self._session.call(self._session.settle)
        found = self._session.call(self._next)
        if found is None:
            # A trial that runs may lose its process and have to be handed out again.
            return None if self._session.driver.has_live else Searcher.FINISHED
        number, config = found
        self._number_of[trial_id], self._configs[number] = number, config
        self._session.turns.hand_out(number, config["training"]["workers"])
        return {
            "number": number,
            "trial_config": json.dumps(config),
            "workers": config["training"]["workers"],
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number, session = self._number_of.pop(trial_id), self._session
        session.call(lambda: session.lose(number) if error else session.finish(number))

    def _next(self) -> tuple[int, dict[str, Any]] | None:
        number = self._session.lost.next_ready()
        if number is not None:
            return number, self._configs[number]
        return None if self._session.turns.are_held() else self._session.driver.next_trial()

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal is the state."""


class _JournalScheduler(FIFOScheduler):  # type: ignore[misc]
    """Stops a trial where the driver says so."""

    def __init__(self, session: TuneSession) -> None:
        super().__init__()
        self._session = session

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number, driver = trial.config["number"], self._session.driver
        is_stopped = self._session.call(
            lambda: driver.should_stop(number, result["record"]), default=False
        )
        decision: str = TrialScheduler.STOP if is_stopped else TrialScheduler.CONTINUE
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._session.last_words[trial.config["number"]] = _text_of_error(trial)


def _text_of_error(trial: Any) -> str:
    """Return what Tune kept of a trial's error, shortened."""
    path = trial.error_file
    text = Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
    return " ".join(text.split())[:MAX_ERROR_TEXT]


class _FolderCallback(tune.Callback):  # type: ignore[misc]
    """Carries starts, records and ends of trials to the driver."""

    def __init__(self, session: TuneSession) -> None:
        self._session = session

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._session.call(self._session.settle)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._session.call(lambda: self._session.begin(trial.config["number"]))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        # Taken out of the result, so that Tune keeps no predictions.
        taken = {name: result.pop(name, None) for name in ("record", "end", "failure", "node")}
        if taken["record"] is not None and trial.config["workers"] == 1:
            # Of several workers not the process dies that Tune knows.
            self._session.hear(trial.config["number"])
        self._session.call(lambda: self._take(trial.config["number"], **taken))
        self._session.call(self._session.tell_status)

    def _take(
        self,
        number: int,
        record: TrialEpochRecord | None,
        end: TrialEnd | None,
        failure: Failure | None,
        node: str | None,
    ) -> None:
        driver = self._session.driver
        if node is not None:
            self._session.lost.begin(number, [node])
        if record is not None:
            driver.log_epoch(number, record)
        if end is not None:
            driver.conclude(number, end)
        if failure is not None:
            self._session.fail(number, failure)


class _SessionStopper(Stopper):  # type: ignore[misc]
    """Ends Tune's loop when the session is over."""

    def __init__(self, session: TuneSession) -> None:
        self._session = session

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._session.is_over

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the session out of the state that Tune writes."""
        return (NoopStopper, ())


def run_trials(  # noqa: PLR0913 - the parts of a session, one name each
    driver: StudyDriver,
    make_objective: ObjectiveMaker,
    *,
    folder: StudyFolder,
    max_concurrent: int | None = None,
    gpus_per_worker: float | None = None,
    workers: Collection[int] = (1,),
    settings: StudySettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_status: Callable[[StudyStatus], None] | None = None,
) -> None:
    """Run the trials that a driver has left, on the Ray that this process is connected to.

    Parameters
    ----------
    max_concurrent : trials at a time, at most; None is what settings say
    gpus_per_worker : None is one where the cluster has any
    workers : values of ``training.workers`` that the trials may have
    settings : how many trials at a time, and where their processes stand; None is the default

    Raises
    ------
    LeakageError
        Where a trial found one; the study stops.
    SearchError
        Where the failure budget is spent, or a signal came; the folder can be resumed. After a
        signal ``exit_code`` is 128 plus its number.
    """
    settings = settings or StudySettings()
    await_first_place(workers, gpus_per_worker, settings)
    placement = place_trials(nodes_of_cluster(), workers, gpus_per_worker)
    num_concurrent = settings.concurrent_trials or placement.num_concurrent
    placement = replace(
        placement, num_concurrent=min(num_concurrent, max_concurrent or num_concurrent)
    )
    driver.gpus_per_worker = placement.gpus_per_worker
    session = TuneSession(
        driver,
        on_progress,
        on_status,
        are_mixed=len(set(workers)) > 1,
        epoch_minutes=settings.epoch_minutes,
    )
    session.tell_progress()
    smallest = bundles_of(min(workers), placement.gpus_per_worker)
    waits = waits_told(WaitTeller(smallest), lambda: session.turns.is_stuck and not has_place())
    if driver.num_left:
        with environment(ENVIRONMENT), _signals(session), _quiet("ray.tune"), waits:
            _tune(session, make_objective, folder, placement, settings)
    _raise_what_ended(session, folder)


def _tune(
    session: TuneSession,
    make_objective: ObjectiveMaker,
    folder: StudyFolder,
    placement: Placement,
    settings: StudySettings,
) -> None:
    shutil.rmtree(folder.ray, ignore_errors=True)
    share = placement.gpus_per_worker
    actor = tune.with_parameters(
        TrialActor,
        make_objective=make_objective,
        gpus_per_worker=share,
        epoch_minutes=settings.epoch_minutes,
    )
    tune.run(
        tune.with_resources(
            actor,
            lambda config: tune.PlacementGroupFactory(
                bundles_of(config["workers"], share, leaders=settings.leaders),
                strategy=settings.placement.upper(),
            ),
        ),
        name=folder.ray.name,
        storage_path=str(folder.path),
        num_samples=-1,
        search_alg=_JournalSearcher(session),
        scheduler=_JournalScheduler(session),
        callbacks=[_FolderCallback(session)],
        stop=_SessionStopper(session),
        max_concurrent_trials=placement.num_concurrent,
        max_failures=0,
        reuse_actors=True,
        raise_on_failed_trial=False,
        trial_name_creator=_name_of,
        trial_dirname_creator=_name_of,
        verbose=0,
    )


def _name_of(trial: Any) -> str:
    return f"trial_{trial.config['number']}"


def _raise_what_ended(session: TuneSession, folder: StudyFolder) -> None:
    if session.error is not None:
        if isinstance(session.error, SpectrumError):
            raise session.error
        raise SearchError(
            f"The search stopped at {type(session.error).__name__}: {session.error}. "
            f"What is done is in {folder.path}; mend the cause and continue with --resume."
        ) from session.error
    if session.driver.fatal is not None:
        raise session.driver.fatal
    if session.signal is None and session.driver.num_left:
        raise SearchError(
            f"Ray Tune ended with {session.driver.num_left} trials left and named no cause. "
            f"Continue {folder.path} with --resume."
        )
    if session.signal is not None:
        error = SearchError(
            f"The search was stopped by {signal.Signals(session.signal).name} with "
            f"{len(session.driver.lines)} of {session.driver.num_trials} trials done. "
            f"Continue {folder.path} with --resume."
        )
        error.exit_code = 128 + session.signal
        raise error


@contextmanager
def _signals(session: TuneSession) -> Iterator[None]:
    def note(number: int) -> None:
        session.signal = number

    with noted_signals(note) as session.take_signals:
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's notes about files that do not matter here from the user."""
    library = logging.getLogger(name)
    before = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(before)
