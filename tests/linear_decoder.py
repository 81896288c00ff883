"""A cheap linear decoder of simulated runs, to measure what a truth promises.

Features of a run are parcels: blocks of 25 mm of the scanner's space, the same in all data sets.
``response`` is the percent change with the events, fitted with nilearn's Glover response and a
slow drift; ``mean_image`` the logarithm of the mean intensity relative to the whole brain's. The
model is the floor's own nested logistic regression, on the same folds and with the same score, so
that decoder and floor differ in nothing but what they see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
from nilearn.glm.first_level import make_first_level_design_matrix
from numpy.typing import NDArray
from scipy.stats import binom

from spectrum.config import FoldsConfig, SequencesConfig
from spectrum.data.folds import draw_folds
from spectrum.data.quality import measure_quality, otsu_threshold
from spectrum.data.sequences import build_table
from spectrum.data.simulate import SimulatedRun, SimulationConfig, planned_runs, simulate_run
from spectrum.data.units import Fold, SequenceTable
from spectrum.entities import RunKey
from spectrum.evaluation.audit import FloorRecord, fit_fold_floor, measure_floor
from spectrum.evaluation.dissociation import Dissociation, RunAnswer
from spectrum.evaluation.dissociation_tasks import evaluate_task
from spectrum.evaluation.predictors import Predictors, centre_pairs
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.targets import RunRule, Target

BLOCK_MM = 25.0
EDGES_MM = [np.arange(low, high + 1, BLOCK_MM) for low, high in ((-75, 75), (-105, 70), (-52, 73))]
"""Parcel borders along X, Y and Z; they leave out the rim of the head."""

FEATURES = ("response", "mean_image")


@dataclass(frozen=True)
class SeenRun:
    """What the decoder and the floor need of a run, in the shape of a shard set's run."""

    key: RunKey
    num_volumes: int
    quality: dict[str, float | None]
    parcels: dict[str, NDArray[np.float64]]
    tr_s: float = 2.0
    events: tuple[()] = ()
    image_sha256: str = ""
    voxels_sha256: str = ""
    person: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class SeenRuns:
    """Runs in memory that stand in for a shard set: the floor reads nothing but its manifest."""

    runs: tuple[SeenRun, ...]
    manifest: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "manifest", SimpleNamespace(runs=self.runs))


def see_runs(config: SimulationConfig, targets: Sequence[Target]) -> SeenRuns:
    """Simulate the runs to which one of the targets gives a class, and keep what is seen."""
    keys = [
        key
        for key in planned_runs(config)
        if any(target.class_of(key) is not None for target in targets)
    ]
    return SeenRuns(tuple(see_run(simulate_run(key, config)) for key in keys))


def see_run(run: SimulatedRun) -> SeenRun:
    mean_XYZ = run.data_XYZV.mean(axis=3)
    brain = mean_XYZ > otsu_threshold(mean_XYZ)
    voxel_mm = tuple(np.diag(run.affine)[:3])
    parcels = {
        "response": _parcel_means(100 * _responses(run, brain) / mean_XYZ[brain], brain, run),
        "mean_image": _parcel_means(np.log(mean_XYZ[brain] / mean_XYZ[brain].mean()), brain, run),
    }
    return SeenRun(
        key=run.key,
        num_volumes=run.data_XYZV.shape[3],
        quality=measure_quality(run.data_XYZV, voxel_mm).run,
        parcels=parcels,
    )


