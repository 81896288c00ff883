"""Spatial parts of runs: made once, kept whole, read back bit for bit, used or made again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.data.grids import Grid
from spectrum.data.manifest import RunFinding
from spectrum.data.quality import RunQuality
from spectrum.data.spatial import SpatialResult
from spectrum.data.spatial_pieces import SpatialFacts, SpatialPiece, kept_or_made, spatial_path
from spectrum.errors import ImageError

FINGERPRINT = "ab12" * 16


def piece(seed: int = 0, *, has_motion: bool = True) -> SpatialPiece:
    """Return a piece of 7 volumes of 3 x 4 x 5 voxels, with awkward numbers in it."""
    rng = np.random.default_rng(seed)
    inside_XYZ = rng.random((3, 4, 5)) < 0.5
    signals_VN = rng.normal(size=(7, int(inside_XYZ.sum()))).astype(np.float32)
    signals_VN[0, :3] = (-0.0, np.finfo(np.float32).tiny / 2, np.finfo(np.float32).max)
    fd_V = np.array([np.nan, *rng.random(6)])
    spatial = SpatialResult(
        signals_VN=signals_VN,
        inside_XYZ=inside_XYZ,
        grid=Grid(shape=(3, 4, 5), affine=np.diag([2.0, 3.1, 1 / 3, 1.0])),
        motion_V6=rng.normal(size=(7, 6)) if has_motion else None,
        fd_V=fd_V if has_motion else None,
        template_dice=1 / 3,
        template_coverage=None,
    )
    facts = SpatialFacts(
        voxel_mm=(0.1, 3.0, 1 / 3),
        source_shape=(3, 4, 5, 8),
        image_sha256="1" * 64,
        voxels_sha256="2" * 64,
        findings=(RunFinding(code="odd", message="It is odd, and \u00e9."),),
        grid_shape=(3, 4, 5),
        template_dice=1 / 3,
        template_coverage=None,
        quality={"tsnr": 0.1 + 0.2, "gsr": None, "efc": 5e-324},
    )
    volume = {"fd": fd_V, "dvars": np.full(7, np.nan), "fg_mean": rng.random(7)}
    quality = RunQuality(run=dict(facts.quality), volume=volume)
    return SpatialPiece(facts=facts, spatial=spatial, quality=quality)


def never() -> SpatialPiece:
    raise AssertionError("It is there and should have been read.")


def is_same(one: NDArray[np.generic] | None, other: NDArray[np.generic] | None) -> bool:
    """Tell whether arrays are the same in type, shape and every bit."""
    if one is None or other is None:
        return one is other
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.mark.parametrize("has_motion", [True, False])
def test_what_is_read_is_what_was_made_bit_for_bit(tmp_path: Path, has_motion: bool) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)
    made = piece(has_motion=has_motion)
    assert kept_or_made(path, lambda: made) is made
    kept = kept_or_made(path, never)
    assert kept.facts == made.facts
    assert kept.quality.run == made.quality.run
    assert kept.quality.volume.keys() == made.quality.volume.keys()
    for name, array in made.quality.volume.items():
        assert is_same(kept.quality.volume[name], array)
    for name in ("signals_VN", "inside_XYZ", "motion_V6", "fd_V"):
        assert is_same(getattr(kept.spatial, name), getattr(made.spatial, name)), name
    assert kept.spatial.grid.shape == made.spatial.grid.shape
    assert is_same(kept.spatial.grid.affine, made.spatial.grid.affine)
    assert (kept.spatial.template_dice, kept.spatial.template_coverage) == (1 / 3, None)


def test_an_array_that_lies_otherwise_in_memory_is_kept_as_it_is(tmp_path: Path) -> None:
    made = piece()
    turned = np.asfortranarray(made.spatial.signals_VN)
    spatial = SpatialResult(
        signals_VN=turned, inside_XYZ=made.spatial.inside_XYZ[::-1], grid=made.spatial.grid
    )
    path = spatial_path(tmp_path, FINGERPRINT)
    kept_or_made(
        path, lambda: SpatialPiece(facts=made.facts, spatial=spatial, quality=made.quality)
    )
    kept = kept_or_made(path, never)
    assert np.array_equal(kept.spatial.signals_VN, turned)
    assert np.array_equal(kept.spatial.inside_XYZ, made.spatial.inside_XYZ[::-1])


def test_of_all_who_want_it_at_once_one_makes_it(tmp_path: Path) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)
    calls: list[int] = []
    together = threading.Barrier(16)

    def make() -> SpatialPiece:
        calls.append(1)
        time.sleep(0.3)
        return piece()

    def want() -> SpatialPiece:
        together.wait()
        return kept_or_made(path, make)

    with ThreadPoolExecutor(16) as pool:
        found = [future.result() for future in [pool.submit(want) for _ in range(16)]]
    assert len(calls) == 1
    assert all(is_same(p.spatial.signals_VN, piece().spatial.signals_VN) for p in found)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "other"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)
    kept_or_made(path, piece)
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[:-1],
        "header": b"\xff" * 8 + whole[8:],
        "other": whole.replace(b"signals_VN", b"signals_XX"),
    }
    path.write_bytes(damaged[damage])
    again = kept_or_made(path, lambda: piece(seed=1))
    assert is_same(again.spatial.signals_VN, piece(seed=1).spatial.signals_VN)
    kept = kept_or_made(path, never)
    assert is_same(kept.spatial.signals_VN, again.spatial.signals_VN)


def test_an_error_is_the_callers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)

    def fail() -> SpatialPiece:
        raise ImageError("It is bad.", code="bad-gzip", path="x")

    with pytest.raises(ImageError, match="It is bad"):
        kept_or_made(path, fail)
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
    assert kept_or_made(path, piece).facts == piece().facts


def test_to_read_a_part_is_to_use_it(tmp_path: Path) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)
    kept_or_made(path, piece)
    os.utime(path, (5.0, 5.0))
    kept_or_made(path, never)
    assert time.time() - path.stat().st_mtime < 60


DYING_MAKER = """
import sys, time
from pathlib import Path
from spectrum.data.spatial_pieces import kept_or_made

def make():
    print("making", flush=True)
    time.sleep(60)

kept_or_made(Path(sys.argv[1]), make)
"""


def test_a_maker_that_dies_does_not_stop_the_next(tmp_path: Path) -> None:
    path = spatial_path(tmp_path, FINGERPRINT)
    command = [sys.executable, "-c", DYING_MAKER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"making\n"
        assert path.with_suffix(".lock").exists()
        maker.kill()
    begin = time.monotonic()
    assert kept_or_made(path, piece).facts == piece().facts
    assert time.monotonic() - begin < 5
    assert [p.name for p in path.parent.iterdir()] == [path.name]
