"""What a search would do, without starting anything: trials, runs, folds, shard sets, disk.

Also the refusal of a search that the disk has no room for. Not here: sizes of one recipe
(``spectrum.data.set_sizes``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from spectrum.config import PreprocessingConfig
from spectrum.data.describing import recipe_words, size_text
from spectrum.data.folds import draw_folds
from spectrum.data.inputs import select_inputs
from spectrum.data.pipeline import find_shards
from spectrum.data.recipe import recipe_fingerprint
from spectrum.data.runs import RunTable
from spectrum.data.sequences import build_table
from spectrum.data.set_plan import SetPlan
from spectrum.data.set_sizes import SizeEstimate, free_bytes, spatial_name
from spectrum.data.shards import ShardSet
from spectrum.data.store import set_bytes
from spectrum.errors import ConfigError, SearchError, TargetError
from spectrum.search.forecast import Forecaster, Machine, forecast
from spectrum.search.sealing import index_unsealed, plan_seal
from spectrum.search.space import SearchSpace
from spectrum.search.validity import related_values
from spectrum.targets import Target, read_target

__all__ = ["DiskPlan", "PlannedSet", "check_disk", "plan_disk", "plan_study", "recipes_of"]

MAX_RECIPES: Final = 1000
"""Shard sets beyond which a space is said to have at least as many."""

UNKNOWN_MACHINE: Final = Machine()
"""Nothing is measured, and trials are told as one at a time."""

SPATIAL_PATHS: Final = tuple(
    f"preprocessing.{name}"
    for name in (
        "drop_initial_volumes",
        "motion_correction",
        "slice_timing",
        "normalization",
        "grid",
        "matrix",
        "voxel_mm",
        "brain_mask",
    )
)
"""What the spatial parts of runs depend on (``spectrum.data.recipe.SPATIAL_STEPS``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSet:
    """A shard set that trials may want.

    ``num_bytes`` is what it takes, measured where it is made and estimated where not; ``spatial``
    names the spatial parts it is made from, and ``recipe`` tells what differs from the defaults.
    """

    recipe: str
    num_runs: int
    num_volumes: int
    num_bytes: int
    made: bool
    spatial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """The disk that a search needs at most.

    ``sets`` are those of all recipes, the default's first; ``spatial`` gives the bytes of each
    distinct spatial product, whether made or not; ``num_trials`` bounds both, as a trial makes one
    set at most; ``disk_bytes`` is the budget of the study, or None.
    """

    sets: tuple[PlannedSet, ...]
    spatial: Mapping[str, int]
    num_trials: int
    disk_bytes: int | None
    free_bytes: int

    @property
    def spatial_bytes(self) -> int:
        """Bytes of the spatial products that the trials can reach."""
        return sum(_largest(self.spatial.values(), self.num_trials))

    @property
    def set_bytes(self) -> int:
        """Bytes of the sets that the trials can make, within the budget."""
        todo = sum(_largest(_todo(self.sets), self.num_trials))
        return todo if self.disk_bytes is None else min(todo, self.disk_bytes)

    @property
    def needed_bytes(self) -> int:
        """Bytes that must be free: what is not made, and one set twice while it is made."""
        made = {planned.spatial for planned in self.sets if planned.made}
        parts = [size for name, size in self.spatial.items() if name not in made]
        spare = max(_todo(self.sets), default=0)
        return sum(_largest(parts, self.num_trials)) + self.set_bytes + spare

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            "sets": [asdict(planned) for planned in self.sets],
            "spatial_products": len(self.spatial),
            "spatial_bytes": self.spatial_bytes,
            "set_bytes": self.set_bytes,
            "needed_bytes": self.needed_bytes,
            "free_bytes": self.free_bytes,
            "disk_bytes": self.disk_bytes,
        }


