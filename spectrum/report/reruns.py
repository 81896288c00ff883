"""What the re-runs of the best trials say, for the report: sentences, and the rows of a table.

Not here: which trials are run again and who wins (``spectrum.search.selection``).
"""

from __future__ import annotations

from dataclasses import dataclass

from spectrum.search.view import StudyView

__all__ = ["RerunRow", "front_sentences", "how_selected", "rerun_rows", "rerun_sentences"]


@dataclass(frozen=True, slots=True)
class RerunRow:
    """A trial that was run again: its score in the search, and with new seeds; cells as text."""

    number: int
    score: str
    mean: str
    scores: str
    is_best: bool
    is_default: bool


def how_selected(study: StudyView) -> str:
    """Return by what the best trial was selected, to stand after "Trial 7 was selected:"."""
    if study.selection is None:
        plural = "" if len(study.complete) == 1 else "s"
        return f"of {len(study.complete)} finished trial{plural} it scored highest"
    return (
        f"of {study.selection.num_candidates} trials that were run again with "
        f"{study.selection.num_seeds} new seeds it had the highest mean"
    )


def rerun_sentences(study: StudyView) -> tuple[str, ...]:
    """Return what the selected trial and the default scored with new seeds; nothing without."""
    best, selection = study.best, study.selection
    if best is None or selection is None:
        return ()
    mean, default = selection.mean_of(best["number"]), selection.mean_of(0)
    beside = "" if default is None else f", the default configuration {default:.3f}"
    return (
        f"Run again with {selection.num_seeds} new seeds, trial {best['number']} scored "
        f"{mean:.3f} on average{beside}. The new seeds chose among few trials, so that this mean "
        "is less optimistic than the score of the search, and still not free of choice.",
    )


def front_sentences(study: StudyView) -> tuple[str, ...]:
    """Return the trials that no other one beats in all objectives; nothing with one objective."""
    objectives = {line["number"]: line.get("objectives") or {} for line in study.complete}
    points = [(number, objectives[number]) for number in study.front if objectives.get(number)]
    if not points:
        return ()
    told = "; ".join(
        f"trial {number} ({', '.join(f'{name} {value:.4g}' for name, value in point.items())})"
        for number, point in points
    )
    return (f"No other trial is better in all of {', '.join(points[0][1])} than: {told}.",)


def rerun_rows(study: StudyView) -> tuple[RerunRow, ...]:
    """Return the trials that were run again, the highest mean first."""
    selection = study.selection
    if selection is None:
        return ()
    value_of = {line["number"]: line["value"] for line in study.complete}
    means = selection.to_json()["means"]
    return tuple(
        RerunRow(
            number=int(trial),
            score=f"{value_of[int(trial)]:.3f}",
            mean=f"{mean:.3f}",
            scores=", ".join(f"{score:.3f}" for score in selection.scores[int(trial)]),
            is_best=int(trial) == selection.winner,
            is_default=trial == "0",
        )
        for trial, mean in means.items()
    )
