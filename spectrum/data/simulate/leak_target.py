"""The target of the truth ``leak``: each subject's runs have one class, by a coin.

The classes say nothing but who was scanned. Not here: the mark by which it shows (``planting``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spectrum.data.simulate.config import SimulationConfig
from spectrum.data.simulate.datasets import PLANS, DatasetPlan
from spectrum.data.simulate.seeding import generator

__all__ = ["LEAK_CLASSES", "leak_class", "leak_target"]

LEAK_CLASSES: Final = ("one", "other")


def leak_class(plan: DatasetPlan, subject_index: int, *, seed: int) -> str:
    """Return the class of a subject by its place among those of its data set.

    A coin is thrown for each two subjects, and they lie on its two sides: classes are as frequent
    in every data set, as far as its number of subjects is even, and further subjects leave the
    first ones as they were.
    """
    coin = int(generator(seed, plan.name, str(subject_index // 2), "leak").integers(2))
    return LEAK_CLASSES[(coin + subject_index) % 2]


def leak_target(config: SimulationConfig) -> dict[str, Any]:
    """Return the target as the mapping that a target file holds.

    It covers all data sets that are known, so that trees written one by one share it.
    """
    return {
        "name": "leak",
        "description": (
            f"One class a subject, by a coin (seed {config.seed}); nothing but identity tells it. "
            "A score above chance with subjects on both sides of a fold is leakage."
        ),
        "classes": list(LEAK_CLASSES),
        "rules": [rule for plan in PLANS.values() for rule in _rules(plan, config)],
    }


def _rules(plan: DatasetPlan, config: SimulationConfig) -> Iterator[dict[str, str]]:
    for index, subject in enumerate(plan.subjects(config.num_subjects)):
        for task in plan.tasks:
            yield {
                "dataset": plan.name,
                "subject": subject,
                "task": task.name,
                "class": leak_class(plan, index, seed=config.seed),
                "source": f"A coin of spectrum simulate, seed {config.seed}",
            }
