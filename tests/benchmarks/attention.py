"""Do the maps find what was planted, and nothing where nothing was learned?

    python -m tests.benchmarks.attention --json

Planted: the default configuration of ``quickstart``, trained on simulated data whose class effect
lies in two regions (medial temporal lobe early, striatum late; ``spectrum.data.simulate``). The
map of each class, over runs that its fold held out, is compared with the class's region: AUC over
the brain's voxels, ``ours``; ``peer`` is the same with fresh weights, the mean of five draws.
Real (``--real``): the decoding of ``tests/benchmarks/decoding.py``, Haxby et al. (2001), one
slice. The mean of the categories' maps is compared with the voxel-wise F of the categories in the
training runs: mean of Spearman's rho over the folds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.feature_selection import f_classif

from spectrum.config import TrialConfig
from spectrum.data.grids import common_grid
from spectrum.data.map_grid import to_voxels
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.data.simulate.anatomy import DEEP_REGIONS
from spectrum.data.store import find_by_content
from spectrum.data.units import SequenceData
from spectrum.evaluation.map_checks import FaithfulnessMeter, region_auc
from spectrum.launch import local_ray
from spectrum.model.attention_maps import METHODS, Method
from spectrum.search.exporting import export_model
from spectrum.search.single import TrainResult, train_single
from spectrum.search.space import read_space
from spectrum.training.explaining import average_maps, iter_explained
from spectrum.training.exported import ExportedModel

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.decoding import config_of
from tests.benchmarks.telling import measured_here, tell

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"
REALDATA = Path(os.environ.get("SPECTRUM_REALDATA", "../shared/realdata"))
EFFECT_PERCENT = 6.0
NUM_FRESH = 5
SYSTEM_OF_CLASS = {"early": "medial temporal lobe", "late": "striatum"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained model, its shards and its score."""

    model: ExportedModel
    shards: ShardSet
    result: TrainResult


def trained(config: TrialConfig, roots: list[Path], folder: Path) -> Trained:
    shards_root = folder / "shards"
    result = train_single(
        config, roots, shards_root=shards_root, out=folder / "trained", on_epoch=lambda told: None
    )
    model = export_model(folder / "trained", folder / "model")
    found = find_by_content(model.header.data_hash, [shards_root])
    assert found is not None
    return Trained(model=model, shards=ShardSet.open(found), result=result)


def planted_regions(voxel_mm: float) -> dict[str, NDArray[np.bool_]]:
    """Return the region of each class on the common grid, X, Y, Z."""
    grid = common_grid(voxel_mm)
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    places_mm = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return {
        name: np.any([r.contains(places_mm) for r in DEEP_REGIONS if r.system == system], axis=0)
        for name, system in SYSTEM_OF_CLASS.items()
    }


def planted_rows(seed: int) -> Iterator[dict[str, Any]]:
    config = read_space(SPACE).default_config
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulation = SimulationConfig(truth="effect", seed=seed, effect_percent=EFFECT_PERCENT)
        found = trained(config, simulate(folder / "bids", simulation), folder)
        regions = planted_regions(config.preprocessing.voxel_mm)
        for method in METHODS:
            yield planted_row(found, method, regions, seed)


def planted_row(
    found: Trained, method: Method, regions: Mapping[str, NDArray[np.bool_]], seed: int
) -> dict[str, Any]:
    meter = FaithfulnessMeter(np.random.default_rng(seed), every=3)
    aucs = region_aucs(found, method, regions, meter=meter)
    fresh = [region_aucs(found, method, regions, fresh_seed=s) for s in range(NUM_FRESH)]
    ours, peer = float(np.mean(list(aucs.values()))), np.mean([list(f.values()) for f in fresh])
    return {
        "benchmark": "attention",
        "case": f"planted effect, {method}, seed {seed}",
        "ours": ours,
        "peer": float(peer),
        "ratio": ours / float(peer),
        "goal": "ours above 0.8, fresh weights 0.5 +- 0.1",
        "met": bool(ours > 0.8 and abs(peer - 0.5) <= 0.1),
        "auc_of_class": aucs,
        "auc_fresh": fresh,
        "faithfulness": meter.result().to_json(),
        "score": found.result.score.value,
        **measured_here(),
    }


