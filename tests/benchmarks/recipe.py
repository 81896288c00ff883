"""What a recipe costs, beside nilearn's own best way and the original project's, in one run.

    python -m tests.benchmarks.recipe --json

Native-size simulated data (64 x 64 x 30 voxels, about 180 volumes) and the real run of
studyforrest (80 x 80 x 35 voxels, 78 volumes, axes oblique). Both sides take the same mask, and
do the same steps: the common grid, mask, smoothing, 24 motion regressors with trend and filter,
z-scores. nilearn starts from a masked float32 image, smooths it against aliasing where ours does,
resamples it once, and cleans with a fitted NiftiMasker in float32; its masking, mask and fit are
not timed. Motion is white noise, because nilearn leaves its cosines out, with a warning, where a
regressor resembles one. For the comparison of numbers, nilearn's resampled run is divided by the
resampled mask, as ours is, before it is smoothed. Times are the best of several rounds taken in
turn, with one thread for all libraries. ``ours`` and ``peer`` are volumes a second;
``largest_difference`` is in standard deviations of a voxel inside the mask, before our numbers are
rounded to float16, ``largest_difference_float16`` after.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nilearn.image import resample_img, smooth_img
from nilearn.maskers import NiftiMasker
from numpy.typing import NDArray
from scipy.ndimage import zoom
from threadpoolctl import threadpool_limits

from spectrum.config import PreprocessingConfig
from spectrum.data.confounds import MOTION_NAMES, expand_motion
from spectrum.data.grids import Grid, find_brain
from spectrum.data.images import BoldImage, read_bold
from spectrum.data.pieces import finish_run, run_job
from spectrum.data.recipe import SpatialResult, Surroundings, apply_spatial, convert_run
from spectrum.data.runs import Run
from spectrum.data.simulate import SimulationConfig, planned_runs, simulate_run
from spectrum.data.smoothing import smooth_within
from spectrum.data.temporal import build_fit, clean_signals
from spectrum.entities import RunKey
from spectrum.launch import available_cpus

REALDATA = Path(os.environ.get("SPECTRUM_REALDATA", "../shared/realdata"))
ONEBACK = "bold/studyforrest-oneback/sub-02/func/sub-02_task-oneback_run-1_bold.nii.gz"
MATRIX = (48, 48, 24)
RECIPES = {
    "common 3 mm, cosine": {"voxel_mm": 3.0},
    "common 4 mm, cosine": {"voxel_mm": 4.0},
    "common 8 mm, cosine": {"voxel_mm": 8.0},
    "common 4 mm, Butterworth": {
        "voxel_mm": 4.0,
        "temporal_filter": "butterworth",
        "low_pass_hz": 0.1,
    },
}
PATH_RECIPE = "common 4 mm, cosine"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A run with all that both sides are given: its brain, its motion, its TR."""

    name: str
    image: BoldImage
    brain_XYZ: NDArray[np.bool_]
    motion_V6: NDArray[np.float64]
    tr_s: float = 2.0

    @property
    def num_volumes(self) -> int:
        return self.image.data_XYZV.shape[3]

    @property
    def known(self) -> Surroundings:
        return Surroundings(brain_XYZ=self.brain_XYZ, motion_V6=self.motion_V6)


def scans() -> Iterator[Scan]:
    config = SimulationConfig(truth="effect", matrix=64, datasets=("ds000002",))
    key = next(key for key in planned_runs(config) if key.subject == "04")
    run = simulate_run(key, config)
    data = np.asfortranarray(run.data_XYZV)
    voxel_mm = tuple(float(side) for side in nib.affines.voxel_sizes(run.affine))
    yield _scan(
        "simulated",
        BoldImage(data_XYZV=data, affine=run.affine, voxel_mm=voxel_mm, tr_s=2.0, sha256=""),
    )
    if (REALDATA / ONEBACK).exists():
        yield _scan("studyforrest", read_bold(REALDATA / ONEBACK))


def _scan(name: str, image: BoldImage) -> Scan:
    mean_XYZ = image.data_XYZV.mean(axis=3, dtype=np.float32)
    grid = Grid(shape=mean_XYZ.shape, affine=image.affine)
    motion_V6 = np.random.default_rng(0).normal(0.0, 0.02, (image.data_XYZV.shape[3], 6))
    return Scan(
        name=name,
        image=image,
        brain_XYZ=find_brain(mean_XYZ, grid),
        motion_V6=motion_V6,
    )