def _responses(run: SimulatedRun, brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the coefficient of the events in each brain voxel, (N,)."""
    series_VN = run.data_XYZV[brain].T.astype(np.float64)
    design = _design(run.events, len(series_VN), run.tr_s)
    return np.linalg.lstsq(design, series_VN, rcond=None)[0][0]


def _design(events: str, num_volumes: int, tr_s: float) -> NDArray[np.float64]:
    rows = [line.split("\t")[:3] for line in events.splitlines()[1:]]
    shown = [(float(onset), float(length)) for onset, length, kind in rows if kind != "n/a"]
    table = pd.DataFrame(shown, columns=["onset", "duration"]).assign(trial_type="event")
    design = make_first_level_design_matrix(
        np.arange(num_volumes) * tr_s, table, hrf_model="glover", high_pass=1 / 128
    )
    return design.to_numpy()


def _parcel_means(
    values_N: NDArray[np.float64], brain: NDArray[np.bool_], run: SimulatedRun
) -> NDArray[np.float64]:
    """Return the mean of each parcel over its brain voxels, NaN where it has none."""
    number_XYZ, num_parcels = _parcel_numbers(brain.shape, tuple(np.asarray(run.affine).ravel()))
    numbers = number_XYZ[brain]
    inside = numbers >= 0
    counts = np.bincount(numbers[inside], minlength=num_parcels)
    sums = np.bincount(numbers[inside], weights=values_N[inside], minlength=num_parcels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@lru_cache(maxsize=64)
def _parcel_numbers(
    shape: tuple[int, int, int], affine: tuple[float, ...]
) -> tuple[NDArray[np.int64], int]:
    matrix = np.array(affine).reshape(4, 4)
    places = []
    for axis, edges in enumerate(EDGES_MM):
        centres_mm = matrix[axis, 3] + matrix[axis, axis] * np.arange(shape[axis])
        place = np.searchsorted(edges, centres_mm, side="right") - 1
        places.append(np.where(place < len(edges) - 1, place, -1))
    sizes = [len(edges) - 1 for edges in EDGES_MM]
    x, y, z = np.ix_(*places)
    number = (x * sizes[1] + y) * sizes[2] + z
    return np.where((x >= 0) & (y >= 0) & (z >= 0), number, -1), int(np.prod(sizes))


@dataclass(frozen=True)
class Question:
    """Runs, the target asked of them, and the folds."""

    seen: SeenRuns
    target: Target
    scheme: str
    num_folds: int = 5
    relabelled_table: SequenceTable | None = None

    def relabelled(self, table: SequenceTable) -> Question:
        """Return the same question about other classes of the units."""
        return replace(self, relabelled_table=table)

    @cached_property
    def table(self) -> SequenceTable:
        if self.relabelled_table is not None:
            return self.relabelled_table
        return build_table(self.seen.runs, self.target, SequencesConfig())  # type: ignore[arg-type]

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        config = FoldsConfig.model_validate({"scheme": self.scheme, "num_folds": self.num_folds})
        return draw_folds(self.table, config, paired=self.target.paired)

    def score(self, feature: str) -> ScoreRecord:
        """Score the decoder of one kind of feature."""
        table = self.table
        predictors = parcels_of(self.seen, table, feature)
        predictions = [
            prediction
            for fold in self.folds
            for prediction in _predict(self, predictors, table, fold)
        ]
        return score_predictions(predictions, classes=table.classes, paired=self.target.paired)

    def floor(self) -> FloorRecord:
        """Measure the floor of the same question."""
        return measure_floor(
            self.seen,  # type: ignore[arg-type]
            self.table,
            self.folds,
            target=self.target,
            scheme=self.scheme,
        )


def parcels_of(seen: SeenRuns, table: SequenceTable, feature: str) -> Predictors:
    """Return the parcels of each unit of a table; those that a unit lacks are NaN."""
    values = np.array([seen.runs[unit.run_index].parcels[feature] for unit in table.units])
    return Predictors(names=tuple(f"{i}" for i in range(values.shape[1])), values=values)


def _predict(
    question: Question, predictors: Predictors, table: SequenceTable, fold: Fold
) -> Iterator[Prediction]:
    paired = question.target.paired
    model = fit_fold_floor(predictors, table, fold, paired=paired, scheme=question.scheme)
    units = [table.units[row] for row in fold.validation]
    held_out = Predictors(names=predictors.names, values=predictors.values[list(fold.validation)])
    if paired:
        held_out = centre_pairs(held_out, units)
    for unit, shares in zip(units, model.probabilities(held_out.values), strict=True):
        full = np.zeros(len(table.classes))
        full[list(model.classes)] = shares
        yield unit.predicted(full.tolist(), classes=table.classes, fold=fold.name)


REVERSAL_CHECK = Target(
    name="reversal_check",
    description="Reversal run 1, early in learning and late in the session, and the run before",
    classes=("early", "late"),
    paired=True,
    rules=(
        RunRule(
            dataset="ds000052",
            task="reversalweatherprediction",
            run=1,
            class_name="early",
            source="Learning begins anew",
        ),
        RunRule(
            dataset="ds000052",
            task="weatherprediction",
            run=2,
            class_name="late",
            source="The run before",
        ),
    ),
)
"""Right where reversal run 1 is called earlier than weather run 2: as learning has it."""


def score_reversal(seen: SeenRuns, target: Target, feature: str) -> ScoreRecord:
    """Train on the early and late runs of the other data sets, ask about reversal run 1.

    A score near 1 says that the decoder follows learning, near 0 that it follows the clock.
    """
    asked, shares = _ask_reversal(seen, target, feature)
    predictions = [
        unit.predicted(row.tolist(), classes=asked.classes, fold=unit.key.group)
        for unit, row in zip(asked.units, shares, strict=True)
    ]
    return score_predictions(predictions, classes=asked.classes, paired=True)


def dissociate_reversal(seen: SeenRuns, target: Target, feature: str) -> Dissociation:
    """Ask the same, and judge it as ``spectrum evaluate`` judges a network's answers."""
    asked, shares = _ask_reversal(seen, target, feature)
    answers = [
        RunAnswer(key=unit.key, late=float(row[1]))
        for unit, row in zip(asked.units, shares, strict=True)
    ]
    told = evaluate_task("reversal", answers)
    assert isinstance(told, Dissociation)
    return told


def _ask_reversal(
    seen: SeenRuns, target: Target, feature: str
) -> tuple[SequenceTable, NDArray[np.float64]]:
    training = Question(seen, target, "leave-one-dataset-out")
    table = training.table
    fold = next(fold for fold in training.folds if fold.held_out == "ds000052")
    model = fit_fold_floor(
        parcels_of(seen, table, feature), table, fold, paired=True, scheme=training.scheme
    )
    asked = Question(seen, REVERSAL_CHECK, "leave-one-subject-out").table
    units = [replace(unit, pair=unit.key.group) for unit in asked.units]
    values = centre_pairs(parcels_of(seen, asked, feature), units).values
    return replace(asked, units=tuple(units)), model.probabilities(values)


def binomial_interval(num_draws: int, rate: float) -> tuple[int, int]:
    """Return the central 95 % of counts of a binomial draw."""
    low, high = binom.interval(0.95, num_draws, rate)
    return int(low), int(high)