def plan_study(
    space: SearchSpace,
    *,
    roots: Sequence[Path],
    shards_root: Path,
    num_trials: int | None = None,
    machine: Machine = UNKNOWN_MACHINE,
) -> dict[str, Any]:
    """Return the plan of a search as plain JSON; nothing is made.

    Parameters
    ----------
    num_trials : None is the space's
    machine : where the search would run; its probe measures how long

    Returns
    -------
    plan : ``shard_sets`` is how many recipes the space can reach, ``shard_sets_ready`` how many of
        them are made; ``folds`` are those of the default, as far as headers tell before its shards
        are made, and null where there are none; ``cost`` tells models, times and re-runs,
        ``disk`` what the sets take, and ``refusal`` why a search would not start, or null
    """
    space.check()
    config = space.default_config
    target = read_target(config.target)
    seal = plan_seal(space, roots)
    table = index_unsealed(roots, config.data, seal)
    disk = plan_disk(space, table, target, shards_root=shards_root, num_trials=num_trials)
    forecaster = Forecaster(_sizes(table, space, target, shards_root), target)
    default = find_shards(table, config.preprocessing, shards_root, target)
    folds, no_fold = _folds(space, target, default, forecaster)
    return {
        "space": space.name,
        "num_trials": disk.num_trials,
        "sampler": space.study.sampler,
        "pruner": space.study.pruner.rule,
        "parameters": {path: str(parameter) for path, parameter in space.parameters.items()},
        "target": target.name,
        "scheme": config.folds.scheme,
        "sealed": seal.told if seal is not None else None,
        **_counts(table, target),
        "folds": folds,
        "shard_sets": len(disk.sets),
        "shard_sets_ready": sum(planned.made for planned in disk.sets),
        "epochs_at_most": disk.num_trials * config.training.num_epochs,
        "cost": forecast(
            space,
            forecaster,
            num_trials=disk.num_trials,
            machine=machine,
        ),
        "disk": disk.to_json(),
        "refusal": refusal_of(disk, shards_root) or no_fold,
    }


def plan_disk(
    space: SearchSpace,
    table: RunTable,
    target: Target,
    *,
    shards_root: Path,
    num_trials: int | None = None,
    is_exact: bool = True,
) -> DiskPlan:
    """Return the sets and spatial products that a space can reach, and what they take.

    Parameters
    ----------
    num_trials : None is the space's
    is_exact : whether a set counts as made only where it is one of these runs, which reads every
        set's manifest; otherwise one of any runs will do
    """
    recipes = recipes_of(space)
    inputs = select_inputs(table, recipes[0], target, shards_root)
    estimate = SizeEstimate(inputs.jobs, _shapes(table))

    def find(recipe: PreprocessingConfig) -> Path | None:
        earlier = SetPlan(root=shards_root, inputs=replace(inputs, recipe=recipe)).earlier_sets
        if not earlier or not is_exact:
            return next(iter(earlier), None)
        return find_shards(table, recipe, shards_root, target)

    products = {spatial_name(recipe): recipe for recipe in recipes_of(space, SPATIAL_PATHS)}
    return DiskPlan(
        sets=tuple(_planned(recipe, estimate, find(recipe)) for recipe in recipes),
        spatial={name: estimate.size_of(r).spatial_bytes for name, r in products.items()},
        num_trials=num_trials or space.study.num_trials,
        disk_bytes=space.study.disk_bytes,
        free_bytes=free_bytes(shards_root),
    )


def _planned(recipe: PreprocessingConfig, estimate: SizeEstimate, made: Path | None) -> PlannedSet:
    size = estimate.set_size(recipe)
    return PlannedSet(
        recipe=recipe_words(recipe),
        num_runs=size.num_runs,
        num_volumes=size.num_volumes,
        num_bytes=size.set_bytes if made is None else set_bytes(made),
        made=made is not None,
        spatial=spatial_name(recipe),
    )


