"""Figures of learning: score of every trial per epoch, losses of the best trial per fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from spectrum.records import TrialEpochRecord
from spectrum.report.facts import Reference
from spectrum.report.theme import Theme, broken_line, clean, new_figure

__all__ = ["draw_losses", "draw_score_curves"]

MAX_MARKED: Final = 60
"""Trials above which single epochs have no mark."""

MAX_SHOWN: Final = 100
"""Trials drawn beside the best; more would be one grey area."""

DASH: Final = 0.06
"""Half the width of a trial of one epoch, in epochs."""

Curves = Mapping[int, Sequence[TrialEpochRecord]]

MAX_NAMED_FOLDS = 8
"""Folds above which single folds are no longer told apart by colour."""


def draw_score_curves(
    theme: Theme, *, curves: Curves, best: int | None, references: Sequence[Reference]
) -> Figure:
    """Draw the pooled validation score after each epoch, the best trial in colour."""
    figure, axes = new_figure(3.0)
    rest = [records for number, records in curves.items() if number != best]
    others = [_curve(records) for records in evenly_ranked(rest)]
    marker = "o" if len(others) <= MAX_MARKED else ""
    axes.plot(
        *broken_line(others), color=theme.faint, linewidth=1.0, marker=marker, markersize=2.2
    )
    if best is not None and best in curves:
        axes.plot(
            *_curve(curves[best]),
            color=theme.best,
            linewidth=2.2,
            marker="o",
            markersize=4,
            zorder=3,
        )
    for reference in references:
        if reference.name in ("floor", "chance"):
            _draw_level(axes, theme, reference)
    handles = [Line2D([], [], color=theme.faint, label=_told(len(others), len(rest)))]
    if best in curves:
        handles.insert(0, Line2D([], [], color=theme.best, linewidth=2.2, label=f"trial {best}"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2)
    axes.set_ylabel("validation score")
    _set_epochs(axes, theme)
    return figure


def evenly_ranked(
    curves: Sequence[Sequence[TrialEpochRecord]],
) -> list[Sequence[TrialEpochRecord]]:
    """Return at most ``MAX_SHOWN`` trials, evenly from the lowest to the highest last score."""
    ordered = sorted(curves, key=lambda records: records[-1].score.value)
    if len(ordered) <= MAX_SHOWN:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(place * last / (MAX_SHOWN - 1))] for place in range(MAX_SHOWN)]


def _told(num_shown: int, num_all: int) -> str:
    if num_shown == num_all:
        return "other trials"
    return f"{num_shown} of {num_all} other trials, evenly by their last score"


def _curve(records: Sequence[TrialEpochRecord]) -> tuple[list[float], list[float]]:
    """Return epochs and scores; a single epoch is a short dash, which is seen without a mark."""
    epochs = [float(record.epoch + 1) for record in records]
    scores = [record.score.value for record in records]
    if len(epochs) > 1:
        return epochs, scores
    return [epochs[0] - DASH, epochs[0] + DASH], scores * 2


def _draw_level(axes: Axes, theme: Theme, reference: Reference) -> None:
    is_floor = reference.name == "floor"
    colour = theme.floor if is_floor else theme.chance
    style = (0, (4, 3)) if is_floor else (0, (1, 2))
    axes.axhline(reference.value, color=colour, linestyle=style, linewidth=1.1, zorder=1)
    axes.annotate(
        reference.name,
        (1, reference.value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        color=colour,
    )


def draw_losses(theme: Theme, *, records: Sequence[TrialEpochRecord]) -> Figure:
    """Draw training and validation loss of each fold of one trial, side by side."""
    figure, (training, validation) = new_figure(2.7, columns=2, sharey=True)
    folds = [fold.fold for fold in records[0].folds]
    is_named = len(folds) <= MAX_NAMED_FOLDS
    for place, name in enumerate(folds):
        rows = [fold for record in records for fold in record.folds if fold.fold == name]
        epochs = [row.epoch + 1 for row in rows]
        colour = theme.cycle[place % len(theme.cycle)] if is_named else theme.muted
        style = {"color": colour, "alpha": 1.0 if is_named else 0.35, "label": name}
        training.plot(epochs, [_finite(row.training_loss) for row in rows], **style)
        validation.plot(epochs, [_finite(row.validation_loss) for row in rows], **style)
    for axes, title in ((training, "training"), (validation, "validation, held-out")):
        axes.set_title(title)
        _set_epochs(axes, theme)
    training.set_ylabel("loss, nats per sequence")
    if is_named:
        validation.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="held out")
    return figure


def _set_epochs(axes: Axes, theme: Theme) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    clean(axes, theme)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
