"""The journal of a study: one Optuna study in a file, owned by one driver, with ask and tell.

Every proposal is a function of the study's seed, the trial's number and the journal alone, so a
resumed study proposes what the undisturbed one would. Not here: Ray (``study``), and the other
files of a study (``folder``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from spectrum.errors import SearchError
from spectrum.search.pruning import is_hopeless
from spectrum.search.settings import StudySettings
from spectrum.search.space import SearchSpace

__all__ = ["Outcome", "Proposal", "TrialJournal", "importances", "sample_points"]

Outcome = Literal["complete", "pruned", "failed"]
"""How a trial ended."""

STUDY_NAME: Final = "spectrum"
"""Name inside the journal; the folder names the study."""

MIN_TRIALS_FOR_IMPORTANCE: Final = 6
"""Finished trials below which importances would be noise."""

OUTCOME_OF_STATE: Final[dict[TrialState, Outcome]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial to run: its number in the study, and the value of each active parameter by path."""

    number: int
    point: Mapping[str, Any]


class TrialJournal:
    """Ask and tell over one journal file.

    Parameters
    ----------
    path : the journal; made when absent, with the default configuration as trial 0
    space : what is proposed
    """

    def __init__(self, path: Path, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # The driver holds the folder's lock, so a lock of the journal is left from a killed one.
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        self._space = space
        self._study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=_storage(path),
            direction="maximize",
            sampler=build_sampler(space.study, number=0),
            load_if_exists=True,
        )
        self._trials: dict[int, optuna.Trial] = {}
        if not self._study.get_trials(deepcopy=False):
            point = space.default_point
            self._study.enqueue_trial(
                {path: space.parameters[path].encode(value) for path, value in point.items()}
            )

    @property
    def num_proposed(self) -> int:
        """Trials that have been proposed, whatever became of them."""
        return sum(trial.state != TrialState.WAITING for trial in self._frozen())

    @property
    def outcomes(self) -> dict[int, Outcome | None]:
        """What became of each proposed trial; None while it runs, or after a kill."""
        return {
            trial.number: OUTCOME_OF_STATE.get(trial.state)
            for trial in self._frozen()
            if trial.state != TrialState.WAITING
        }

    def ask(self) -> Proposal:
        """Propose the next trial."""
        self._study.sampler = build_sampler(self._space.study, number=self.num_proposed)
        trial = self._study.ask()
        return self._propose(trial)

    def ask_again(self, number: int) -> Proposal:
        """Return the proposal of an unfinished trial, with the parameters it had.

        One that was killed between two of its parameters gets the missing ones now.
        """
        self._study.sampler = build_sampler(self._space.study, number=number)
        # Optuna has no public way back to a running trial; constructing one is what `ask` does.
        frozen = next(trial for trial in self._frozen() if trial.number == number)
        return self._propose(optuna.Trial(self._study, frozen._trial_id))

    def _propose(self, trial: optuna.Trial) -> Proposal:
        self._trials[trial.number] = trial
        return Proposal(number=trial.number, point=self._space.point(trial))

    def report(self, number: int, *, epoch: int, value: float) -> bool:
        """Write the score of an epoch (from 0); return whether the trial should stop.

        The default configuration never stops early. An epoch that is told again, after a kill, is
        not written again.
        """
        trials = self._frozen()
        own = next(trial for trial in trials if trial.number == number)
        if epoch not in own.intermediate_values:
            self._trials[number].report(value, epoch)
        if number == 0:
            return False
        rivals = [
            trial.intermediate_values[epoch]
            for trial in trials
            if trial.number != number and epoch in trial.intermediate_values
        ]
        return is_hopeless(value, rivals, num_epochs=epoch + 1, config=self._space.study.pruner)

    def tell(self, number: int, outcome: Outcome, *, value: float | None = None) -> None:
        """Write how a trial ended; only a complete one has a value."""
        if outcome == "complete":
            self._study.tell(number, value, state=TrialState.COMPLETE)
        else:
            state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state)
        self._trials.pop(number, None)

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def build_sampler(settings: StudySettings, *, number: int) -> BaseSampler:
    """Build the sampler that proposes one trial, seeded by the study's seed and its number.

    A sampler that lives through the study would propose its first points again after a resume.
    The quasi-random one keeps the study's seed: its place in the sequence is in the journal.
    """
    child = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    seed, startup = int(child[0]), settings.startup_trials
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if settings.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        if settings.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        if settings.sampler == "qmc":
            return optuna.samplers.QMCSampler(
                seed=settings.seed, scramble=True, warn_asynchronous_seeding=False
            )
        if settings.sampler == "nsgaii":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def sample_points(space: SearchSpace, number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Draw points at random, as a study would with ``sampler: random``."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    return [space.point(study.ask()) for _ in range(number)]


def importances(study_folder: Path) -> dict[str, float]:
    """Return how much each parameter matters, by config path, the most important first.

    PED-ANOVA (Watanabe et al. 2023) over the complete trials; the values add up to 1. Empty where
    too few trials are complete, or all scored the same.
    """
    path = study_folder / "optuna.journal"
    if not path.is_file():
        raise SearchError(
            f"{study_folder} holds no optuna.journal. Give the folder of a study, such as "
            "studies/quickstart."
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=STUDY_NAME, storage=_storage(path))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: float(value)
            for name, value in optuna.importance.get_param_importances(study).items()
        }


def _storage(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))
