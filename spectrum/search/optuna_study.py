"""The journal of a study: one Optuna study in a file, owned by one driver, with ask and tell.

Every proposal is a function of the study's seed, the trial's number and the journal alone, so a
resumed study proposes what the undisturbed one would. Not here: Ray (``study``), and the other
files of a study (``folder``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from spectrum.config import fingerprint
from spectrum.errors import SearchError
from spectrum.search.first_points import FirstTrials, ToldTrial
from spectrum.search.objectives import HIGHER_IS_BETTER
from spectrum.search.pruning import bracket_of, is_hopeless, rules_of
from spectrum.search.regret import regret_bound
from spectrum.search.space import SearchSpace

__all__ = ["STUDY_NAME", "Outcome", "Proposal", "TrialJournal", "sample_points", "storage_of"]

Outcome = Literal["complete", "pruned", "failed"]
"""How a trial ended."""

STUDY_NAME: Final = "spectrum"
"""Name inside the journal; the folder names the study."""

TOLD_FROM: Final = "told from"
"""Attribute of a trial that another study ran: which one."""

SCORE_AT: Final = "score at "
"""Start of the attributes that hold the scores of the epochs in a study of several objectives."""

OUTCOME_OF_STATE: Final[dict[TrialState, Outcome]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial to run: its number in the study, and the value of each active parameter by path.

    ``asked`` is the digest of what the journal holds of the parameters.
    """

    number: int
    point: Mapping[str, Any]
    asked: str = ""