def best_times(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time calls in turn, round after round, so that a busy moment meets them all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def peer_masker(spatial: SpatialResult, tr_s: float, config: PreprocessingConfig) -> NiftiMasker:
    mask = nib.Nifti1Image(spatial.inside_XYZ.astype(np.uint8), spatial.grid.affine)
    return NiftiMasker(
        mask_img=mask,
        smoothing_fwhm=config.fwhm_mm,
        standardize="zscore_sample",
        detrend=config.detrend,
        high_pass=config.high_pass_hz,
        low_pass=config.low_pass_hz or None,
        t_r=tr_s,
        dtype=np.float32,
        reports=False,
        clean_args={"filter": config.temporal_filter},
    ).fit()


def peer_transform(
    masked: nib.Nifti1Image, grid: Grid, masker: NiftiMasker, motion_VK: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Smooth against aliasing as our grids do, resample once, then let the masker work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(masker.transform(peer_resample(masked, grid), confounds=motion_VK))


def peer_resample(image: nib.Nifti1Image, grid: Grid) -> nib.Nifti1Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source_mm = np.array(nib.affines.voxel_sizes(image.affine))
        fwhm_mm = np.sqrt(np.maximum(grid.voxel_mm**2 - source_mm**2, 0.0))
        return resample_img(
            smooth_img(image, fwhm=fwhm_mm.tolist()) if fwhm_mm.any() else image,
            target_affine=grid.affine,
            target_shape=grid.shape,
            interpolation="linear",
        )


def peer_numbers(
    scan: Scan, masked: nib.Nifti1Image, spatial: SpatialResult, masker: NiftiMasker
) -> NDArray[Any]:
    """Return nilearn's z-scores from a run that is divided by its cover, in our order."""
    grid, inside = spatial.grid, spatial.inside_XYZ
    brain = nib.Nifti1Image(scan.brain_XYZ.astype(np.float32), scan.image.affine)
    cover = np.asarray(peer_resample(brain, grid).dataobj)
    share = np.where(inside, 1.0 / np.where(inside, cover, 1.0), 0.0)
    data = np.asarray(peer_resample(masked, grid).dataobj) * share[..., None]
    image = nib.Nifti1Image(data.astype(np.float32), grid.affine)
    found = masker.transform(image, confounds=expand_motion(scan.motion_V6))
    return _in_our_order(np.asarray(found), inside)


def compare_steps(scan: Scan, case: str, rounds: int) -> dict[str, Any]:
    config = PreprocessingConfig.model_validate({"confounds": "motion24", **RECIPES[case]})
    spatial = apply_spatial(scan.image, config=config, surroundings=scan.known)
    masker = peer_masker(spatial, scan.tr_s, config)
    data = np.where(scan.brain_XYZ[..., None], scan.image.data_XYZV, 0).astype(np.float32)
    masked = nib.Nifti1Image(data, scan.image.affine)
    motion = expand_motion(scan.motion_V6)
    peer = partial(peer_transform, masked, spatial.grid, masker, motion)
    ours = partial(convert_run, scan.image, tr_s=scan.tr_s, config=config, surroundings=scan.known)
    seconds = best_times({"ours": ours, "peer": peer}, rounds)
    expected = peer_numbers(scan, masked, spatial, masker)
    fit = build_fit(scan.num_volumes, tr_s=scan.tr_s, config=config, regressors_VK=motion)
    smooth = smooth_within(spatial.signals_VN, spatial.inside_XYZ, spatial.grid, config.fwhm_mm)
    difference = np.abs(clean_signals(smooth, fit=fit, config=config) - expected)
    rounded = np.abs(ours().slices_VSHW[:, spatial.inside_XYZ.T] - expected)
    told = _told(f"{scan.name}, {case}, against NiftiMasker", scan, seconds, 2.0)
    return {
        **told,
        "largest_difference": float(difference.max()),
        "largest_difference_float16": float(rounded.max()),
        "num_voxels": int(spatial.inside_XYZ.sum()),
        "met": told["met"] and bool(difference.max() <= 2e-3),
        "goal": f"{told['goal']}, largest difference of at most 2e-3",
    }


def _in_our_order(peer_VN: NDArray[Any], inside_XYZ: NDArray[np.bool_]) -> NDArray[Any]:
    """NiftiMasker lists voxels with Z fastest, ours with X fastest."""
    volumes = np.zeros((len(peer_VN), *inside_XYZ.shape), dtype=peer_VN.dtype)
    volumes[:, inside_XYZ] = peer_VN
    return volumes.transpose(0, 3, 2, 1)[:, inside_XYZ.T]


def original_way(data_XYZV: NDArray[Any]) -> NDArray[np.float32]:
    """Zoom each volume to a matrix, linearly, and give it mean 0 and SD 1."""
    factors = [new / old for new, old in zip(MATRIX, data_XYZV.shape, strict=False)]
    out = np.empty((data_XYZV.shape[3], *MATRIX), dtype=np.float32)
    for index in range(len(out)):
        volume = zoom(data_XYZV[..., index].astype(np.float32), factors, order=1)
        out[index] = (volume - volume.mean()) / volume.std()
    return out


def compare_original(scan: Scan, rounds: int) -> dict[str, Any]:
    config = PreprocessingConfig(
        grid="matrix",
        matrix=MATRIX,
        brain_mask=False,
        fwhm_mm=0.0,
        detrend=False,
        high_pass_hz=0.0,
        standardization="volume",
    )
    ours = partial(convert_run, scan.image, tr_s=scan.tr_s, config=config, surroundings=scan.known)
    peer = partial(original_way, scan.image.data_XYZV)
    seconds = best_times({"ours": ours, "peer": peer}, rounds)
    case = f"{scan.name}, matrix {MATRIX}, against zoom of each volume"
    return _told(case, scan, seconds, 3.0)


def compare_path(scan: Scan, rounds: int) -> dict[str, Any]:
    """Whole path: our .nii.gz to Parquet piece, quality included, against .nii.gz to .npy."""
    config = PreprocessingConfig.model_validate({"confounds": "motion24", **RECIPES[PATH_RECIPE]})
    spatial = apply_spatial(scan.image, config=config, surroundings=scan.known)
    masker = peer_masker(spatial, scan.tr_s, config)
    motion = expand_motion(scan.motion_V6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = _write_run(folder, scan)
        job = run_job(run, (), config, folder)

        def peer() -> None:
            image = nib.load(run.path)
            data = np.asarray(image.dataobj, dtype=np.float32) * scan.brain_XYZ[..., None]
            masked = nib.Nifti1Image(data, image.affine)
            signals = peer_transform(masked, spatial.grid, masker, motion)
            np.save(folder / "peer.npy", signals.astype(np.float16))

        def ours() -> None:
            outcome = finish_run(job)
            assert outcome.run is not None, outcome.refusal

        seconds = best_times({"ours": ours, "peer": peer}, rounds)
    case = f"{scan.name}, {PATH_RECIPE}, from .nii.gz to shard, against nibabel to .npy"
    return _told(case, scan, seconds, 3.0)


def _write_run(folder: Path, scan: Scan) -> Run:
    affine = scan.image.affine
    nib.save(nib.Nifti1Image(scan.image.data_XYZV, affine), folder / "a_bold.nii.gz")
    nib.save(nib.Nifti1Image(scan.brain_XYZ.astype(np.uint8), affine), folder / "mask.nii.gz")
    rows = ["\t".join(MOTION_NAMES)]
    rows += ["\t".join(repr(float(value)) for value in row) for row in scan.motion_V6]
    (folder / "confounds.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Run(
        key=RunKey(dataset="ds1", subject="01", task="any"),
        path=folder / "a_bold.nii.gz",
        tr_s=scan.tr_s,
        shape=scan.image.data_XYZV.shape,
        voxel_mm=scan.image.voxel_mm,
        confounds_path=folder / "confounds.tsv",
        brain_mask_path=folder / "mask.nii.gz",
    )


def _told(case: str, scan: Scan, seconds: dict[str, float], least: float) -> dict[str, Any]:
    ours, peer = (scan.num_volumes / seconds[side] for side in ("ours", "peer"))
    return {
        "benchmark": "recipe",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "goal": f"ratio of at least {least:g}",
        "met": ours / peer >= least,
        "machine": f"{available_cpus()} CPUs, one thread, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def compared(rounds: int) -> Iterator[dict[str, Any]]:
    for scan in scans():
        for case in RECIPES:
            yield compare_steps(scan, case, rounds)
        yield compare_original(scan, rounds)
        yield compare_path(scan, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    arguments = parser.parse_args()
    with threadpool_limits(limits=1):
        for told in compared(arguments.rounds):
            text = f"{told['case']}: {told['ours']:.1f} volumes/s against {told['peer']:.1f}"
            text += f", ratio {told['ratio']:.2f} (goal: {told['goal']})"
            sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
