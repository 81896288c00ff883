"""The statement of a study: what was tested, how often it was looked at, and what may be claimed.

Facts alone, as plain JSON. Not here: the page (``spectrum.report.statement_page``), and asking the
models for dissociations (``evaluating``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from spectrum.config import PreprocessingConfig
from spectrum.errors import DataError, SearchError
from spectrum.evaluation.dissociation import Dissociation, agreement
from spectrum.evaluation.dissociation_tasks import Skipped
from spectrum.evaluation.permutation import PermutationResult, permute_labels
from spectrum.evaluation.power import Power
from spectrum.evaluation.sealed_score import power_of_predictions, power_sentence
from spectrum.evaluation.statistics import compare_by_group, judge_finding
from spectrum.records import Prediction
from spectrum.search.ladders import read_ladder
from spectrum.search.sealing import num_openings, opened_lines, told_seal
from spectrum.search.view import StudyView

__all__ = ["build_statement"]


OPTIMISTIC: Final = (
    "selected, optimistic: the trial was chosen by its score on these same subjects, so that "
    "score and p are better than on new ones"
)

FEW_SUBJECTS: Final = 30
"""Below this a statement says that subjects are few (Varoquaux 2018: an error of 10 points at 100
samples)."""


def build_statement(
    view: StudyView,
    outcomes: Sequence[Dissociation | Skipped],
    *,
    date: str,
    num_permutations: int = 999,
    num_simulations: int = 100,
) -> dict[str, Any]:
    """Return all that a study shows, with what each number is worth.

    Parameters
    ----------
    view : the study
    outcomes : dissociations, run or skipped
    date : of the evaluation
    num_permutations : of the selected trial's predictions
    num_simulations : of each accuracy, for what so many subjects can show

    Raises
    ------
    SearchError
        Where the study has no complete trial or no predictions of it.
    """
    best, floor = view.best, view.floor
    predictions = view.predictions_of(best["number"]) if best is not None else ()
    if best is None or floor is None or not predictions:
        raise SearchError(
            f"{view.path} has no complete trial with predictions yet. Continue it with --resume."
        )
    found = [one for one in outcomes if isinstance(one, Dissociation)]
    agrees = agreement(found)
    looks = _looks(view)
    null, no_null = _permuted(predictions, floor, num_permutations)
    above, finding = _judged(best["score"], floor, null, looks["num_looks"], agrees)
    ladder = read_ladder(view.path)
    power = power_of_predictions(
        predictions,
        classes=tuple(floor["classes"]),
        paired=_are_paired(predictions),
        num_simulations=num_simulations,
    )
    return {
        "study": view.manifest["name"],
        "date": date,
        "tested": _tested(floor, best),
        "whom": _whom(predictions, best["score"]),
        "looks": looks,
        "label": OPTIMISTIC,
        "score": best["score"]["value"],
        "ci95": list(best["score"]["ci95"]),
        "chance": floor["chance"],
        "rerun_mean": view.selection.mean_of(best["number"]) if view.selection else None,
        "p": null.p if null else None,
        "permutation": {**asdict(null), "label": OPTIMISTIC} if null else {"skipped": no_null},
        "floor": {"score": floor["floor"]["value"], "ci95": list(floor["floor"]["ci95"])},
        "above_floor": above,
        "power": {**asdict(power), "told": power_sentence(power, "subject")},
        "finding": finding,
        "ladder": ladder,
        "sealed": {"who": told_seal(view.path), "openings": opened_lines(view.path)},
        "tasks": _tasks(outcomes),
        "dissociations_agree": agrees,
        "limits": list(_limits(view, best, floor, power, ladder, outcomes)),
    }


def _tested(floor: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "target": floor["target"],
        "classes": list(floor["classes"]),
        "scheme": floor["scheme"],
        "trial": best["number"],
        "params": best["params"],
        "config": best["config"],
        "verdict_of_floor": floor["verdict"],
    }


def _whom(predictions: Sequence[Prediction], score: Mapping[str, Any]) -> dict[str, Any]:
    subjects: defaultdict[str, set[str]] = defaultdict(set)
    for prediction in predictions:
        subjects[prediction.dataset].add(prediction.group)
    return {
        "num_subjects": len({prediction.group for prediction in predictions}),
        "subjects_by_dataset": {name: len(found) for name, found in sorted(subjects.items())},
        "num_units": score["num_units"],
    }


def _looks(view: StudyView) -> dict[str, int]:
    """Count how often the classes of the study's subjects were scored against a trained model."""
    states = [line["state"] for line in view.lines]
    num_scored = states.count("complete") + states.count("pruned")
    return {
        "num_trials": len(states),
        "num_complete": states.count("complete"),
        "num_pruned": states.count("pruned"),
        "num_failed": states.count("failed"),
        "num_reruns": len(view.reruns),
        "num_unsealings": num_openings(view.path),
        "num_looks": num_scored + len(view.reruns),
    }


