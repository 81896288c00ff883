"""Attention maps of a study's selected trial, or of a training, with their checks, as a folder.

``checks.json`` says what was explained and what the maps are worth, ``maps/`` and ``subjects/``
hold NIfTI images, ``peaks.tsv`` the peaks; ``brain.nii.gz`` are the voxels that count. Not here:
the figure (``spectrum.report.attention``).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.map_grid import MapGrid, map_grid, read_region, write_map
from spectrum.data.run_views import mean_on_grid
from spectrum.data.shards import ShardSet
from spectrum.data.store import find_by_content
from spectrum.errors import SearchError
from spectrum.evaluation.map_checks import FaithfulnessMeter, rank_correlation, region_auc
from spectrum.evaluation.map_peaks import Peak, find_peaks, write_peaks
from spectrum.model.attention_maps import METHODS, Method
from spectrum.owners import folder_written_aside
from spectrum.search.exporting import export_model
from spectrum.search.json_lines import write_json
from spectrum.training.explaining import ClassMaps, average_maps, iter_explained
from spectrum.training.exported import MODEL_NAME, ExportedModel, read_model

__all__ = ["CHECKS_NAME", "ExplainOptions", "explain_source", "map_name"]

CHECKS_NAME: Final = "checks.json"

MAX_CORRELATION: Final = 0.5
"""A map that correlates more with that of fresh weights shows the image or the architecture, and
not what was learned; half of the way to the same order of voxels."""

OnDone = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """How much is explained.

    ``sequences_per_unit`` are of each run or event; ``fresh_seeds`` draw the weights that learned
    nothing, which are asked about one sequence of each. ``regions`` are images of regions, by
    class; "" stands for every class.
    """

    methods: tuple[Method, ...] = METHODS
    sequences_per_unit: int = 4
    fresh_seeds: tuple[int, ...] = (0, 1, 2)
    regions: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """What one method found: maps, peaks, and what the checks say."""

    maps: ClassMaps
    peaks: Mapping[str, tuple[Peak, ...]]
    checks: Mapping[str, Any]


def explain_source(
    source: Path,
    shards_roots: Sequence[Path],
    out: Path,
    *,
    options: ExplainOptions,
    on_done: OnDone = lambda what, done, total: None,
) -> dict[str, Any]:
    """Explain what the folds held out, check the maps, and write them into a new folder.

    Parameters
    ----------
    source : folder of a study, of a finished training, or of an exported model
    shards_roots : folders of shard sets to look in
    out : folder of the maps; must not exist yet
    options : how much
    on_done : told what is explained, sequences done and in all

    Returns
    -------
    told : what ``checks.json`` holds

    Raises
    ------
    SearchError
        Where ``out`` exists, or the shards of the source are not there.
    CheckpointError
        Where a model is missing or damaged.
    ConfigError
        Where the attention of the encoder cannot be rolled out.
    """
    if out.exists() or out.is_symlink():
        raise SearchError(f"{out} exists already. Give another folder with --out, or remove it.")
    with tempfile.TemporaryDirectory() as folder:
        model = _model(source, Path(folder) / "model")
        shards = _shards(model, shards_roots)
        grid = map_grid(shards.manifest.runs, shards.manifest.recipe)
        found = {
            method: _explained(model, shards, method, grid, options, on_done)
            for method in options.methods
        }
        told = _told(model, grid, found, options)
    with folder_written_aside(out) as aside:
        _write(aside, found, grid, told, mean_on_grid(shards))
    return told


def _model(source: Path, aside: Path) -> ExportedModel:
    return read_model(source) if _is_exported(source) else export_model(source, aside)


def _is_exported(source: Path) -> bool:
    return (source / MODEL_NAME).is_file()


def _shards(model: ExportedModel, roots: Sequence[Path]) -> ShardSet:
    found = find_by_content(model.header.data_hash, roots)
    if found is None:
        places = ", ".join(str(root) for root in roots)
        raise SearchError(
            f"The shard set of the model is not in {places}. Give the folder that holds it with "
            "--shards, or make it again with `spectrum prepare`."
        )
    return ShardSet.open(found)


def _explained(
    model: ExportedModel,
    shards: ShardSet,
    method: Method,
    grid: MapGrid,
    options: ExplainOptions,
    on_done: OnDone,
) -> _Method:
    plane = model.header.config.sequences.plane
    meter = FaithfulnessMeter(np.random.default_rng(0), every=_every(model, options))

    def average(per_unit: int, what: str, fresh_seed: int | None) -> ClassMaps:
        batches = iter_explained(
            model,
            shards,
            method,
            sequences_per_unit=per_unit,
            fresh_seed=fresh_seed,
            on_done=lambda done, total: on_done(what, done, total),
        )
        return average_maps(_metered(batches, meter, fresh_seed is None), plane=plane)

    maps = average(options.sequences_per_unit, method, None)
    fresh = [average(1, f"{method}, fresh weights {s}", s) for s in options.fresh_seeds]
    checks = {
        "faithfulness": meter.result().to_json(),
        "randomised": _randomised(maps, fresh),
        "region": _in_regions(maps, fresh, grid, options.regions),
    }
    peaks = {
        name: find_peaks(values, maps.inside_XYZ, grid) for name, values in maps.of_class.items()
    }
    return _Method(maps=maps, peaks=peaks, checks=checks)


def _every(model: ExportedModel, options: ExplainOptions) -> int:
    """Return how far apart the measured batches stand, so that every fold has some."""
    units = sum(len(fold.held_out_runs) for fold in model.header.folds)
    return max(1, units * options.sequences_per_unit // 48)


def _metered(batches: Iterator[Any], meter: FaithfulnessMeter, is_measured: bool) -> Iterator[Any]:
    for batch in batches:
        if is_measured:
            meter.add(batch)
        yield batch


def _randomised(maps: ClassMaps, fresh: Sequence[ClassMaps]) -> dict[str, Any]:
    rho = rank_correlation(maps.of_class, [f.of_class for f in fresh], maps.inside_XYZ)
    return {
        "rank_correlation": round(rho, 4),
        "num_models": len(fresh),
        "passed": rho < MAX_CORRELATION,
    }


def _in_regions(
    maps: ClassMaps, fresh: Sequence[ClassMaps], grid: MapGrid, regions: Mapping[str, Path]
) -> dict[str, Any] | None:
    """Return the AUC of each class's map for its region, and that of fresh weights."""
    if not regions:
        return None
    found: dict[str, Any] = {}
    for name, values in maps.of_class.items():
        path = regions.get(name, regions.get(""))
        if path is None:
            continue
        region_XYZ = read_region(path, grid, values.shape)
        aucs = [region_auc(m.of_class[name], region_XYZ, maps.inside_XYZ) for m in (maps, *fresh)]
        if aucs[0] is None:
            raise SearchError(
                f"{path} has no voxel in the brain of the maps, or all of it. "
                "Give a mask in the millimetres of the maps."
            )
        found[name] = {"auc": aucs[0], "auc_fresh": [a for a in aucs[1:] if a is not None]}
    return found


