"""Images that stand on both sides of a fold under two names. Pure.

Shard sets refuse copies and keep a person together when they are made; tables know less, and equal
digests or numbers that agree to the last digit give a copy away. Not here: the folds' own check of
subjects (``data.folds``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spectrum.data.units import Fold, SequenceTable
from spectrum.evaluation.predictors import Predictors

if TYPE_CHECKING:
    from spectrum.evaluation.measured import MeasuredRuns

__all__ = ["Copy", "find_copies_across"]

FEW: Final = 4
"""Numbers that must agree: geometry alone is the same in many runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Runs that are one image, why they are taken for it, and the folds that they straddle."""

    runs: tuple[str, ...]
    why: str
    folds: tuple[str, ...]


def find_copies_across(
    runs: MeasuredRuns, table: SequenceTable, folds: Sequence[Fold], predictors: Predictors
) -> tuple[Copy, ...]:
    """Return the images that have several names.

    Parameters
    ----------
    runs : with digests where these are known
    table : the units
    folds : of the scheme
    predictors : the acquisition numbers of each unit; those that tell subjects apart count
    """
    alike: defaultdict[tuple[str, object], set[int]] = defaultdict(set)
    telling = _telling(predictors)
    for index, unit in enumerate(table.units):
        run = runs.manifest.runs[unit.run_index]
        for why in ("voxels_sha256", "image_sha256"):
            digest = getattr(run, why)
            if digest:
                alike["equal images", digest].add(unit.run_index)
        row = tuple(predictors.values[index, telling].tolist())
        if len(telling) >= FEW and all(value == value for value in row):
            alike["all numbers equal", row].add(unit.run_index)
    found: dict[tuple[int, ...], str] = {}
    for (why, _), members in sorted(alike.items(), key=lambda item: item[0][0], reverse=True):
        if len(members) > 1:
            found.setdefault(tuple(sorted(members)), why)
    return tuple(_copy(members, why, runs, table, folds) for members, why in sorted(found.items()))


def _telling(predictors: Predictors) -> list[int]:
    """Return the columns of measured numbers, which no two images share."""
    geometry = ("num_", "voxel_", "tr_s", "event_")
    return [i for i, name in enumerate(predictors.names) if not name.startswith(geometry)]


def _copy(
    members: tuple[int, ...],
    why: str,
    runs: MeasuredRuns,
    table: SequenceTable,
    folds: Sequence[Fold],
) -> Copy:
    straddled = [fold.name for fold in folds if _straddles(fold, members, table)]
    names = tuple(str(runs.manifest.runs[index].key) for index in members)
    return Copy(runs=names, why=why, folds=tuple(straddled))


def _straddles(fold: Fold, members: tuple[int, ...], table: SequenceTable) -> bool:
    def has(units: Sequence[int]) -> bool:
        return any(table.units[unit].run_index in members for unit in units)

    return has(fold.validation) and has((*fold.training, *fold.monitor))
