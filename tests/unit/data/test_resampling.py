"""Resampling and smoothing: nilearn's numbers for any turn of the axes, and nothing of the air."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.image import resample_img, smooth_img
from numpy.typing import NDArray

from spectrum.data.grids import Grid
from spectrum.data.resampling import to_grid
from spectrum.data.smoothing import smooth_within

SOURCE_MM = (3.0, 3.5, 5.0)
SOURCE_SHAPE = (15, 13, 9)


def turned(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """A rotation about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = [other for other in range(3) if other != axis]
        step = np.eye(3)
        step[one, one] = step[two, two] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def source_grid(degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees) @ np.diag(SOURCE_MM)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SOURCE_SHAPE) - 1) / 2)
    return Grid(shape=SOURCE_SHAPE, affine=affine)


def target_grid(voxel_mm: float) -> Grid:
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    shape = tuple(int(np.ceil(side / voxel_mm)) for side in (42.0, 50.0, 46.0))
    affine[:3, 3] = 1.3 - voxel_mm * (np.array(shape) - 1) / 2
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=affine)


def by_nilearn(data: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Smooth against aliasing, add a rim of zeros, resample."""
    fwhm_mm = np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0))
    smooth = smooth_img(nib.Nifti1Image(data, source.affine), fwhm=fwhm_mm.tolist())
    padded = np.pad(np.asarray(smooth.dataobj), ((1, 1), (1, 1), (1, 1), (0, 0)))
    rim = source.affine.copy()
    rim[:3, 3] -= source.affine[:3, :3] @ np.ones(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resampled = resample_img(
            nib.Nifti1Image(padded, rim),
            target_affine=target.affine,
            target_shape=target.shape,
            interpolation="linear",
        )
    return np.asarray(resampled.dataobj)


def a_head(seed: int = 0, num_volumes: int = 19) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SOURCE_SHAPE], indexing="ij")
    noise = np.random.default_rng(seed).normal(0, 20, (*SOURCE_SHAPE, num_volumes))
    data = np.asarray(800 + noise, dtype=np.float32, order="F")
    return data, (x**2 + y**2 + z**2) < 0.8


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.sampled_from([(0.0, 0.0, 0.0), (0.0, 0.0, 12.0), (17.0, -3.0, 5.0)]),
    voxel_mm=st.sampled_from([2.0, 3.0, 3.2, 4.0, 6.0, 9.0]),
    is_masked=st.booleans(),
)
def test_any_grid_gets_nilearns_numbers_divided_by_nilearns_cover(
    degrees: tuple[float, float, float], voxel_mm: float, is_masked: bool
) -> None:
    source, target = source_grid(degrees), target_grid(voxel_mm)
    data, head = a_head()
    weights = head if is_masked else np.ones(SOURCE_SHAPE, dtype=bool)
    signals, inside = to_grid(data, weights, source, target)
    peer = by_nilearn(data * weights[..., None], source, target)
    cover = by_nilearn(weights[..., None].astype(np.float32), source, target)[..., 0]
    doubtful = np.abs(cover - 0.5) < 1e-4
    np.testing.assert_array_equal((inside == (cover >= 0.5))[~doubtful], True)
    usable = np.maximum(cover, 0.1)[..., None]
    expected = (peer / usable).transpose(3, 2, 1, 0)[:, inside.T]
    np.testing.assert_allclose(signals, expected, rtol=2e-5)
    assert inside.any()


@pytest.mark.parametrize("voxel_mm", [3.0, 8.0])
def test_whole_numbers_and_floats_give_the_same_and_nan_outside_is_never_seen(
    voxel_mm: float,
) -> None:
    data, head = a_head()
    whole = np.asfortranarray(data.astype(np.int16))
    broken = whole.astype(np.float32)
    broken[~head] = np.nan
    for degrees in ((0.0, 0.0, 0.0), (0.0, 9.0, 0.0)):
        source, target = source_grid(degrees), target_grid(voxel_mm)
        one, two = (to_grid(d, head, source, target)[0] for d in (whole, broken))
        np.testing.assert_array_equal(one, two)


def test_a_mask_far_from_the_target_leaves_nothing() -> None:
    data, head = a_head()
    far = target_grid(4.0)
    far = Grid(shape=far.shape, affine=far.affine + np.diag([0, 0, 0, 0]))
    far.affine[:3, 3] += 1000.0
    for weights in (head, np.zeros_like(head)):
        signals, inside = to_grid(data, weights, source_grid(), far)
        assert signals.shape == (19, 0)
        assert not inside.any()


@settings(max_examples=15, deadline=None)
@given(fwhm_mm=st.sampled_from([2.0, 5.0, 8.0, 20.0]), is_masked=st.booleans())
def test_smoothing_is_nilearns_divided_by_the_smoothed_mask(
    fwhm_mm: float, is_masked: bool
) -> None:
    grid = source_grid()
    data, head = a_head(seed=3, num_volumes=17)
    inside = head if is_masked else np.ones(SOURCE_SHAPE, dtype=bool)
    signals = np.ascontiguousarray(data.T[:, inside.T])
    before = signals.copy()
    ours = smooth_within(signals, inside, grid, fwhm_mm)
    peer = smooth_img(nib.Nifti1Image(data * inside[..., None], grid.affine), fwhm=fwhm_mm)
    cover = smooth_img(nib.Nifti1Image(inside.astype(np.float32), grid.affine), fwhm=fwhm_mm)
    share = np.asarray(peer.dataobj) / np.maximum(np.asarray(cover.dataobj), 1e-6)[..., None]
    np.testing.assert_allclose(ours, share.transpose(3, 2, 1, 0)[:, inside.T], rtol=2e-5)
    np.testing.assert_array_equal(signals, before)
