"""The confusion matrix of a finished trial as an Aim figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["confusion_of", "track_confusion"]


def track_confusion(run: Any, metrics: Mapping[str, Any], *, step: int) -> None:
    """Track the confusion matrix of a trial's metrics where they have one."""
    found = confusion_of(metrics)
    if found is None:
        return
    from aim import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    classes, counts = found
    figure = PlotlyFigure(_description(classes, counts))
    context = {"fold": "all", "role": "validation"}
    run.track(Figure(figure), "confusion", step=step, context=context)


def confusion_of(
    metrics: Mapping[str, Any],
) -> tuple[list[str], list[list[float]]] | None:
    """Return classes and counts (rows: true class, columns: predicted), or None without a matrix.

    Both shapes of the matrix are read: rows alone, and a mapping with ``classes`` and ``counts``.
    """
    matrix = metrics.get("confusion")
    classes: Sequence[Any] = metrics.get("classes") or ()
    if isinstance(matrix, Mapping):
        classes, matrix = matrix.get("classes") or classes, matrix.get("counts")
    if not isinstance(matrix, Sequence) or not matrix:
        return None
    counts = [[float(count) for count in row] for row in matrix]
    names = [str(name) for name in classes] or [f"class {index}" for index in range(len(counts))]
    return names, counts


def _description(classes: Sequence[str], counts: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(classes),
                "y": list(classes),
                "z": [list(row) for row in counts],
                "texttemplate": "%{z:.0f}",
                "colorscale": "Blues",
                "zmin": 0,
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "predicted"}},
            "yaxis": {"title": {"text": "true"}, "autorange": "reversed"},
        },
    }
