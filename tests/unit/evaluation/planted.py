"""Shard sets whose acquisition numbers tell the class, or tell nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectrum.data.runs import Event
from spectrum.targets import EventRule, RunRule, Target
from tests.unit.data.fake_shards import FakeRun, FakeShards, key

DATASETS = {"a": 7, "b": 6, "c": 8}
PAIRED = Target(
    name="early_late",
    classes=("early", "late"),
    paired=True,
    rules=tuple(
        RunRule(dataset=name, task="learn", run=run, class_name=which, source="planted")
        for name in DATASETS
        for run, which in ((1, "early"), (2, "late"))
    ),
)
SEEN = Target(
    name="seen",
    classes=("face", "house", "cat"),
    event=EventRule(trial_types={"face": "face", "house": "house", "cat": "cat"}, hrf_delay_s=4.0),
)


def paired_shards(*, leak: float, seed: int = 0) -> FakeShards:
    """Return two runs a subject; the later one has ``leak`` SDs more air around the head."""
    rng = np.random.default_rng(seed)
    runs = []
    for index, (dataset, count) in enumerate(DATASETS.items()):
        for subject in range(count):
            level = rng.normal(100 * (index + 1), 10)
            for run in (1, 2):
                quality = {
                    "bg_mean": level + rng.normal() + leak * (run == 2),
                    "tsnr": float(rng.normal(50, 5)),
                    "fd_mean": None if dataset == "b" else float(rng.gamma(2.0, 0.1)),
                    "num_slices": 20.0 + index,
                    "voxel_x_mm": 3.0,
                    "gsr": None,
                }
                run_key = key(dataset=dataset, subject=f"{subject:02}", run=f"{run:02}")
                runs.append(FakeRun(run_key, quality=quality))
    return FakeShards(runs=tuple(runs))


def event_shards(*, leak: float, seed: int = 0, response: float = 0.0) -> FakeShards:
    """Return runs with 9 events each; air is ``leak`` SDs brighter from class to class.

    The head is brighter by ``response`` SDs of its own.
    """
    rng = np.random.default_rng(seed)
    names = ("face", "house", "cat")
    runs, volume_quality = [], {}
    for subject in ("01", "02", "03", "04", "05"):
        for run in ("01", "02"):
            order = [names[i % 3] for i in rng.permutation(9)]
            events = tuple(
                Event(onset_s=12.0 * i, duration_s=12.0, trial_type=name)
                for i, name in enumerate(order)
            )
            made = FakeRun(
                key(dataset="ds", subject=subject, run=run, task="look"),
                num_volumes=60,
                events=events,
                quality={"bg_mean": 30.0},
            )
            runs.append(made)
            volume_quality[str(made.key)] = _volumes(order, leak, response, rng)
    return FakeShards(runs=tuple(runs), volume_quality=volume_quality)


def _volumes(
    order: list[str], leak: float, response: float, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    air, head = rng.normal(30.0, 1.0, 60), rng.normal(500.0, 3.0, 60)
    for index, name in enumerate(order):
        shown = slice(2 + 6 * index, 8 + 6 * index)
        air[shown] += leak * ("face", "house", "cat").index(name)
        head[shown] += response * 3.0 * ("face", "house", "cat").index(name)
    dvars = rng.normal(5.0, 1.0, 60)
    dvars[0] = np.nan
    unknown = np.full(60, np.nan)
    return {"bg_mean": air, "fg_mean": head, "dvars": dvars, "fd": unknown}