def _told(
    model: ExportedModel,
    grid: MapGrid,
    found: Mapping[Method, _Method],
    options: ExplainOptions,
) -> dict[str, Any]:
    header = model.header
    first = next(iter(found.values()))
    return {
        "source": header.source,
        "target": header.target.name,
        "classes": sorted(first.maps.of_class),
        "subjects": sorted(first.maps.of_subject),
        "space": grid.space,
        "space_told": grid.told,
        "num_sequences": first.maps.num_sequences,
        "sequences_per_unit": options.sequences_per_unit,
        "score": header.score.model_dump(mode="json"),
        "methods": {method: dict(result.checks) for method, result in found.items()},
        "peaks": {
            method: {name: len(peaks) for name, peaks in result.peaks.items()}
            for method, result in found.items()
        },
    }


def _write(
    folder: Path,
    found: Mapping[Method, _Method],
    grid: MapGrid,
    told: Mapping[str, Any],
    mean_XYZ: NDArray[np.float32] | None,
) -> None:
    for name in ("maps", "subjects"):
        (folder / name).mkdir(parents=True)
    for method, result in found.items():
        for name, values in result.maps.of_class.items():
            write_map(folder / "maps" / map_name(method, name), values, grid)
        for subject, maps in result.maps.of_subject.items():
            for name, values in maps.items():
                path = folder / "subjects" / f"{_plain(subject)}_{map_name(method, name)}"
                write_map(path, values, grid)
    inside_XYZ = next(iter(found.values())).maps.inside_XYZ
    write_map(folder / "brain.nii.gz", inside_XYZ, grid)
    if mean_XYZ is not None:
        write_map(folder / "mean.nii.gz", mean_XYZ, grid)
    rows = [
        (method, name, peak)
        for method, result in found.items()
        for name, peaks in result.peaks.items()
        for peak in peaks
    ]
    write_peaks(folder / "peaks.tsv", rows)
    write_json(folder / CHECKS_NAME, dict(told))


def map_name(method: str, class_name: str) -> str:
    """Return the file name of the map of a class."""
    return f"{method}_class-{_plain(class_name)}.nii.gz"


def _plain(name: str) -> str:
    """Return a name as letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)
