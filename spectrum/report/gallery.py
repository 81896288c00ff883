"""Which figures a study has, each with a sentence for those who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from spectrum.errors import ConfigError, TargetError
from spectrum.report.curves import draw_losses, draw_score_curves
from spectrum.report.facts import dataset_scores, references
from spectrum.report.slices import draw_importance, draw_slices
from spectrum.report.standing import draw_confusion, draw_datasets, draw_standing
from spectrum.report.theme import FigureMaker
from spectrum.search.view import StudyView

__all__ = ["study_figures"]

Gallery = dict[str, tuple[str, FigureMaker]]


def study_figures(study: StudyView, *, importance: Mapping[str, float]) -> Gallery:
    """Return what can be drawn of a study, by name: a description and the figure's maker."""
    return {
        **_of_best(study),
        **_of_learning(study),
        **_of_search(study, importance),
    }


def _of_best(study: StudyView) -> Gallery:
    best = study.best
    if best is None:
        return {}
    figures: Gallery = {}
    score, against = best["score"], references(study)
    told = "; ".join(f"{row.name} {row.value:.3f}" for row in against)
    figures["standing"] = (
        f"Selected score {score['value']:.3f} beside its references: {told}.",
        partial(draw_standing, score=score, references=against),
    )
    scores = dataset_scores(best)
    if scores:
        figures["datasets"] = (
            f"Scores of single subjects in {', '.join(scores)}, with the mean of each data set.",
            partial(draw_datasets, scores=scores, floor=_floor(study)),
        )
    confusion = _confusion(study, best)
    if confusion is not None:
        classes, counts = confusion
        figures["confusion"] = (
            f"Confusion table over {', '.join(classes)}: {counts}.",
            partial(draw_confusion, classes=classes, counts=counts),
        )
    return figures


def _of_learning(study: StudyView) -> Gallery:
    curves = {line["number"]: study.records_of(line["number"]) for line in study.lines}
    curves = {number: records for number, records in curves.items() if records}
    best = study.best["number"] if study.best is not None else None
    figures: Gallery = {}
    if curves:
        figures["learning"] = (
            "Validation score after each epoch of every trial, with floor and chance as lines.",
            partial(draw_score_curves, curves=curves, best=best, references=references(study)),
        )
    if best in curves:
        figures["losses"] = (
            f"Training and validation loss of trial {best} after each epoch, by fold.",
            partial(draw_losses, records=curves[best]),
        )
    return figures


def _of_search(study: StudyView, importance: Mapping[str, float]) -> Gallery:
    figures: Gallery = {}
    if importance:
        figures["importance"] = (
            "Importance of " + ", ".join(f"{k} {v:.2f}" for k, v in importance.items()) + ".",
            partial(draw_importance, importance=importance),
        )
    parameters = (study.manifest.get("space") or {}).get("parameters") or {}
    searched = dict.fromkeys(path for line in study.lines for path in line["params"])
    paths = sorted(searched, key=lambda path: -importance.get(path, 0.0))
    scored = [line for line in study.lines if (line.get("score") or {}).get("value") is not None]
    if paths and scored:
        figures["slices"] = (
            f"Score of each trial against {', '.join(paths)}.",
            partial(
                draw_slices,
                lines=scored,
                paths=paths,
                logarithmic=frozenset(p for p in paths if _is_logarithmic(parameters.get(p))),
                floor=_floor(study),
            ),
        )
    return figures


def _floor(study: StudyView) -> float | None:
    floor = (study.floor or {}).get("floor")
    return float(floor["value"]) if floor is not None else None


def _is_logarithmic(parameter: Any) -> bool:
    return isinstance(parameter, Mapping) and bool(
        parameter.get("log_uniform") or parameter.get("log")
    )


def _confusion(
    study: StudyView, line: Mapping[str, Any]
) -> tuple[list[str], list[list[int]]] | None:
    """Return the confusion table of a line, or of its predictions where the line has none."""
    metrics = line.get("metrics") or {}
    if not metrics.get("confusion"):
        metrics = _metrics_of_predictions(study, line)
    counts = metrics.get("confusion")
    if not counts:
        return None
    return [str(name) for name in metrics.get("classes") or range(len(counts))], counts


def _metrics_of_predictions(study: StudyView, line: Mapping[str, Any]) -> Mapping[str, Any]:
    from spectrum.scores import further_metrics
    from spectrum.targets import read_target

    predictions = study.predictions_of(line["number"])
    try:
        classes = read_target(str(line["config"].get("target"))).classes
    except (ConfigError, TargetError):
        return {}
    return further_metrics(predictions, classes) if predictions else {}
