"""Brains that lie anywhere, and how well they came to lie on MNI152."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from spectrum.data.grids import Grid, find_brain
from spectrum.data.registration.template import mni152
from tests.moved_heads import Geometry, Matrix, reader_of

DROPOUTS = (((0, 38, -22), 18.0), ((48, -10, -30), 14.0), ((-48, -10, -30), 14.0))
"""Where air beside the brain takes its signal: above the sinuses and the ear canals."""


def t2_brain() -> NDArray[np.float64]:
    """Return MNI152 as a T2*-weighted image would show it: contrast reversed, with dropout."""
    template = mni152()
    brightest = np.percentile(template.intensity_XYZ[template.brain_XYZ], 98)
    epi = np.where(template.brain_XYZ, 1.35 - 0.6 * template.intensity_XYZ / brightest, 0.0)
    index = np.indices(epi.shape).reshape(3, -1)
    points = (template.affine[:3, :3] @ index + template.affine[:3, 3:]).reshape(3, *epi.shape)
    for center, radius in DROPOUTS:
        near = sum((points[i] - center[i]) ** 2 for i in range(3)) < radius**2
        epi[near] *= 0.15
    return epi


def scanned(
    field_XYZ: NDArray[np.float64],
    affine: Matrix,
    geometry: Geometry,
    place: Matrix,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    read = reader_of(field_XYZ, affine, geometry)
    real, imaginary = rng.standard_normal((2, *geometry.shape)) / 300.0
    mean_XYZ = (600.0 * np.hypot(read(place) + real, imaginary)).astype(np.float32)
    return mean_XYZ, find_brain(mean_XYZ, Grid(shape=geometry.shape, affine=geometry.grid.affine))


def point_error_mm(found: Matrix, truth: Matrix) -> float:
    template = mni152()
    points = np.argwhere(template.brain_XYZ)[::97].T
    points_mm = template.affine[:3, :3] @ points + template.affine[:3, 3:]
    between = found - truth
    moved = between[:3, :3] @ points_mm + between[:3, 3:]
    return float(np.median(np.linalg.norm(moved, axis=0)))


def true_dice(to_run: Matrix, brain_XYZ: NDArray[np.bool_], affine: Matrix) -> float:
    """Overlap of the true brain, laid on the template by ``to_run``, with the template's."""
    template = mni152()
    index = np.indices(template.brain_XYZ.shape).reshape(3, -1)
    way = np.linalg.inv(affine) @ to_run @ template.affine
    where = way[:3, :3] @ index + way[:3, 3:]
    ours = map_coordinates(brain_XYZ.astype(np.uint8), where, order=0) > 0
    theirs = template.brain_XYZ.ravel()
    return 2.0 * float(np.count_nonzero(ours & theirs)) / float(ours.sum() + theirs.sum())
