"""Registration against SimpleITK, and against what was planted.

    python -m tests.benchmarks.registration --json

Runs are a head that really moves (``tests.moved_heads``) on the scanners' own grids, and the real
studyforrest run where it is there. SimpleITK registers each volume to the same reference, equally
smoothed, with mean squares; on real data, where nobody knows the truth, ours is compared with it.
Speed is seconds of one core's time per volume. Normalisation has no peer here but its bound.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from spectrum.data.grids import Grid, find_brain
from spectrum.data.images import read_bold
from spectrum.data.registration.motion import MotionEstimate, estimate_motion
from spectrum.data.registration.normalisation import normalise
from spectrum.data.registration.resampling import resample_run
from spectrum.data.registration.slice_timing import correct_slice_timing, slice_times
from spectrum.data.registration.template import mni152

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here, tell
from tests.itk_rigid import itk_place
from tests.misplaced_brains import (
    point_error_mm,
    scanned,
    t2_brain,
    true_dice,
)
from tests.moved_heads import (
    NATIVE,
    fine_brain,
    fine_head,
    misplaced,
    moved_run,
    place_errors,
    places_of,
    wandering,
)
from tests.realdata import REALDATA

NUM_VOLUMES = 180
NUM_PEER_VOLUMES = 12
NUM_SUBJECTS = 4


def core_seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def motion_planted(name: str, fd_mm: float) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(3)
    places = places_of(wandering(NUM_VOLUMES, fd_mm=fd_mm, rng=rng))
    run = moved_run(fine_head(f"{name}/1"), NATIVE[name], places, tsnr=60.0, rng=rng)
    found, seconds = core_seconds(lambda: estimate_motion(run.data_XYZV, run.affine))
    peers, peer_seconds, some = _peers(run.data_XYZV, run.affine, found)
    ours, all_ours = (
        place_errors(found.places_V44[which], places[which]) for which in (some, slice(None))
    )
    theirs = place_errors(peers, places[some])
    case = f"{name}, FD {fd_mm} mm: "
    for index, unit in enumerate(("mm", "degrees")):
        for text, whole in (("median", 50), ("95th percentile", 95)):
            mine, peer = (float(np.percentile(e[index], whole)) for e in (ours, theirs))
            yield _told(f"{case}{text} error, {unit}, volumes of both", mine, peer, "less", 1.0)
        middle = float(np.median(all_ours[index]))
        yield _told(
            f"{case}median error, {unit}, all volumes, against 0.1", middle, 0.1, "less", 1.0
        )
        far = float(np.percentile(all_ours[index], 95))
        yield _told(f"{case}95th percentile, {unit}, all volumes, against 0.1", far, 0.1, "", 1.0)
    per_volume = seconds / NUM_VOLUMES
    yield _told(f"{case}core seconds per volume", per_volume, peer_seconds, "less", 0.2)


def _peers(
    data_XYZV: NDArray[Any], affine: NDArray[np.float64], found: MotionEstimate
) -> tuple[NDArray[np.float64], float, NDArray[np.int64]]:
    some = np.linspace(0, data_XYZV.shape[3] - 1, NUM_PEER_VOLUMES).astype(int)
    fwhm_mm = max(5.0, 1.6 * float(np.linalg.norm(affine[:3, :3], axis=0).max()))

    def register() -> list[NDArray[np.float64]]:
        return [
            itk_place(found.reference_XYZ, data_XYZV[..., v], affine, fwhm_mm=fwhm_mm)
            for v in some
        ]

    peers, seconds = core_seconds(register)
    return np.array(peers), seconds / len(some), some


def real_run() -> Iterator[dict[str, Any]]:
    folder = REALDATA / "bold" / "studyforrest-oneback"
    if not folder.is_dir():
        return
    image = read_bold(next(folder.rglob("*_bold.nii.gz")))
    shape = image.data_XYZV.shape
    found, seconds = core_seconds(lambda: estimate_motion(image.data_XYZV, image.affine))
    peers, peer_seconds, some = _peers(image.data_XYZV, image.affine, found)
    mm, degrees = place_errors(found.places_V44[some], peers)
    for value, unit in ((mm, "mm"), (degrees, "degrees")):
        yield _told(
            f"real run: median difference, {unit}, against 0.1",
            float(np.median(value)),
            0.1,
            "",
            1.0,
        )
    yield _told("real run: core seconds per volume", seconds / shape[3], peer_seconds, "less", 0.2)
    grid = Grid(shape=shape[:3], affine=image.affine)
    yield from _steadier(image.data_XYZV, grid, found, peers, some)
    mean_XYZ = found.reference_XYZ
    done, seconds = core_seconds(
        lambda: normalise(mean_XYZ, find_brain(mean_XYZ, grid), image.affine)
    )
    yield _told("real run: Dice in view, against 0.9", done.dice, 0.9, "more", 1.0)
    yield _told("real run: share of the brain in view", done.coverage, 1.0, "", 1.0)


def _steadier(
    data_XYZV: NDArray[Any],
    grid: Grid,
    found: MotionEstimate,
    peers: NDArray[np.float64],
    some: NDArray[np.int64],
) -> Iterator[dict[str, Any]]:
    """Say how much volumes still differ within the brain after correction, by ours and theirs."""
    brain_XYZ = find_brain(found.reference_XYZ, grid)
    some_XYZV = data_XYZV[..., some]
    ours, theirs, still = (
        resample_run(some_XYZV, grid, grid, places_V44=places)[0][brain_XYZ].std(axis=1).mean()
        for places in (found.places_V44[some], peers, np.eye(4))
    )
    yield _told("real run: SD over time in the brain", float(ours), float(theirs), "less", 1.01)
    yield _told(
        "real run: SD over time, against uncorrected", float(ours), float(still), "less", 1.0
    )


def normalisation_planted() -> Iterator[dict[str, Any]]:
    template = mni152()
    epi_XYZ = t2_brain()
    for name, geometry in NATIVE.items():
        dice, errors, seconds = [], [], []
        for subject in range(NUM_SUBJECTS):
            rng = np.random.default_rng([subject, geometry.num_slices, 1])
            head, place = fine_head(f"{name}/{subject}"), misplaced(rng)
            run = moved_run(head, geometry, place[None], tsnr=300.0, rng=rng)
            mean_XYZ = run.data_XYZV[..., 0]
            brain_XYZ = find_brain(mean_XYZ, Grid(shape=geometry.shape, affine=run.affine))
            found, taken = core_seconds(
                lambda m=mean_XYZ, b=brain_XYZ, a=run.affine: normalise(m, b, a)
            )
            seconds.append(taken)
            dice.append(true_dice(found.to_run, fine_brain(head), place @ head.grid.affine))
            smaller = place @ np.diag([0.9, 0.9, 0.9, 1.0])
            mean_XYZ, brain_XYZ = scanned(epi_XYZ, template.affine, geometry, smaller, rng)
            errors.append(
                point_error_mm(normalise(mean_XYZ, brain_XYZ, run.affine).to_run, smaller)
            )
        yield _told(
            f"{name}: least Dice of the true brain, against 0.9", min(dice), 0.9, "more", 1.0
        )
        worst = float(max(errors))
        yield _told(
            f"{name}: worst median point error of a T2* brain, mm, against 2",
            worst,
            2.0,
            "less",
            1.0,
        )
        yield _told(
            f"{name}: normalisation, core seconds, against 10",
            float(np.median(seconds)),
            10.0,
            "less",
            1.0,
        )


def applied() -> Iterator[dict[str, Any]]:
    geometry = NATIVE["ds000002"]
    rng = np.random.default_rng(0)
    data_XYZV = np.asfortranarray(rng.random((*geometry.shape, 40), dtype=np.float32))
    times_s = slice_times("interleaved_ascending", geometry.num_slices, tr_s=2.0)
    _, seconds = core_seconds(lambda: correct_slice_timing(data_XYZV, times_s, tr_s=2.0))
    yield _told(
        "slice timing, core seconds per volume, against 10 ms", seconds / 40, 0.01, "less", 1.0
    )
    source = Grid(shape=geometry.shape, affine=geometry.grid.affine)
    coarse = Grid(shape=(45, 54, 45), affine=_common_affine())
    _, seconds = core_seconds(
        lambda: resample_run(data_XYZV, source, coarse, places_V44=np.eye(4))
    )
    yield _told(
        "resampling to 4 mm, core seconds per volume, against 100 ms",
        seconds / 40,
        0.1,
        "less",
        1.0,
    )


def _common_affine() -> NDArray[np.float64]:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-88.0, -124.0, -70.0]
    return affine


def _told(case: str, ours: float, peer: float, better: str, most: float) -> dict[str, Any]:
    ratio = ours / peer if peer else float("nan")
    goals = {"less": f"ratio of at most {most:g}", "more": f"ratio above {most:g}", "": "none"}
    met = {"less": ratio <= most, "more": ratio > most, "": True}[better]
    return {
        "benchmark": "registration",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "goal": goals[better],
        "met": bool(met),
        **measured_here(),
    }


def compared() -> Iterator[dict[str, Any]]:
    yield from motion_planted("ds000002", 0.15)
    yield from motion_planted("ds000052", 0.4)
    yield from real_run()
    yield from normalisation_planted()
    yield from applied()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        for told in compared():
            text = f"{told['case']}: {told['ours']:.4g} against {told['peer']:.4g}"
            text += f", ratio {told['ratio']:.3f} (goal: {told['goal']})"
            tell(told, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
