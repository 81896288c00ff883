"""Which figures a study has, each with a sentence for those who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from spectrum.errors import ConfigError, TargetError
from spectrum.records import Prediction
from spectrum.report.answers import draw_calibration, draw_confusions, draw_roc
from spectrum.report.curves import draw_losses, draw_score_curves
from spectrum.report.facts import dataset_scores, references
from spectrum.report.front import draw_front
from spectrum.report.overview import draw_parallel, draw_timeline, timed
from spectrum.report.slices import draw_importance, draw_slices
from spectrum.report.standing import draw_confusion, draw_datasets, draw_standing
from spectrum.report.theme import FigureMaker
from spectrum.scores.curves import RocCurve, roc_of_class
from spectrum.search.view import StudyView

__all__ = ["study_figures"]

Gallery = dict[str, tuple[str, FigureMaker]]


def study_figures(
    study: StudyView,
    *,
    importance: Mapping[str, float],
    by_method: Mapping[str, Mapping[str, float]],
) -> Gallery:
    """Return what can be drawn of a study, by name: a description and the figure's maker."""
    return {
        **_of_best(study),
        **_of_answers(study),
        **_of_learning(study),
        **_of_importance(by_method),
        **_of_search(study, importance),
        **_of_front(study),
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


def _of_answers(study: StudyView) -> Gallery:
    """Return the figures of what the selected trial says of each held-out unit."""
    from spectrum.scores import calibration_bins, further_metrics

    best = study.best
    predictions = study.predictions_of(best["number"]) if best is not None else ()
    classes = _classes(best) if best is not None else ()
    if not predictions or not classes:
        return {}
    metrics = further_metrics(predictions, classes)
    figures: Gallery = {
        "calibration": (
            f"How often answers are right, by their probability; error {metrics['ece']:.3f}.",
            partial(
                draw_calibration,
                bins=calibration_bins(predictions, classes),
                error=metrics["ece"],
            ),
        )
    }
    curves, first = _roc_curves(predictions, classes)
    if curves:
        told = ", ".join(f"{name} {curve.auc:.3f}" for name, curve in curves.items())
        figures["roc"] = (
            f"ROC curves with the area under each: {told}.",
            partial(draw_roc, curves=curves, first=first),
        )
    tables = {name: one["confusion"] for name, one in metrics.get("by_dataset", {}).items()}
    if tables:
        figures["confusions"] = (
            f"Confusion tables over {', '.join(classes)} of each data set: {tables}.",
            partial(draw_confusions, classes=classes, counts=tables),
        )
    return {**figures, **_of_sequences(predictions, classes)}


def _of_sequences(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> Gallery:
    """Return the confusion tables of single sequences, over all and of each data set."""
    from spectrum.scores import sequence_confusion

    datasets = sorted({prediction.dataset for prediction in predictions})
    parts = {"all": predictions} if len(datasets) > 1 else {}
    parts |= {name: [p for p in predictions if p.dataset == name] for name in datasets}
    counts = {name: sequence_confusion(part, classes) for name, part in parts.items()}
    tables = {name: table for name, table in counts.items() if table is not None}
    if not tables:
        return {}
    return {
        "sequences": (
            f"Confusion tables of single sequences over {', '.join(classes)}: {tables}.",
            partial(draw_confusions, classes=classes, counts=tables),
        )
    }


MAX_CURVES = 8
"""ROC curves beside the pooled one; more cannot be told apart."""


def _roc_curves(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> tuple[dict[str, RocCurve], str]:
    """Return for two classes the last one's curves, pooled and by data set; else each class's."""
    if len(classes) > 2:
        asked = {name: (predictions, name) for name in classes[:MAX_CURVES]}
        first = ""
    else:
        datasets = dict.fromkeys(prediction.dataset for prediction in predictions)
        first, name = f"{classes[-1]}, all", classes[-1]
        of = {d: [p for p in predictions if p.dataset == d] for d in list(datasets)[:MAX_CURVES]}
        asked = {first: (predictions, name)}
        asked |= {d: (part, name) for d, part in of.items()} if len(datasets) > 1 else {}
    found = {label: roc_of_class(part, classes, name) for label, (part, name) in asked.items()}
    return {label: curve for label, curve in found.items() if curve is not None}, first


def _of_learning(study: StudyView) -> Gallery:
    curves = {line["number"]: study.records_of(line["number"]) for line in study.lines}
    curves = {number: records for number, records in curves.items() if records}
    best = study.best["number"] if study.best is not None else None
    figures: Gallery = {}
    if curves:
        figures["learning"] = (
            "Validation score after each epoch of the trials, with floor and chance as lines.",
            partial(draw_score_curves, curves=curves, best=best, references=references(study)),
        )
    if best in curves:
        figures["losses"] = (
            f"Training and validation loss of trial {best} after each epoch, by fold.",
            partial(draw_losses, records=curves[best]),
        )
    return figures


def _of_importance(by_method: Mapping[str, Mapping[str, float]]) -> Gallery:
    if not by_method:
        return {}
    told = "; ".join(
        f"{method}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        for method, shares in by_method.items()
    )
    return {
        "importance": (
            f"Importance of parameters. {told}.",
            partial(draw_importance, by_method=by_method),
        )
    }


def _of_search(study: StudyView, importance: Mapping[str, float]) -> Gallery:
    figures: Gallery = {}
    rows = timed(study.lines)
    if len(rows) > 1:
        figures["timeline"] = (
            f"When each of {len(rows)} trials ran, by how it ended.",
            partial(draw_timeline, rows=rows),
        )
    parameters = (study.manifest.get("space") or {}).get("parameters") or {}
    searched = dict.fromkeys(path for line in study.lines for path in line["params"])
    paths = sorted(searched, key=lambda path: -importance.get(path, 0.0))
    scored = [line for line in study.lines if (line.get("score") or {}).get("value") is not None]
    logarithmic = frozenset(p for p in paths if _is_logarithmic(parameters.get(p)))
    if paths and len(study.complete) > 1 and study.best is not None:
        figures["parallel"] = (
            f"Each complete trial as a line through {', '.join(paths)}, coloured by score.",
            partial(
                draw_parallel,
                lines=study.complete,
                paths=paths,
                logarithmic=logarithmic,
                best=study.best["number"],
            ),
        )
    if paths and scored:
        figures["slices"] = (
            f"Score of each trial against {', '.join(paths)}.",
            partial(
                draw_slices,
                lines=scored,
                paths=paths,
                logarithmic=logarithmic,
                floor=_floor(study),
            ),
        )
    return figures


def _of_front(study: StudyView) -> Gallery:
    """Return the Pareto front of a study of several objectives; nothing with one."""
    points = {line["number"]: line.get("objectives") or {} for line in study.complete}
    points = {number: point for number, point in points.items() if len(point) > 1}
    if not points or not study.front:
        return {}
    names = ", ".join(next(iter(points.values())))
    told = ", ".join(str(number) for number in study.front)
    return {
        "front": (
            f"Complete trials by {names}; on the Pareto front: trials {told}.",
            partial(draw_front, points=points, front=study.front),
        )
    }


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


def _classes(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the classes of a trial's target; nothing where its file is not here."""
    from spectrum.targets import read_target

    try:
        return read_target(str(line["config"].get("target"))).classes
    except (ConfigError, TargetError):
        return ()


def _metrics_of_predictions(study: StudyView, line: Mapping[str, Any]) -> Mapping[str, Any]:
    from spectrum.scores import further_metrics

    predictions, classes = study.predictions_of(line["number"]), _classes(line)
    return further_metrics(predictions, classes) if predictions and classes else {}
