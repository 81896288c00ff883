"""The audit of one target under one scheme, before any training: what a score on it can mean.

Gathers what the other files of this room measure and says it in one line. Not here: the floor
itself (``audit``), and where runs and numbers come from (``sources``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from spectrum.config import FoldsConfig, SequencesConfig
from spectrum.data.folds import check_folds, plan_folds
from spectrum.data.sequences import build_table
from spectrum.data.units import Fold, SequenceTable
from spectrum.evaluation.audit import FloorRecord, measure_floor, predict_from_numbers
from spectrum.evaluation.copies import Copy, find_copies_across
from spectrum.evaluation.design import Direction, look_up, pair_directions
from spectrum.evaluation.masks import mask_predictors
from spectrum.evaluation.power import Power, measure_power
from spectrum.evaluation.predictors import Predictors, acquisition_predictors, design_values
from spectrum.evaluation.sources import Source
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.targets import Target

__all__ = ["TargetAudit", "audit_target", "verdict_line"]

WORDS: Final = {"dataset": "data set", "task": "task", "session": "session", "run": "run number"}

ONE_VOLUME: Final = SequencesConfig(num_volumes=1, stride=1)
"""Cut of runs whose length nobody may know; the numbers of a run do not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAudit:
    """What the audit found.

    ``design`` is the score of the most frequent class of each value of a design predictor.
    ``mask`` holds, for shard sets, the score of each number of the brain masks, and
    ``floor_with_mask`` that of the floor's model with all of them; they belong to one recipe and
    are no part of the floor. ``directions`` are of paired targets. ``power`` is keyed by "all" and
    by what each fold holds out, where folds are data sets.
    """

    floor: FloorRecord
    design: Mapping[str, ScoreRecord]
    mask: Mapping[str, ScoreRecord]
    floor_with_mask: ScoreRecord | None
    directions: Mapping[str, Direction]
    copies: tuple[Copy, ...]
    power: Mapping[str, Power]
    missing: tuple[str, ...]
    source: Literal["shards", "tables"]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One line: whether a score can be read, and against what."""
        return verdict_line(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: the floor's, with the design scores of this audit and the rest."""
        floor = self.floor.to_json()
        design = {
            name: {
                "score": score.value,
                "ci95": list(score.ci95),
                "defines_target": floor["design"][name]["defines_target"],
                "balanced_score": floor["design"][name]["score"],
            }
            for name, score in self.design.items()
        }
        if "onset_s" in floor["design"]:
            design["onset_s"] = floor["design"]["onset_s"]
        return {
            **floor,
            "design": design,
            "dataset": {"value": design["dataset"]["score"], **design["dataset"]},
            "mask": {name: _score_json(score) for name, score in self.mask.items()},
            "floor_with_mask": self.floor_with_mask and _score_json(self.floor_with_mask),
            "directions": {
                name: {**asdict(found), "share_higher": found.share_higher}
                for name, found in self.directions.items()
            },
            "duplicates": [asdict(copy) for copy in self.copies],
            "power": {name: asdict(power) for name, power in self.power.items()},
            "missing": list(self.missing),
            "source": self.source,
            "notes": list(self.notes),
            "verdict": self.verdict,
            "floor_verdict": floor["verdict"],
        }


def audit_target(
    source: Source,
    target: Target,
    folds_config: FoldsConfig,
    sequences: SequencesConfig | None = None,
    *,
    num_simulations: int = 100,
) -> TargetAudit:
    """Audit one target under one scheme.

    Parameters
    ----------
    source : runs with their numbers
    target : its classes
    folds_config : the scheme
    sequences : cut of a shard set's runs; None takes the default
        Of BIDS trees single volumes are taken, as their length may be unknown.
    num_simulations : of each accuracy, for the power

    Raises
    ------
    TargetError
        Where no run has a class, or the scheme has no scorable fold.
    """
    runs = source.runs
    cut = (sequences or SequencesConfig()) if source.shards is not None else ONE_VOLUME
    table = build_table(runs.manifest.runs, target, cut)  # type: ignore[arg-type]
    plan = plan_folds(table, folds_config, paired=target.paired)
    if source.shards is not None:
        check_folds(plan.folds, table, folds_config)
    question = _Question(table, plan.folds, target, folds_config.scheme)
    floor = measure_floor(runs, table, plan.folds, target=target, scheme=folds_config.scheme)
    predictors = acquisition_predictors(runs, table)
    mask, with_mask = _measure_mask(source, question, predictors)
    return TargetAudit(
        floor=floor,
        design=question.design_scores(),
        mask=mask,
        floor_with_mask=with_mask,
        directions=pair_directions(predictors, table) if target.paired else {},
        copies=find_copies_across(runs, table, plan.folds, predictors),
        power=question.power(num_simulations),
        missing=source.missing,
        source="tables" if source.shards is None else "shards",
        notes=(*source.notes, *plan.notes, *_mask_note(source, mask)),
    )