class TrialJournal:
    """Ask and tell over one journal file.

    Parameters
    ----------
    path : the journal; made when absent, with the default configuration as trial 0
    space : what is proposed
    first : called where the journal is made, for points that run after the default and trials told

    Raises
    ------
    SearchError
        Where the file is no journal of a study, or damaged.
    """

    def __init__(
        self, path: Path, space: SearchSpace, first: Callable[[], FirstTrials] = FirstTrials
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # The driver holds the folder's lock, so a lock of the journal is left from a killed one.
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        self._space, self._objectives = space, space.study.objectives
        self._trials: dict[int, optuna.Trial] = {}
        self.notes: tuple[str, ...] = ()
        if path.exists() and not path.is_file():
            raise SearchError(f"{path} is no file. Remove it, or search under another name.")
        is_begun = path.is_file() and path.stat().st_size > 0
        try:
            self._study = self._open(path, must_exist=is_begun)
            self._scores = {t.number: _scores_in(t) for t in self._frozen() if not _is_told(t)}
        except Exception as err:
            raise SearchError(
                f"{path} is damaged, or no journal of a study: {type(err).__name__}: {err}. "
                "Restore the file, or search under another name."
            ) from err
        if not self._study.user_attrs.get("begun"):
            self._begin(first())

    def _open(self, path: Path, *, must_exist: bool) -> optuna.Study:
        sampler = build_sampler(self._space, number=0)
        ways = [_way(HIGHER_IS_BETTER[name]) for name in self._objectives]
        if not must_exist:
            return optuna.create_study(
                study_name=STUDY_NAME, storage=storage_of(path), directions=ways, sampler=sampler
            )
        study = optuna.load_study(study_name=STUDY_NAME, storage=storage_of(path), sampler=sampler)
        found = [direction.name.lower() for direction in study.directions]
        if ways != found:
            raise ValueError(f"its objectives are to be {found}, those of the study {ways}")
        return study

    def _begin(self, first: FirstTrials) -> None:
        """Write what comes before the first proposal, as far as a kill has not let it be."""
        known, self.notes = self._frozen(), first.notes
        points = [self._space.default_point, *first.points]
        for point in points[len([trial for trial in known if not _is_told(trial)]) :]:
            self._study.enqueue_trial(self._encoded(point))
        for told in first.told[len([trial for trial in known if _is_told(trial)]) :]:
            self._study.add_trial(self._frozen_of(told))
        self._study.set_user_attr("begun", True)

    def _encoded(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {path: self._space.parameters[path].encode(value) for path, value in point.items()}

    def _frozen_of(self, told: ToldTrial) -> FrozenTrial:
        recorder = _Recorder(self._encoded(told.point))
        for path in told.point:
            self._space.parameters[path].suggest(path, recorder)
        return optuna.trial.create_trial(
            values=list(told.values),
            params=recorder.params,
            distributions=recorder.distributions,
            user_attrs={TOLD_FROM: told.source},
        )

    @property
    def num_proposed(self) -> int:
        """Trials that have been proposed, whatever became of them."""
        return len(self.outcomes)

    @property
    def outcomes(self) -> dict[int, Outcome | None]:
        """What became of each proposed trial; None while it runs, or after a kill."""
        return {
            trial.number: OUTCOME_OF_STATE.get(trial.state)
            for trial in self._frozen()
            if trial.state != TrialState.WAITING and not _is_told(trial)
        }

    def ask(self) -> Proposal:
        """Propose the next trial."""
        before, number = self._study.sampler, self.num_proposed
        self._study.sampler = build_sampler(self._space, number=number, before=before)
        trial = self._study.ask()
        return self._propose(trial)

    def ask_again(self, number: int) -> Proposal:
        """Return the proposal of an unfinished trial, with the parameters it had.

        One that was killed between two of its parameters gets the missing ones now.
        """
        self._study.sampler = build_sampler(self._space, number=number)
        # Optuna has no public way back to a running trial; constructing one is what `ask` does.
        frozen = self._frozen()[number]
        return self._propose(optuna.Trial(self._study, frozen._trial_id))

    def _propose(self, trial: optuna.Trial) -> Proposal:
        self._trials[trial.number] = trial
        point = self._space.point(trial)
        return Proposal(number=trial.number, point=point, asked=_digest(trial.params))

    def went_past(self, number: int, epoch: int) -> bool:
        """Return whether a trial has told of a later epoch, so that it was not stopped at this."""
        return any(told > epoch for told in self._scores.get(number, {}))

    def report(self, number: int, *, epoch: int, value: float) -> bool:
        """Write the score of an epoch (from 0); return whether the trial should stop.

        The default configuration never stops early. An epoch that is told again, after a kill, is
        not written again.
        """
        own = self._scores.setdefault(number, {})
        if epoch not in own:
            own[epoch] = value
            self._write_score(number, epoch, value)
        if number == 0:
            return False
        pruner = self._space.study.pruner
        rivals = [
            scores[epoch]
            for other, scores in self._scores.items()
            if other != number
            and epoch in scores
            and bracket_of(other, pruner) == bracket_of(number, pruner)
        ]
        return is_hopeless(value, rivals, num_epochs=epoch + 1, config=rules_of(number, pruner))

    def _write_score(self, number: int, epoch: int, value: float) -> None:
        if len(self._objectives) == 1:
            self._trials[number].report(value, epoch)
        else:
            # Optuna takes no reports in a study of several objectives.
            self._trials[number].set_user_attr(f"{SCORE_AT}{epoch}", value)

    def tell(
        self, number: int, outcome: Outcome, *, values: Sequence[float] | None = None
    ) -> None:
        """Write how a trial ended; only a complete one has values, one for each objective."""
        if outcome == "complete":
            self._study.tell(number, list(values or ()), state=TrialState.COMPLETE)
        else:
            state = TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state)
        self._trials.pop(number, None)

    def values_in(self, line: Mapping[str, Any]) -> tuple[float, ...] | None:
        """Return the objectives that a line tells, in the study's order; None without a score."""
        if line["state"] != "complete":
            return None
        of_line = {"score": line["value"], **(line.get("objectives") or {})}
        return tuple(float(of_line[name]) for name in self._objectives)

    def regret_bound(self) -> float | None:
        """Return ``regret.regret_bound`` of the trials so far; None with several objectives."""
        if len(self._objectives) > 1:
            return None
        return regret_bound(self._frozen(), seed=self._space.study.seed)

    def difference(self, number: int, line: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return what the journal says of an ended trial and what a line does, where they differ.

        The journal must hold the outcome of the trial.
        """
        trial = self._frozen()[number]
        state = OUTCOME_OF_STATE[trial.state]
        if state != line["state"]:
            return f"that it is {state}", f"that it is {line['state']}"
        wanted = self.values_in(line)
        if wanted is not None and tuple(trial.values) != wanted:
            return f"{list(trial.values)}", f"{list(wanted)}"
        if line.get("asked") and line["asked"] != _digest(trial.params):
            return f"that it has {trial.params}", f"that it has {dict(line['params'])}"
        return None

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


class _Recorder:
    """Answers a parameter with a known value, and keeps how it was asked."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._keep(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return int(self._keep(name, IntDistribution(low, high, step=step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._keep(name, FloatDistribution(low, high, step=step, log=log)))

    def _keep(self, name: str, distribution: BaseDistribution) -> Any:
        self.distributions[name] = distribution
        self.params[name] = self._values[name]
        return self.params[name]


def _way(higher_is_better: bool) -> Literal["maximize", "minimize"]:
    return "maximize" if higher_is_better else "minimize"


def _is_told(trial: FrozenTrial) -> bool:
    return TOLD_FROM in trial.user_attrs


def _scores_in(trial: FrozenTrial) -> dict[int, float]:
    told = {
        int(name.removeprefix(SCORE_AT)): float(value)
        for name, value in trial.user_attrs.items()
        if name.startswith(SCORE_AT)
    }
    return {**trial.intermediate_values, **told}


def _digest(params: Mapping[str, Any]) -> str:
    return fingerprint(dict(params))[:16]


def build_sampler(
    space: SearchSpace, *, number: int, before: BaseSampler | None = None
) -> BaseSampler:
    """Build the sampler that proposes one trial, seeded by the study's seed and its number.

    A sampler that lives through the study would propose its first points again after a resume.
    The quasi-random one keeps the study's seed, as its place in the sequence is in the journal;
    what it leaves to chance, such as parameters with conditions, has a seed of its own each time.

    Parameters
    ----------
    before : sampler of an earlier proposal of this journal
        What it has gathered of the finished trials is taken over, so that a proposal need not go
        through all of them again; it is a function of the journal and changes no proposal.
    """
    settings = space.study
    child = np.random.SeedSequence([settings.seed, number]).generate_state(1)
    seed, startup = int(child[0]), settings.startup_trials
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if settings.sampler == "tpe":
            return _build_tpe(space, seed, before)
        if settings.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        if settings.sampler == "qmc":
            return optuna.samplers.QMCSampler(
                seed=settings.seed,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            )
        if settings.sampler == "nsgaii":
            return optuna.samplers.NSGAIISampler(seed=seed)
        if settings.sampler == "nsgaiii":
            return optuna.samplers.NSGAIIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def _build_tpe(space: SearchSpace, seed: int, before: BaseSampler | None) -> BaseSampler:
    """Build TPE over all parameters together; where some have conditions, in groups.

    Running trials count as bad ones (constant liar), so that trials at a time do not repeat each
    other.
    """
    is_conditional = any(parameter.when for parameter in space.parameters.values())
    sampler = optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=space.study.startup_trials,
        multivariate=True,
        group=is_conditional,
        constant_liar=True,
    )
    if isinstance(before, optuna.samplers.TPESampler):
        for name in ("_search_space", "_group_decomposed_search_space"):
            setattr(sampler, name, getattr(before, name))
    return sampler


def sample_points(space: SearchSpace, number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Draw points at random, as a study would with ``sampler: random``."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    return [space.point(study.ask()) for _ in range(number)]


def storage_of(path: Path) -> JournalStorage:
    """Return the storage of a study's journal."""
    return JournalStorage(JournalFileBackend(str(path)))
