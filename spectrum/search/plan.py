"""What a search would do, without starting anything: trials, runs, folds, shard sets to make."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.folds import draw_folds
from spectrum.data.pipeline import find_shards
from spectrum.data.runs import RunTable
from spectrum.data.sequences import build_table
from spectrum.data.shards import ShardSet
from spectrum.search.space import SearchSpace
from spectrum.targets import Target, read_target

__all__ = ["plan_study", "recipes_of"]

MAX_RECIPES: Final = 1000
"""Shard sets beyond which a space is said to have at least as many."""


def plan_study(
    space: SearchSpace,
    *,
    roots: Sequence[Path],
    shards_root: Path,
    num_trials: int | None = None,
) -> dict[str, Any]:
    """Return the plan of a search as plain JSON.

    Parameters
    ----------
    num_trials : None is the space's

    Returns
    -------
    plan : ``shard_sets`` is how many recipes the space can reach, ``shard_sets_ready`` how many of
        them are made; ``folds`` is null before the default's shards are made
    """
    space.check()
    config = space.default_config
    target = read_target(config.target)
    table = index_bids(roots, config.data)
    recipes = recipes_of(space)
    ready = [find_shards(table, recipe, shards_root, target) for recipe in recipes]
    return {
        "space": space.name,
        "num_trials": num_trials or space.study.num_trials,
        "sampler": space.study.sampler,
        "pruner": space.study.pruner.rule,
        "parameters": {path: str(parameter) for path, parameter in space.parameters.items()},
        "target": target.name,
        "scheme": config.folds.scheme,
        **_counts(table, target),
        "folds": _folds(space, target, ready[0]),
        "shard_sets": len(recipes),
        "shard_sets_ready": sum(path is not None for path in ready),
        "epochs_at_most": (num_trials or space.study.num_trials) * config.training.num_epochs,
    }


def recipes_of(space: SearchSpace) -> list[PreprocessingConfig]:
    """Return the recipes that points of a space can have, the default's first."""
    values_of = {
        path: parameter.values or ()
        for path, parameter in space.parameters.items()
        if path.startswith("preprocessing.")
    }
    recipes = {space.default_config.preprocessing: None}
    for values in itertools.product(*values_of.values()):
        point = space.point_from(dict(zip(values_of, values, strict=True)))
        recipes[space.config(point).preprocessing] = None
        if len(recipes) == MAX_RECIPES:
            break
    return list(recipes)


def _counts(table: RunTable, target: Target) -> dict[str, int]:
    if target.kind == "run":
        runs = [run for run in table.runs if run.is_usable and target.class_of(run.key)]
    else:
        runs = [run for run in table.runs if run.is_usable]
    volumes = sum(run.shape[3] for run in runs if run.shape is not None)
    return {"num_runs": len(runs), "num_volumes": volumes}


def _folds(space: SearchSpace, target: Target, shards: Path | None) -> list[str] | None:
    if shards is None:
        return None
    config = space.default_config
    units = build_table(ShardSet.open(shards).manifest.runs, target, config.sequences)
    return [fold.name for fold in draw_folds(units, config.folds, paired=target.paired)]
