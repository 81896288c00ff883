"""The ladder of baselines: from a guess to a small network, on the folds that a model gets.

Every rung is fitted inside each fold alone, tuned on inner folds that keep groups whole, and
scored with the same score, beside chance and floor. Not here: the rungs themselves (``rungs``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import FoldsConfig, SequencesConfig
from spectrum.data.folds import check_folds, draw_folds, plan_folds
from spectrum.data.sequences import stream_sequences
from spectrum.data.units import Fold, SequenceTable
from spectrum.errors import ConfigError, LeakageError, TargetError
from spectrum.evaluation.exchange import exchange_of_table
from spectrum.evaluation.permutation import (
    PermutationResult,
    permute_sequentially,
    relabel_table,
)
from spectrum.evaluation.rungs.guesses import Dummy, Floor
from spectrum.evaluation.rungs.linear import ParcelLogistic, ResponseSvm
from spectrum.evaluation.rungs.networks import ParcelMlp, VolumeCnn
from spectrum.evaluation.rungs.question import Question, Rung
from spectrum.evaluation.statistics import Comparison, compare_predictions
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.targets import Target

if TYPE_CHECKING:
    from spectrum.data.seals import Seal
    from spectrum.data.shards import ShardSet

__all__ = [
    "LINEAR",
    "RUNGS",
    "Ladder",
    "RungRecord",
    "build_rungs",
    "climb",
    "permute_rung",
    "run_ladder",
]

DrawFolds = Callable[[SequenceTable], Sequence[Fold]]

RUNGS: Final = ("dummy", "floor", "parcels", "glm", "mlp", "cnn")
LINEAR: Final = RUNGS[:4]
"""Rungs without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRecord:
    """A rung's score.

    ``chosen`` is by fold; ``above_floor`` is None for the floor and below; ``permutation`` is of
    the whole fit repeated, None where it was not asked for.
    """

    name: str
    about: str
    score: ScoreRecord
    seconds: float
    chosen: Mapping[str, Mapping[str, float]]
    above_floor: Comparison | None
    permutation: PermutationResult | None
    predictions: tuple[Prediction, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON without the predictions."""
        return {
            "name": self.name,
            "about": self.about,
            "score": self.score.value,
            "ci95": list(self.score.ci95),
            "p": self.score.p,
            "test": self.score.test,
            "seconds": round(self.seconds, 3),
            "chosen": {fold: dict(found) for fold, found in self.chosen.items()},
            "above_floor": self.above_floor and asdict(self.above_floor),
            "permutation": self.permutation and asdict(self.permutation),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All rungs that could be asked, the reasons of the others, and what to know besides."""

    target: str
    scheme: str
    rungs: tuple[RungRecord, ...]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``spectrum baselines --json`` prints."""
        floor = next((rung for rung in self.rungs if rung.name == "floor"), None)
        first = self.rungs[0].score
        return {
            "target": self.target,
            "scheme": self.scheme,
            "chance": first.chance,
            "num_units": first.num_units,
            "num_groups": first.num_groups,
            "floor": floor
            and {"score": floor.score.value, "ci95": list(floor.score.ci95), "p": floor.score.p},
            "rungs": [rung.to_json() for rung in self.rungs],
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
        }


def run_ladder(  # noqa: PLR0913 - what a ladder is asked for, one name each
    shards: ShardSet,
    target: Target,
    folds_config: FoldsConfig,
    sequences: SequencesConfig,
    *,
    names: Sequence[str] = RUNGS,
    num_permutations: int = 0,
    seal: Seal | None = None,
    folds: Sequence[Fold] | None = None,
    keep_going: bool = False,
    on_fold_done: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Ladder:
    """Fit and score the rungs of a shard set.

    Parameters
    ----------
    shards : its volumes are read run by run
    target : its classes
    folds_config : the scheme
    sequences : how runs are cut for networks and events
    names : rungs, in any order; the floor is always among them
    num_permutations : refits of each linear rung above the floor with classes permuted, at most
    seal : of a study whose sealed people must not be among the runs; None checks nothing
    folds : drawn before, of the same runs, target and sequences; None draws them by the scheme
    keep_going : a rung that fails is skipped with its cause, and ends nothing
    on_fold_done : told folds done and folds in all, of all rungs
    clock : seconds, for the time of each rung

    Raises
    ------
    ConfigError
        A name is no rung.
    LeakageError
        A sealed person is among the runs.
    TargetError
        The scheme has no scorable fold for this target.
    DataError
        ``no-permutation`` where permutations are asked for and no class can move.
    """
    rungs = build_rungs(names)
    if seal is not None:
        seal.check(shards.manifest.runs)
    read = stream_sequences(shards, target, sequences.model_copy(update={"plane": "axial"}))
    if num_permutations:
        exchange_of_table(read.table)
    notes: tuple[str, ...] = ()
    if folds is None:
        plan = plan_folds(read.table, folds_config, paired=target.paired)
        folds, notes = plan.folds, plan.notes
    check_folds(folds, read.table, folds_config)
    question = Question(
        runs=shards,
        sequences=read,
        recipe=shards.manifest.recipe,
        paired=target.paired,
        scheme=folds_config.scheme,
    )
    ladder = climb(
        rungs,
        question,
        folds,
        target=target,
        notes=notes,
        keep_going=keep_going,
        on_fold_done=on_fold_done,
        clock=clock,
    )

    def draw_again(table: SequenceTable) -> Sequence[Fold]:
        return draw_folds(table, folds_config, paired=target.paired)

    return _permuted(ladder, rungs, question, draw_again, num_permutations)


def _permuted(
    ladder: Ladder,
    rungs: Sequence[Rung],
    question: Question,
    draw: DrawFolds,
    num_permutations: int,
) -> Ladder:
    if not num_permutations:
        return ladder
    rung_of = {rung.name: rung for rung in rungs if rung.name in LINEAR[2:]}
    records = [
        replace(
            record,
            permutation=permute_rung(
                rung_of[record.name], question, draw, num_permutations=num_permutations
            ),
        )
        if record.name in rung_of
        else record
        for record in ladder.rungs
    ]
    return replace(ladder, rungs=tuple(records))


def permute_rung(
    rung: Rung, question: Question, draw: DrawFolds, *, num_permutations: int, seed: int = 0
) -> PermutationResult:
    """Test a rung by repeating its whole fit with classes permuted (``exchange``).

    Everything is repeated: folds, parcels, tuning, fit. Stops once enough null scores have
    reached the observed one.

    Parameters
    ----------
    rung : any
    question : its true classes
    draw : the folds of a table with its classes, those that can be scored
    num_permutations : at most
    seed : of the permutations

    Raises
    ------
    DataError
        ``no-permutation`` where no class can move.
    """

    def score_of(labels: NDArray[np.int64]) -> float:
        table = relabel_table(question.table, labels)
        asked = replace(question, sequences=replace(question.sequences, table=table))
        return _score_again(rung, asked, draw)

    return permute_sequentially(
        score_of,
        exchange_of_table(question.table),
        num_permutations=num_permutations,
        seed=seed,
    )


def _score_again(rung: Rung, asked: Question, draw: DrawFolds) -> float:
    """Return the score of a whole fit; chance where the classes leave no fold to score."""
    try:
        folds = draw(asked.table)
    except TargetError:
        return 1 / len(asked.table.classes)
    predictions = [
        prediction
        for fold in folds
        for prediction in _predict(
            rung.fit(asked, fold).probabilities(list(fold.validation)), asked, fold
        )
    ]
    return score_predictions(
        predictions, classes=asked.table.classes, paired=asked.paired, num_resamples=1
    ).value


def build_rungs(names: Sequence[str]) -> tuple[Rung, ...]:
    """Return new rungs of some names in the ladder's order, the floor always among them."""
    unknown = [name for name in names if name not in RUNGS]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no rung. Expected some of {', '.join(RUNGS)}.")
    every: tuple[Rung, ...] = (
        Dummy(),
        Floor(),
        ParcelLogistic(),
        ResponseSvm(),
        ParcelMlp(),
        VolumeCnn(),
    )
    return tuple(rung for rung in every if rung.name in {"floor", *names})


def climb(  # noqa: PLR0913 - what a ladder is asked for, one name each
    rungs: Sequence[Rung],
    question: Question,
    folds: Sequence[Fold],
    *,
    target: Target,
    notes: Sequence[str] = (),
    keep_going: bool = False,
    on_fold_done: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Ladder:
    """Fit each rung on each fold and score what it says of the held-out side.

    With ``keep_going`` a rung that fails is skipped with its cause; a leak between the sides of a
    fold ends the ladder all the same.
    """
    skipped = {rung.name: rung.obstacle(question) for rung in rungs}
    asked = [rung for rung in rungs if not skipped[rung.name]]
    records: list[RungRecord] = []
    tell = on_fold_done or (lambda done, total: None)
    for place, rung in enumerate(asked):
        begin, chosen, predictions = clock(), {}, []
        try:
            for fold in folds:
                fitted = rung.fit(question, fold)
                chosen[fold.name] = fitted.chosen
                predictions += _predict(
                    fitted.probabilities(list(fold.validation)), question, fold
                )
                tell(place * len(folds) + len(chosen), len(asked) * len(folds))
        except Exception as err:
            if isinstance(err, LeakageError) or not keep_going:
                raise
            skipped[rung.name] = f"it failed ({type(err).__name__}: {err})"
            continue
        records.append(_record(rung, predictions, chosen, clock() - begin, question, records))
    return Ladder(
        target=target.name,
        scheme=question.scheme,
        rungs=tuple(records),
        skipped={name: reason for name, reason in skipped.items() if reason},
        notes=tuple(notes),
    )


def _predict(shares: Any, question: Question, fold: Fold) -> list[Prediction]:
    classes = question.table.classes
    full = np.zeros((len(fold.validation), len(classes)))
    full[:, list(fold.classes)] = shares
    return [
        unit.predicted(row.tolist(), classes=classes, fold=fold.name)
        for unit, row in zip(question.units(fold.validation), full, strict=True)
    ]


def _record(
    rung: Rung,
    predictions: Sequence[Prediction],
    chosen: Mapping[str, Mapping[str, float]],
    seconds: float,
    question: Question,
    before: Sequence[RungRecord],
) -> RungRecord:
    classes = question.table.classes
    floor = next((record for record in before if record.name == "floor"), None)
    return RungRecord(
        name=rung.name,
        about=rung.about,
        score=score_predictions(predictions, classes=classes, paired=question.paired),
        seconds=seconds,
        chosen=chosen,
        above_floor=None
        if floor is None
        else compare_predictions(
            predictions, floor.predictions, classes=classes, paired=question.paired
        ),
        permutation=None,
        predictions=tuple(predictions),
    )