def region_aucs(
    found: Trained,
    method: Method,
    regions: Mapping[str, NDArray[np.bool_]],
    *,
    fresh_seed: int | None = None,
    meter: FaithfulnessMeter | None = None,
) -> dict[str, float]:
    def batches() -> Iterator[Any]:
        for batch in iter_explained(
            found.model, found.shards, method, sequences_per_unit=3, fresh_seed=fresh_seed
        ):
            if meter is not None:
                meter.add(batch)
            yield batch

    maps = average_maps(batches(), plane="axial")
    told = {n: region_auc(maps.of_class[n], r, maps.inside_XYZ) for n, r in regions.items()}
    return {name: value for name, value in told.items() if value is not None}


def real_rows(seed: int, roots: list[Path]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        found = trained(config_of(seed), roots, Path(name))
        sequences = found.model.header.config.sequences
        data = read_sequences(found.shards, found.model.header.target, sequences)
        for method in METHODS:
            yield real_row(found, method, data, seed)


def real_row(found: Trained, method: Method, data: SequenceData, seed: int) -> dict[str, Any]:
    meter = FaithfulnessMeter(np.random.default_rng(seed), every=1)
    rho = f_correlation(found, method, data, meter=meter)
    fresh = [f_correlation(found, method, data, fresh_seed=s) for s in range(NUM_FRESH)]
    peer = float(np.mean(fresh))
    return {
        "benchmark": "attention",
        "case": f"Haxby 2001 subject 1, one slice, {method}, seed {seed}",
        "ours": rho,
        "peer": peer,
        "ratio": rho / peer if peer else None,
        "goal": "rank correlation with F above that of every one of the fresh weights",
        "met": bool(rho > max(fresh)),
        "rho_fresh": fresh,
        "faithfulness": meter.result().to_json(),
        "score": found.result.score.value,
        **measured_here(),
    }


def f_correlation(
    found: Trained,
    method: Method,
    data: SequenceData,
    *,
    fresh_seed: int | None = None,
    meter: FaithfulnessMeter | None = None,
) -> float:
    """Return the mean over folds of the rank correlation of the map with F in training runs."""
    values = []
    for fold in found.model.header.folds:
        header = found.model.header.model_copy(update={"folds": (fold,)})
        alone = ExportedModel(path=found.model.path, header=header)
        batches = list(
            iter_explained(
                alone, found.shards, method, sequences_per_unit=3, fresh_seed=fresh_seed
            )
        )
        for batch in batches if meter is not None else ():
            meter.add(batch)
        maps = average_maps(batches, plane="axial")
        mean = np.mean([np.maximum(m, 0.0) for m in maps.of_class.values()], axis=0)
        inside = maps.inside_XYZ
        f = category_f(data, set(fold.trained))[inside]
        values.append(float(np.nan_to_num(spearmanr(mean[inside], f)[0])))
    return float(np.mean(values))


def category_f(data: SequenceData, runs: set[str]) -> NDArray[np.float64]:
    """Return the F of the categories over the mean volumes of events of some runs, X, Y, Z."""
    table = data.table
    units = [i for i, unit in enumerate(table.units) if str(unit.key) in runs]
    means = np.stack([event_mean(data, unit) for unit in units])
    classes = [table.units[unit].class_index for unit in units]
    with np.errstate(divide="ignore", invalid="ignore"):
        f, _ = f_classif(means.reshape(len(units), -1), classes)
    return np.asarray(to_voxels(np.nan_to_num(f).reshape(means.shape[1:]), "axial"))


def event_mean(data: SequenceData, unit: int) -> NDArray[np.float64]:
    starts = data.first_volume_of_sequence[data.table.unit_of_sequence == unit]
    volumes = np.unique(np.add.outer(starts, data.table.offsets))
    return np.asarray(data.slices_VSHW[volumes].astype(np.float64).mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--real", action="store_true", help="the real slice, not the planted data")
    arguments = parser.parse_args()
    with local_ray(num_cpus=2):
        for seed in arguments.seeds:
            roots = [REALDATA / "bold" / "haxby2001-1slice"]
            rows = real_rows(seed, roots) if arguments.real else planted_rows(seed)
            for row in rows:
                text = f"{row['case']}: {row['ours']:.3f}, fresh weights {row['peer']:.3f}"
                tell(row, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