@dataclass(frozen=True, slots=True)
class _Question:
    table: SequenceTable
    folds: tuple[Fold, ...]
    target: Target
    scheme: str

    def score(self, predictions: Sequence[Prediction]) -> ScoreRecord:
        return score_predictions(
            predictions, classes=self.table.classes, paired=self.target.paired
        )

    def score_numbers(self, predictors: Predictors) -> ScoreRecord:
        return self.score(
            predict_from_numbers(
                predictors, self.table, self.folds, target=self.target, scheme=self.scheme
            )
        )

    def design_scores(self) -> dict[str, ScoreRecord]:
        return {
            name: self.score(look_up(values, self.table, self.folds))
            for name, values in design_values(self.table).items()
        }

    def power(self, num_simulations: int) -> dict[str, Power]:
        asked = {"all": self.folds}
        if self.scheme == "leave-one-dataset-out":
            asked |= {fold.held_out: (fold,) for fold in self.folds}
        return {
            name: measure_power(
                self.table, folds, paired=self.target.paired, num_simulations=num_simulations
            )
            for name, folds in asked.items()
        }


def _measure_mask(
    source: Source, question: _Question, predictors: Predictors
) -> tuple[dict[str, ScoreRecord], ScoreRecord | None]:
    if source.shards is None:
        return {}, None
    mask = mask_predictors(source.shards, question.table)
    if not mask.names:
        return {}, None
    together = predictors.joined(mask)
    alone = {name: question.score_numbers(mask.only(name)) for name in mask.names}
    return alone, question.score_numbers(together)


def _mask_note(source: Source, mask: Mapping[str, ScoreRecord]) -> tuple[str, ...]:
    if source.shards is None:
        return (
            "Brain masks were not seen: size and shape of a run's mask may carry what its "
            "brightness carries. Audit a shard set (spectrum prepare) to measure them.",
        )
    if not mask:
        return ("The recipe has no brain mask, or one that holds every voxel.",)
    return ()


def verdict_line(audit: TargetAudit) -> str:
    """Say in one line whether a score on the target can be read, and against what.

    Not interpretable: an image stands on both sides of a fold, or a design predictor that does
    not define the target tells its classes. Interpretable above the floor: acquisition numbers
    do. A predictor that defines the target is named, as no score can tell the two apart.
    """
    floor = audit.floor
    told = _obstacle(audit) or _floor_sentence(floor)
    name = f"`{floor.target}`, {floor.scheme}"
    return f"{name}: {told}{_definition(floor)}{_power_sentence(audit)}"


def _obstacle(audit: TargetAudit) -> str:
    straddling = [copy for copy in audit.copies if copy.folds]
    if straddling:
        return (
            f"not interpretable: {len(straddling)} image(s) stand on both sides of a fold under "
            f"several names, first {' and '.join(straddling[0].runs[:2])}"
        )
    telling = {
        WORDS[name]: score.value
        for name, score in audit.design.items()
        if name in WORDS
        and not audit.floor.design[name].defines_target
        and score.ci95[0] > audit.floor.chance
    }
    onset = audit.floor.design.get("onset_s")
    if onset is not None and onset.ci95[0] > audit.floor.chance:
        telling["onset within the run"] = onset.score
    if not telling:
        return ""
    (first, value), *others = telling.items()
    more = "".join(f", {name} {score:.2f}" for name, score in others)
    return (
        f"not interpretable: {first} alone scores {value:.2f}{more} "
        f"(chance {audit.floor.chance:.2f})"
    )


def _floor_sentence(floor: FloorRecord) -> str:
    low, high = floor.floor.ci95
    found = f"{floor.floor.value:.2f} [{low:.2f}, {high:.2f}]"
    if floor.is_above_chance:
        return (
            f"interpretable only above the floor: acquisition numbers alone score {found} "
            f"(chance {floor.chance:.2f})"
        )
    return f"interpretable: the floor, {found}, is not above chance ({floor.chance:.2f})"


def _definition(floor: FloorRecord) -> str:
    alone = [name for name in WORDS if name in floor.design and floor.design[name].defines_target]
    if alone:
        names = " and ".join(WORDS[name] for name in alone)
        verb = "defines" if len(alone) == 1 else "define"
        return f"; {names} {verb} the target, and only a dissociation tells them apart"
    if floor.design["dataset+task+run"].defines_target:
        return "; data set, task and run together define the target"
    return ""


def _power_sentence(audit: TargetAudit) -> str:
    power = audit.power["all"]
    if power.smallest is None:
        return f"; {power.num_subjects} subjects are too few for any accuracy to have 80 % power"
    above = power.smallest_above_floor
    both = "" if above is None else f", {above:.2f} to be above a floor that guesses too"
    return f"; 80 % power from an accuracy of {power.smallest:.2f}{both}"


def _score_json(score: ScoreRecord) -> dict[str, Any]:
    return {"score": score.value, **score.to_json()}
