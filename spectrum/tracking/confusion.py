"""The confusion matrix of a finished trial as an Aim figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["track_confusion"]


def track_confusion(run: Any, line: Mapping[str, Any]) -> None:
    """Track the confusion matrix of a trial's line where its metrics have one."""
    metrics = line.get("metrics") or {}
    counts = metrics.get("confusion")
    if not counts:
        return
    from aim import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    figure = PlotlyFigure(_description(metrics.get("classes") or range(len(counts)), counts))
    context = {"fold": "all", "role": "validation"}
    run.track(Figure(figure), "confusion", step=line.get("num_epochs") or 0, context=context)


def _description(classes: Sequence[Any], counts: Sequence[Sequence[float]]) -> dict[str, Any]:
    names = [str(name) for name in classes]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
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
