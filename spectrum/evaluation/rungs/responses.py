"""The response to events in each voxel: coefficients of nilearn's first-level model.

Of a run: one regressor for all its events, whatever their type, since data sets name them
differently. Of an event: one regressor for it and one for all other events of the run (least
squares, separate; Mumford et al. 2012). No class enters a design, so that labels may be permuted
without fitting again. Series are filtered already; the same slow cosines stand in the design, so
that regressors are filtered alike (Lindquist et al. 2019). Not here: what is fitted on the
coefficients (``linear``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spectrum.evaluation.predictors import has_events
from spectrum.evaluation.rungs.question import Floats, Question

if TYPE_CHECKING:
    from spectrum.data.runs import Event

__all__ = ["response_maps", "responses_obstacle"]

NO_TRIAL: Final = "n/a"
"""Trial type of baseline rows, which are no event."""

HIGH_PASS_HZ: Final = 1 / 128
"""Of the design where the recipe has no high-pass, as in SPM."""


def responses_obstacle(question: Question) -> str:
    """Say which runs have no events; empty where all have some."""
    runs = question.runs.manifest.runs
    without = [str(runs[i].key) for i in question.table.used_runs if not _events(runs[i].events)]
    if not without:
        return ""
    return (
        f"{len(without)} of {len(question.table.used_runs)} runs have no events, "
        f"first {without[0]}: nothing to respond to"
    )


def response_maps(question: Question) -> dict[int, Floats]:
    """Return the coefficient of every unit in every voxel, (S*H*W,) float32."""
    units = question.table.units
    maps: dict[int, Floats] = {}
    for run in question.table.used_runs:
        volumes = question.volumes(run)
        series_VN = volumes.reshape(len(volumes), -1).astype(np.float64)
        rows = [row for row, unit in enumerate(units) if unit.run_index == run]
        for row in rows:
            chosen = units[row].event_index if has_events(question.table) else None
            maps[row] = _coefficients(series_VN, question, run, chosen)
    return maps


def _events(events: Sequence[Event]) -> list[tuple[int, Event]]:
    return [(i, event) for i, event in enumerate(events) if event.trial_type != NO_TRIAL]


def _coefficients(
    series_VN: Floats, question: Question, run_index: int, chosen: int | None
) -> Floats:
    from nilearn.glm.first_level import run_glm

    run = question.runs.manifest.runs[run_index]
    design = _design(run, len(series_VN), question.recipe.high_pass_hz or HIGH_PASS_HZ, chosen)
    _, results = run_glm(series_VN, design, noise_model="ols")
    (result,) = results.values()
    return np.asarray(result.theta[0], dtype=np.float32)


def _design(run: Any, num_volumes: int, high_pass_hz: float, chosen: int | None) -> Floats:
    """Return the design with the regressor in question first."""
    import pandas as pd
    from nilearn.glm.first_level import make_first_level_design_matrix

    rows = [
        (event.onset_s, event.duration_s, "asked" if chosen in (None, index) else "others")
        for index, event in _events(run.events)
    ]
    design = make_first_level_design_matrix(
        np.arange(num_volumes) * run.tr_s,
        pd.DataFrame(rows, columns=["onset", "duration", "trial_type"]),
        hrf_model="glover",
        drift_model="cosine",
        high_pass=high_pass_hz,
    )
    columns = ["asked", *(name for name in design.columns if name != "asked")]
    return np.asarray(design[columns].to_numpy())