def _are_paired(predictions: Sequence[Prediction]) -> bool:
    return any(prediction.pair for prediction in predictions)


def _permuted(
    predictions: Sequence[Prediction], floor: Mapping[str, Any], num_permutations: int
) -> tuple[PermutationResult | None, str]:
    try:
        null = permute_labels(
            predictions,
            classes=tuple(floor["classes"]),
            paired=_are_paired(predictions),
            num_permutations=num_permutations,
        )
    except DataError as err:
        return None, str(err)
    return null, ""


def _judged(
    score: Mapping[str, Any],
    floor: Mapping[str, Any],
    null: PermutationResult | None,
    num_looks: int,
    agrees: bool | None,
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    try:
        above = compare_by_group(score["by_group"], floor["floor"]["by_group"])
    except DataError as err:
        return None, {"is_positive": False, "reasons": [f"fails: {err}"]}
    if null is None:
        return asdict(above), {"is_positive": False, "reasons": ["fails: no permutation test"]}
    judged = judge_finding(null.p, above, num_looks=num_looks, agrees_with_dissociation=agrees)
    return asdict(above), asdict(judged)


def _tasks(outcomes: Sequence[Dissociation | Skipped]) -> dict[str, Any]:
    return {
        one.task: one.to_json() if isinstance(one, Dissociation) else {"skipped": one.reason}
        for one in outcomes
    }


def _limits(
    view: StudyView,
    best: Mapping[str, Any],
    floor: Mapping[str, Any],
    power: Power,
    ladder: Any,
    outcomes: Sequence[Dissociation | Skipped],
) -> Iterator[str]:
    yield "The score is of the trial that was selected by it; it is an upper estimate."
    if not num_openings(view.path):
        yield "No sealed subject was opened: nothing here was scored on data that no trial saw."
    yield from _limits_of_recipe(best)
    yield from _limits_of_target(floor)
    yield from _limits_of_size(power)
    if ladder is None:
        yield "No ladder of simpler models was fitted (spectrum baselines SHARDS --study STUDY)."
    if not any(isinstance(one, Dissociation) for one in outcomes):
        yield "No dissociation was run: learning was not told from the clock."
    else:
        yield (
            "Dissociations were asked of the study's models that never saw the subject; none was "
            "fitted for its question."
        )


def _limits_of_recipe(best: Mapping[str, Any]) -> Iterator[str]:
    recipe = best["config"].get("preprocessing") or {}
    default = PreprocessingConfig()
    if not recipe.get("brain_mask", default.brain_mask):
        yield "No brain mask: the air around the head is part of the input."
    if recipe.get("motion_correction", default.motion_correction) in (False, "none", None):
        yield "Head motion was not corrected."


def _limits_of_target(floor: Mapping[str, Any]) -> Iterator[str]:
    defining = [name for name, one in floor["design"].items() if one["defines_target"]]
    if defining:
        yield (
            f"The design defines the target ({', '.join(sorted(defining))}): no score alone tells "
            "the class from the order of runs."
        )
    if floor["target"] == "early_late":
        yield (
            "Early and late runs differ in time too: drift, fatigue, motion and habituation go "
            "with the class, and only dissociations part them from learning."
        )
    used = set(floor.get("predictors", ()))
    if not any("fd" in name.split("_") or "dvars" in name.split("_") for name in used):
        yield "The floor has no column of head motion."


def _limits_of_size(power: Power) -> Iterator[str]:
    few = "Subjects are few. " if power.num_subjects < FEW_SUBJECTS else ""
    yield f"{few}{power_sentence(power, 'subject')}"
