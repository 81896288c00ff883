"""What an audit is made on: a shard set, or BIDS trees with or without tables of quality numbers.

Headers alone give geometry and length; a table adds the rest, and lets an audit do without images.
Not here: reading a table (``tables``), and what the numbers amount to (``audit``).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import DataConfig
from spectrum.data.bids import index_bids, read_events
from spectrum.data.manifest import MANIFEST_NAME
from spectrum.data.quality import RUN_QUALITY_NAMES
from spectrum.data.runs import Event, Run, RunTable
from spectrum.data.shards import ShardSet
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, SidecarError
from spectrum.evaluation.tables import QualityTable, read_quality_table

__all__ = ["Source", "TableRun", "TableRuns", "open_source"]

ABSENT_IMAGE: Final = "missing-image"
"""Code of a run whose image is not there; an audit of tables has no need of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRun:
    """A run of a BIDS tree, with what headers and tables tell of it; NaN is an unknown TR."""

    key: RunKey
    num_volumes: int
    tr_s: float
    quality: Mapping[str, float | None]
    events: tuple[Event, ...] = ()
    person: str = ""
    voxels_sha256: str = ""
    image_sha256: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRuns:
    """Runs of BIDS trees in the place of a shard set; nothing is known of single volumes."""

    runs: tuple[TableRun, ...]

    @property
    def manifest(self) -> TableRuns:
        """The runs themselves."""
        return self

    def read_volume_quality(self, run: Any) -> Mapping[str, NDArray[np.float64]]:
        """Return nothing: volumes are measured when shards are made."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Runs with their numbers, the shard set if they came from one, and what is to be said."""

    runs: ShardSet | TableRuns
    shards: ShardSet | None
    notes: tuple[str, ...]
    refused: tuple[Mapping[str, Any], ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Numbers of the image as scanned that no run has."""
        known = {
            name
            for run in self.runs.manifest.runs
            for name, value in run.quality.items()
            if value is not None
        }
        measured = (name for name in RUN_QUALITY_NAMES if not name.startswith("template_"))
        return tuple(name for name in measured if name not in known)


def open_source(
    paths: Sequence[Path],
    *,
    quality: Sequence[str] = (),
    choices: DataConfig | None = None,
    on_run_done: Callable[[int, int], None] | None = None,
) -> Source:
    """Open one shard set, or BIDS trees with tables of quality numbers.

    Parameters
    ----------
    paths : one folder with a shard set's manifest, or roots of BIDS trees
    quality : files, or ``<data set>=<file>``
    choices : what counts where BIDS trees leave a choice
    on_run_done : told headers of BIDS trees read, and how many there are

    Raises
    ------
    ConfigError
        Tables were given with a shard set, which has its own numbers.
    DataError
        A tree or a table cannot be read.
    """
    if any((path / MANIFEST_NAME).is_file() for path in paths):
        return _of_shards(paths, quality)
    table = index_bids(paths, choices, on_run_done=on_run_done)
    keys = [run.key for run in table.runs]
    return _of_trees(table, [_read_table(text, keys) for text in quality])


def _read_table(text: str, keys: Sequence[RunKey]) -> QualityTable:
    """Read ``FILE`` or ``DATASET=FILE``; a file whose own name has such a sign is taken whole."""
    dataset, sign, path = text.partition("=")
    if sign and not Path(text).exists():
        return read_quality_table(Path(path), keys, dataset=dataset)
    return read_quality_table(Path(text), keys)


def _of_shards(paths: Sequence[Path], quality: Sequence[str]) -> Source:
    if len(paths) > 1:
        raise ConfigError(
            f"{len(paths)} folders were given and one of them is a shard set. "
            "Give one shard set alone, or the roots of BIDS trees."
        )
    if quality:
        raise ConfigError(
            f"--quality was given with the shard set {paths[0]}, whose numbers were measured on "
            "the images. Take --quality away, or give the BIDS trees instead."
        )
    shards = ShardSet.open(paths[0])
    refused = tuple(refusal.model_dump() for refusal in shards.manifest.refused)
    return Source(runs=shards, shards=shards, notes=(), refused=refused)


def _of_trees(table: RunTable, tables: Sequence[QualityTable]) -> Source:
    numbers, notes = _merge(tables)
    digests = {key: digest for t in tables for key, digest in t.digests.items()}
    digests.update(_digests_of_alike(table.runs))
    kept = [run for run in table.runs if not _refusals(run)]
    runs = tuple(_table_run(run, numbers.get(run.key, {}), digests) for run in kept)
    without_image = sum(run.shape is None for run in kept)
    if without_image:
        notes.append(
            f"{without_image} of {len(kept)} runs have no image here; tables alone speak."
        )
    if tables:
        bare = [str(run.key) for run in kept if run.key not in numbers]
        notes += [f"{len(bare)} runs have no row in any table, first {bare[0]}."] if bare else []
    refused = tuple(
        {"code": problem.code, "path": problem.path, "message": problem.message}
        for run in table.runs
        for problem in _refusals(run)
    )
    return Source(runs=TableRuns(runs=runs), shards=None, notes=tuple(notes), refused=refused)


def _refusals(run: Run) -> list[Any]:
    return [p for p in run.problems if p.refuses and p.code != ABSENT_IMAGE]


def _merge(
    tables: Sequence[QualityTable],
) -> tuple[dict[RunKey, dict[str, float | None]], list[str]]:
    merged: defaultdict[RunKey, dict[str, float | None]] = defaultdict(dict)
    for table in tables:
        for key, numbers in table.numbers.items():
            for name, value in numbers.items():
                earlier = merged[key].get(name)
                if earlier is not None and value is not None and earlier != value:
                    raise SidecarError(
                        f"{table.path} has {name} {value:g} for {key}, an earlier table "
                        f"{earlier:g}. Expected one number; give one of the tables.",
                        code="bad-quality-table",
                        path=str(table.path),
                    )
                merged[key][name] = earlier if value is None else value
    return dict(merged), _notes_of(tables)


def _notes_of(tables: Sequence[QualityTable]) -> list[str]:
    """Tell unused columns once for all tables that share them, and unmatched rows by table."""
    paths_of: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for table in tables:
        paths_of[table.unused_columns].append(str(table.path))
    told = [
        f"{paths[0]}{f' and {len(paths) - 1} other tables' if paths[1:] else ''}: {len(columns)} "
        f"columns are no number of the floor and are not used: {', '.join(columns)}."
        for columns, paths in paths_of.items()
        if columns
    ]
    return told + [table.unmatched_note for table in tables if table.unmatched_rows]


def _table_run(
    run: Run, numbers: Mapping[str, float | None], digests: Mapping[RunKey, str]
) -> TableRun:
    events = read_events(run.events_path) if run.events_path is not None else ()
    quality = {**_geometry(run), **{n: v for n, v in numbers.items() if v is not None}}
    tr_s = quality.pop("tr_s", None) or run.tr_s or math.nan
    end_s = max((event.onset_s + event.duration_s for event in events), default=0.0)
    length = quality.get("num_volumes") or (end_s / tr_s if tr_s > 0 else 0.0)
    return TableRun(
        key=run.key,
        num_volumes=max(1, math.ceil(length)),
        tr_s=tr_s,
        quality=quality,
        events=events,
        image_sha256=digests.get(run.key, ""),
    )


def _geometry(run: Run) -> dict[str, float | None]:
    known: dict[str, float | None] = {}
    if run.shape is not None:
        known |= {"num_slices": float(run.shape[2]), "num_volumes": float(run.shape[3])}
    if run.voxel_mm is not None:
        known |= dict(zip(("voxel_x_mm", "voxel_y_mm", "voxel_z_mm"), run.voxel_mm, strict=True))
    return known


def _digests_of_alike(runs: Sequence[Run]) -> dict[RunKey, str]:
    """Digest the image files that have the size of another one; only these can be copies."""
    of_size: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs:
        if run.path.is_file():
            of_size[run.path.stat().st_size].append(run)
    alike = [run for same in of_size.values() if len(same) > 1 for run in same]
    found = {}
    for run in alike:
        with run.path.open("rb") as file:
            found[run.key] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