def check_disk(plan: DiskPlan, shards_root: Path) -> None:
    """Raise SearchError where a search needs more disk than it may have, or than there is."""
    refusal = refusal_of(plan, shards_root)
    if refusal is not None:
        raise SearchError(refusal)


def refusal_of(plan: DiskPlan, shards_root: Path) -> str | None:
    """Return why a search is refused for want of disk, or None."""
    num_products = min(len(plan.spatial), plan.num_trials)
    parts = f"{num_products} spatial products of the space take {size_text(plan.spatial_bytes)}"
    if plan.disk_bytes is not None and plan.spatial_bytes > plan.disk_bytes:
        return (
            f"The {parts}, which stay on disk, and study.disk_gib allows "
            f"{size_text(plan.disk_bytes)}. Search fewer values of grid, voxel_mm and the other "
            "spatial steps, or raise study.disk_gib."
        )
    if plan.needed_bytes > plan.free_bytes:
        bound = (
            "set study.disk_gib, which evicts sets"
            if plan.disk_bytes is None
            else "lower study.disk_gib"
        )
        return (
            f"The search needs up to {size_text(plan.needed_bytes)} of disk ({parts}, its sets "
            f"{size_text(plan.set_bytes)}), and {shards_root} has {size_text(plan.free_bytes)} "
            f"free. Free some, search fewer recipes, {bound}, or choose another --shards folder."
        )
    return None


def _todo(sets: Iterable[PlannedSet]) -> list[int]:
    return [planned.num_bytes for planned in sets if not planned.made]


def _largest(sizes: Iterable[int], number: int) -> list[int]:
    return sorted(sizes, reverse=True)[:number]


def recipes_of(
    space: SearchSpace, beginnings: tuple[str, ...] = ("preprocessing.",)
) -> list[PreprocessingConfig]:
    """Return the recipes that points of a space can have, the default's first.

    Recipes that differ in nothing that counts are one.

    Parameters
    ----------
    beginnings : of the config paths that may differ from the default
    """
    values_of = related_values(space, beginnings)
    default = space.default_config.preprocessing
    recipes = {recipe_fingerprint(default): default}
    for values in itertools.product(*values_of.values()):
        point = space.point_from(dict(zip(values_of, values, strict=True)))
        recipe = space.config(point).preprocessing
        recipes.setdefault(recipe_fingerprint(recipe), recipe)
        if len(recipes) == MAX_RECIPES:
            break
    return list(recipes.values())


def _counts(table: RunTable, target: Target) -> dict[str, int]:
    if target.kind == "run":
        runs = [run for run in table.runs if run.is_usable and target.class_of(run.key)]
    else:
        runs = [run for run in table.runs if run.is_usable]
    volumes = sum(run.shape[3] for run in runs if run.shape is not None)
    return {"num_runs": len(runs), "num_volumes": volumes}


def _shapes(table: RunTable) -> dict[str, tuple[int, int, int, int]]:
    return {str(run.key): run.shape for run in table.runs if run.shape is not None}


def _sizes(table: RunTable, space: SearchSpace, target: Target, shards_root: Path) -> SizeEstimate:
    """Return sizes from headers alone: no image is read to tell shapes and lengths."""
    inputs = select_inputs(table, space.default_config.preprocessing, target, shards_root)
    return SizeEstimate(inputs.jobs, _shapes(table), reads_images=False)


def _folds(
    space: SearchSpace, target: Target, shards: Path | None, forecaster: Forecaster
) -> tuple[list[str] | None, str | None]:
    """Return the names of the default's folds, or None and why there are none."""
    config = space.default_config
    try:
        if shards is None:
            return [fold.name for fold in forecaster.folds(config)], None
        units = build_table(ShardSet.open(shards).manifest.runs, target, config.sequences)
        drawn = draw_folds(units, config.folds, paired=target.paired)
    except (TargetError, ConfigError) as err:
        return None, str(err)
    return [fold.name for fold in drawn], None
