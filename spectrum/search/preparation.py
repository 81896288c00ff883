"""What stands before the first trial: runs, folds, floor, and the fingerprints of the data.

Folds are drawn once, from the default configuration's data, and name their units, so that they
hold for every recipe. The floor is measured once, on the raw runs' numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig, digest_weights, fingerprint
from spectrum.data.folds import check_folds, draw_folds, fold_manifest
from spectrum.data.pipeline import PrepareResult, prepare
from spectrum.data.runs import RunTable
from spectrum.data.seals import Seal
from spectrum.data.sequences import build_table
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold, SequenceTable
from spectrum.evaluation.audit import measure_floor
from spectrum.search.plan import check_disk, plan_disk
from spectrum.search.sealing import index_unsealed
from spectrum.search.space import SearchSpace
from spectrum.search.validity import related_values
from spectrum.targets import Target, read_target

__all__ = [
    "OnStep",
    "Preparation",
    "left_out_notes",
    "make_set",
    "prepare_study",
    "tell_no_step",
    "weights_of",
]

OnStep = Callable[[str, int, int], None]
"""Told what is being done, in words, and how much of it is done, of how much."""


def tell_no_step(title: str, done: int, total: int) -> None:
    """Take how far a step is, and tell no one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """The default configuration's data, ready to be searched on."""

    space: SearchSpace
    table: RunTable
    target: Target
    shards: ShardSet
    units: SequenceTable
    folds: tuple[Fold, ...]
    fold_manifest: Mapping[str, Any]
    refused: tuple[Mapping[str, Any], ...]
    image_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each image left out or odd, and each unit unused or overlapping."""
        return left_out_notes(self.table, self.image_notes, self.units, self.fold_manifest)

    @property
    def fingerprints(self) -> dict[str, Any]:
        """What must be the same for trials to be comparable: images, content, target, folds.

        And the weights that trials start from, where any does.
        """
        runs = self.shards.manifest.runs
        weights = weights_of(self.space)
        return {
            "runs": {str(run.key): run.image_sha256 for run in runs},
            "content": self.shards.manifest.content_hash,
            "target": fingerprint(self.target.model_dump(mode="json")),
            "folds": self.fold_manifest["content_hash"],
            **({"weights": weights} if weights else {}),
        }

    def measure_floor(self) -> dict[str, Any]:
        """Return what acquisition numbers alone score on the folds, as JSON."""
        return measure_floor(
            self.shards,
            self.units,
            self.folds,
            target=self.target,
            scheme=self.space.default_config.folds.scheme,
        ).to_json()


def left_out_notes(
    table: RunTable,
    image_notes: Sequence[str],
    units: SequenceTable,
    manifest: Mapping[str, Any],
) -> tuple[str, ...]:
    """Return why images and labelled units were left out or are odd, each sentence once."""
    lost = (p.message for p in units.problems if p.code not in ("unlabelled", "excluded"))
    return tuple(dict.fromkeys((*table.notes, *image_notes, *lost, *manifest["notes"])))


def make_set(
    table: RunTable, config: TrialConfig, target: Target, *, shards_root: Path, on_step: OnStep
) -> tuple[PrepareResult, ShardSet]:
    """Make the shard set of a configuration's recipe, or find it made; return it opened."""
    prepared = prepare(
        table,
        config.preprocessing,
        shards_root=shards_root,
        target=target,
        on_run_done=partial(on_step, "Preparing runs"),
    )
    return prepared, ShardSet.open(prepared.shards)


def prepare_study(
    space: SearchSpace,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    num_trials: int | None = None,
    seal: Seal | None = None,
    on_step: OnStep = tell_no_step,
) -> Preparation:
    """Index the trees, make the default configuration's shards, cut units and draw folds.

    Parameters
    ----------
    space : what is searched
    roots : BIDS trees
    shards_root : folder of all shard sets
    num_trials : trials that make sets; None is the space's
    seal : who is left out of everything
    on_step : told how far reading headers, making shards and measuring are

    Raises
    ------
    SearchError
        Where the disk has no room for what the search makes; nothing was made then.
    LeakageError
        Where a run of the trees has the image of a sealed one.
    TargetError, ConfigError, DataError
        Where no run is usable, or the target has no scorable fold under the scheme.
    """
    config = space.default_config
    target = read_target(config.target)
    table = index_unsealed(
        roots, config.data, seal, on_run_done=partial(on_step, "Reading headers")
    )
    disk = plan_disk(
        space, table, target, shards_root=shards_root, num_trials=num_trials, is_exact=False
    )
    check_disk(disk, shards_root)
    prepared, shards = make_set(table, config, target, shards_root=shards_root, on_step=on_step)
    if seal is not None:
        seal.check(shards.manifest.runs)
    units = build_table(shards.manifest.runs, target, config.sequences)
    folds = draw_folds(
        units, config.folds, paired=target.paired, monitor_fraction=_monitor_fraction(space)
    )
    check_folds(folds, units, config.folds)
    return Preparation(
        space=space,
        table=table,
        target=target,
        shards=shards,
        units=units,
        folds=folds,
        fold_manifest=fold_manifest(folds, units, config.folds),
        refused=tuple(asdict(p) for p in (*table.refused_files, *prepared.refused)),
        image_notes=prepared.notes,
    )


def _monitor_fraction(space: SearchSpace) -> float | None:
    """Return the share of monitor groups where any trial may stop a fold early."""
    training = space.default_config.training
    may_stop = training.patience_epochs or "training.patience_epochs" in space.parameters
    return training.monitor_fraction if may_stop else None


def weights_of(space: SearchSpace) -> dict[str, str]:
    """Return the digest of each weights file that a trial of the space may start from."""
    values_of = related_values(space, ("model.weights",))
    combinations = itertools.product(*values_of.values())
    points = (space.point_from(dict(zip(values_of, v, strict=True))) for v in combinations)
    paths = {space.config(point).model.weights for point in points}
    return {str(path): digest_weights(str(path)) for path in sorted(filter(None, paths))}
