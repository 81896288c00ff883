"""A set in the making: its names on disk, what can be taken over, how it is published.

Not here: the tasks that make runs and files (``making``).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spectrum.data.digests import DIGESTS_NAME, DigestCache
from spectrum.data.duplicates import find_copies
from spectrum.data.inputs import Inputs, RefusedRun
from spectrum.data.manifest import Refusal, ShardManifest, ShardRun, content_hash, read_manifest
from spectrum.data.pieces import RunJob, piece_path, shifted_events
from spectrum.data.recipe import recipe_fingerprint
from spectrum.data.shards import RunSource, ShardSet, read_piece
from spectrum.data.store import mark_used
from spectrum.entities import RunKey
from spectrum.errors import DataError, ShardError
from spectrum.owners import aside_path
from spectrum.storage import address_of

__all__ = [
    "MadeRun",
    "SetPlan",
    "common_shape",
    "describe_set",
    "is_linked",
    "no_runs",
    "other_shape",
    "publish",
    "take_over",
    "without_copies",
]

NUM_TRIES_TO_PUBLISH: Final = 3
"""Each time another maker must have come between; that is rare once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """Where a set of these inputs goes, and what is remembered beside it."""

    root: Path
    inputs: Inputs

    @property
    def recipe_name(self) -> str:
        """Beginning of the names of all sets of the recipe."""
        return recipe_fingerprint(self.inputs.recipe)[:16]

    @property
    def pieces(self) -> Path:
        """Folder of finished runs that stand in no set yet."""
        return self.root / f".pieces-{self.recipe_name}"

    @property
    def lock(self) -> Path:
        """Held by who makes sets of the recipe."""
        return self.root / f".{self.recipe_name}.lock"

    @property
    def is_of_one_node(self) -> bool:
        """Whether the folder is a copy of this node's own, which no other node sees."""
        return address_of(self.root) is not None

    @property
    def earlier_sets(self) -> list[Path]:
        """Finished sets of the recipe, over whatever inputs."""
        return sorted(
            path.parent for path in self.root.glob(f"{self.recipe_name}-*/manifest.json")
        )

    @property
    def has_past(self) -> bool:
        """Whether runs of the recipe have been made, so that digests are worth a read."""
        return bool(self.earlier_sets) or any(self.pieces.glob("*.parquet"))

    def folder(self, inputs_fingerprint: str) -> Path:
        """Return where the set of these inputs lies or will lie; sets are never changed."""
        return self.root / f"{self.recipe_name}-{inputs_fingerprint[:16]}"

    def without(self, refused: Mapping[str, Refusal]) -> SetPlan:
        """Return the plan with some of its runs refused, by name."""
        return replace(self, inputs=self.inputs.without(refused))

    def read_cache(self) -> DigestCache:
        """Read the digests known from earlier calls."""
        return DigestCache.read(self.root / DIGESTS_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRun:
    """A run that is made, and where its volumes are now."""

    run: ShardRun
    source: RunSource


def take_over(plan: SetPlan, known: dict[str, tuple[str, ...]]) -> dict[str, MadeRun]:
    """Find runs that an earlier set of the recipe, or an earlier attempt, has made already."""
    earlier = _earlier_runs(plan)
    found: dict[str, MadeRun] = {}
    for folder in plan.earlier_sets:
        mark_used(folder)
    for job in plan.inputs.jobs:
        name = job.name
        if name not in known:
            continue
        fingerprint = job.fingerprint_for(known[name])
        made = earlier.get((name, fingerprint)) or _from_piece(plan, job, fingerprint)
        if made is not None:
            run = made.run.model_copy(update={"events": shifted_events(job)})
            found[name] = MadeRun(run=run, source=made.source)
    return found


def _earlier_runs(plan: SetPlan) -> dict[tuple[str, str], MadeRun]:
    found = {}
    for folder in plan.earlier_sets:
        with suppress(ShardError):
            for run in read_manifest(folder).runs:
                source = RunSource(path=str(folder / run.shard), row_group=run.row_group)
                if Path(source.path).is_file():
                    found[str(run.key), run.fingerprint] = MadeRun(run=run, source=source)
    return found


def _from_piece(plan: SetPlan, job: RunJob, fingerprint: str) -> MadeRun | None:
    path = piece_path(plan.pieces, job.run_key, fingerprint)
    run = read_piece(path) if path.is_file() else None
    if run is None or run.fingerprint != fingerprint or str(run.key) != job.name:
        return None
    return MadeRun(run=run, source=RunSource(path=str(path), row_group=0))


def common_shape(made: Sequence[MadeRun]) -> tuple[int, int, int]:
    """Return the shape of most runs; of the first among equals."""
    counts = Counter(m.run.shape_SHW for m in made)
    return counts.most_common(1)[0][0] if counts else (0, 0, 0)


def other_shape(run: ShardRun, shape_SHW: tuple[int, int, int]) -> RefusedRun:
    """Refuse a run whose slices have another shape than the set."""
    message = (
        f"{run.key} has slices {run.shape_SHW}, most runs have {shape_SHW}. One shard set has one "
        "shape: choose preprocessing.grid: common or matrix, or prepare these runs apart."
    )
    refusal = Refusal(code="other-shape", path=str(run.key), message=message)
    return RefusedRun(key=run.key, refusal=refusal)


def without_copies(
    made: Sequence[MadeRun], others: Mapping[RunKey, str]
) -> tuple[list[MadeRun], list[RefusedRun]]:
    """Refuse runs whose image stands under another name too; say which names are one person.

    Parameters
    ----------
    made : the runs of the set
    others : digest of the voxels of every other run of the table
    """
    copies = find_copies({**others, **{m.run.key: m.run.voxels_sha256 for m in made}})
    refused = [
        RefusedRun(
            key=key, refusal=Refusal(code="duplicate-image", path=str(key), message=message)
        )
        for key, message in copies.refused.items()
        if key not in others
    ]
    kept = [
        replace(m, run=_of_person(m.run, copies.person_of))
        for m in made
        if m.run.key not in copies.refused
    ]
    return kept, refused


def _of_person(run: ShardRun, person_of: Mapping[str, str]) -> ShardRun:
    return run.model_copy(update={"person": person_of.get(run.key.group, "")})


def no_runs(refused: Sequence[RefusedRun]) -> DataError:
    """Return the error for a set without runs."""
    if not refused:
        return DataError(
            "No run of the table is labelled by the target. "
            "Choose another target (`spectrum targets`) or other data sets.",
            code="no-runs",
        )
    first = min(refused, key=lambda r: r.key).refusal
    return DataError(
        f"All {len(refused)} runs were refused; the first ({first.code}): {first.message}",
        code="no-runs",
        path=first.path,
    )


def is_linked(plan: SetPlan, name: str, aside: Path) -> bool:
    """Link a whole file of an earlier set; its name says that it holds the same runs."""
    for folder in plan.earlier_sets:
        with suppress(OSError):
            os.link(folder / name, aside / name)
            return True
    return False


def describe_set(
    plan: SetPlan, runs: tuple[ShardRun, ...], refused: tuple[Refusal, ...], inputs: str
) -> ShardManifest:
    """Return the manifest of a finished set."""
    shape_SHW = runs[0].shape_SHW
    return ShardManifest(
        recipe=plan.inputs.recipe,
        fingerprint=recipe_fingerprint(plan.inputs.recipe),
        inputs=inputs,
        shape_SHW=shape_SHW,
        runs=runs,
        refused=refused,
        num_volumes=sum(run.num_volumes for run in runs),
        content_hash=content_hash(runs, shape_SHW),
    )


def publish(aside: Path, folder: Path) -> Path:
    """Rename a whole set to its name; a damaged one under that name goes first.

    Another maker may do the same at the same time: the set of one of them stays.
    """
    for _ in range(NUM_TRIES_TO_PUBLISH):
        with suppress(OSError):
            aside.rename(folder)
            return folder
        with suppress(ShardError):
            return ShardSet.open(folder).path
        damaged = aside_path(folder.with_name(f"aside-damaged-{folder.name}"))
        with suppress(FileNotFoundError):
            folder.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
    aside.rename(folder)
    return folder
