"""What Aim shows of trials and studies as figures, as plain Plotly descriptions; without aim.

Not here: the report's own figures (``spectrum.report``), which are drawn for paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spectrum.records import Prediction
from spectrum.scores.curves import roc_of_class
from spectrum.search.view import StudyView

__all__ = ["bars", "confusion_figure", "parallel_figure", "pareto_figure", "roc_figure"]

Figure = dict[str, Any]

MAX_CURVES: Final = 8
"""Classes of which a ROC curve is drawn; more cannot be told apart."""

MIN_LOG_RANGE: Final = 50.0
"""Highest by lowest value from which on an axis is logarithmic."""

MAX_AXES: Final = 10
"""Parameters beside the score in parallel coordinates."""


def confusion_figure(classes: Sequence[Any], counts: Sequence[Sequence[float]]) -> Figure:
    """Return a confusion matrix, rows are the true classes."""
    names = [str(name) for name in classes]
    heat = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": [list(row) for row in counts],
        "texttemplate": "%{z:.0f}",
        "colorscale": "Blues",
        "zmin": 0,
    }
    y_axis = {"title": {"text": "true"}, "autorange": "reversed"}
    return {
        "data": [heat],
        "layout": {"xaxis": {"title": {"text": "predicted"}}, "yaxis": y_axis},
    }


def roc_figure(predictions: Sequence[Prediction], classes: Sequence[str]) -> Figure | None:
    """Return the ROC curves of the classes, of two the second's alone; None where there is none.

    Parameters
    ----------
    predictions : one for each held-out unit
    classes : names, in the order of the probabilities
    """
    names = tuple(classes)
    asked = names[1:] if len(names) == 2 else names[:MAX_CURVES]
    curves = {name: roc_of_class(predictions, names, name) for name in asked}
    lines: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{name}, AUC {curve.auc:.3f}",
            "x": curve.false_positive.tolist(),
            "y": curve.true_positive.tolist(),
        }
        for name, curve in curves.items()
        if curve is not None
    ]
    if not lines:
        return None
    chance = {"type": "scatter", "mode": "lines", "name": "chance", "x": [0, 1], "y": [0, 1]}
    axes = {"xaxis": _axis("false positives"), "yaxis": _axis("true positives")}
    return {"data": [*lines, {**chance, "line": {"dash": "dot"}}], "layout": axes}


def bars(values: Mapping[str, float], *, title: str) -> Figure:
    """Return horizontal bars, the first on top."""
    names = list(values)[::-1]
    data = {"type": "bar", "orientation": "h", "y": names, "x": [values[name] for name in names]}
    margin = {"l": 10 + 7 * max((len(name) for name in names), default=0)}
    return {"data": [data], "layout": {"xaxis": _axis(title), "margin": margin}}


def parallel_figure(study: StudyView, importance: Mapping[str, float]) -> Figure | None:
    """Return the complete trials over parameters and score; None where no two differ.

    Parameters
    ----------
    importance : share of each parameter, by which the axes are ordered and chosen
    """
    lines = study.complete
    axes = _axes([line["params"] for line in lines], importance)
    if not axes:
        return None
    scores = [line["score"]["value"] for line in lines]
    colours = {"color": scores, "colorscale": "Viridis", "showscale": True}
    data = {
        "type": "parcoords",
        "dimensions": [*axes, {"label": "score", "values": scores}],
        "line": colours,
        # Aim draws it small, where labels side by side lie upon each other.
        "labelangle": -30,
    }
    return {"data": [data], "layout": {"margin": {"l": 120, "t": 110}}}


def _axes(points: Sequence[Mapping[str, Any]], importance: Mapping[str, float]) -> list[Figure]:
    """Return an axis for each parameter in which the points differ, the most important first."""
    paths = sorted(dict.fromkeys(path for point in points for path in point))
    paths.sort(key=lambda path: -importance.get(path, 0.0))
    values = {path: [point.get(path) for point in points] for path in paths}
    differing = [path for path in paths if len(set(map(str, values[path]))) > 1]
    return [_dimension(path, values[path]) for path in differing[:MAX_AXES]]


def _dimension(path: str, values: Sequence[Any]) -> Figure:
    """Return one axis: numbers by size or, over decades, by order of magnitude, else choices."""
    label = path.rpartition(".")[2]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _numbers(label, values)
    choices = sorted({str(value) for value in values})
    places = list(range(len(choices)))
    at = [choices.index(str(value)) for value in values]
    return {"label": label, "values": at, "tickvals": places, "ticktext": choices}


def _numbers(label: str, values: Sequence[float]) -> Figure:
    if min(values) <= 0 or max(values) / min(values) < MIN_LOG_RANGE:
        return {"label": label, "values": list(values)}
    at = [math.log10(value) for value in values]
    decades = list(range(math.floor(min(at)), math.ceil(max(at)) + 1))
    names = [f"{10.0**decade:g}" for decade in decades]
    return {"label": label, "values": at, "tickvals": decades, "ticktext": names}


def pareto_figure(study: StudyView) -> Figure | None:
    """Return the complete trials by the first two objectives; None where there is but one."""
    points = {ln["number"]: ln["objectives"] for ln in study.complete if ln.get("objectives")}
    if not points or len(next(iter(points.values()))) < 2:
        return None
    first, second, *_ = next(iter(points.values()))
    groups = {
        "pareto": [number for number in points if number in study.front],
        "other trials": [number for number in points if number not in study.front],
    }
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [points[number][second] for number in numbers],
            "y": [points[number][first] for number in numbers],
            "text": [f"trial {number}" for number in numbers],
        }
        for name, numbers in groups.items()
    ]
    return {"data": data, "layout": {"xaxis": _axis(second), "yaxis": _axis(first)}}


def _axis(title: str) -> Figure:
    return {"title": {"text": title}}
