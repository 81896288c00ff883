"""Heads that really move: a fine head, moved rigidly, sampled at the voxels of a scanner, noisy.

The head is ``build_head`` of the simulation on small cubes, 200 mm each way, so that nothing of it
is cut before it moves. It is averaged over one voxel of the scanner and then read at the voxels'
centres with a cubic spline. Points are millimetres, RAS+.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_closing,
    binary_fill_holes,
    map_coordinates,
    spline_filter,
    uniform_filter1d,
)
from scipy.spatial.transform import Rotation

from spectrum.data.simulate.anatomy import FIELD_CENTER_MM, Grid, Head, build_head
from spectrum.data.simulate.signal import head_motion

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MovedRun:
    """``places_V44`` say where a point of the head at rest lies in each volume."""

    data_XYZV: NDArray[np.float32]
    affine: Matrix
    places_V44: Matrix


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A scanner's voxels."""

    matrix: int
    num_slices: int
    slice_mm: float

    @property
    def grid(self) -> Grid:
        return Grid(matrix=self.matrix, num_slices=self.num_slices, slice_mm=self.slice_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.matrix, self.matrix, self.num_slices


NATIVE = {
    "ds000002": Geometry(matrix=64, num_slices=30, slice_mm=5.0),
    "ds000002 of 25 slices": Geometry(matrix=64, num_slices=25, slice_mm=5.0),
    "ds000017": Geometry(matrix=64, num_slices=33, slice_mm=4.0),
    "ds000052": Geometry(matrix=64, num_slices=21, slice_mm=6.0),
}


def fine_head(subject: str, *, fine_mm: float = 2.0, seed: int = 0) -> Head:
    edge = round(200.0 / fine_mm)
    fine = Grid(matrix=edge, num_slices=edge, slice_mm=fine_mm)
    return build_head(fine, names=(subject,), seed=seed)


def fine_brain(head: Head) -> NDArray[np.bool_]:
    """Return the true brain on the fine grid: skull has 0.12, scalp 0.45, brain about 1."""
    bright_XYZ = binary_closing(head.intensity_ZYX.T > 0.6)
    return np.asarray(binary_fill_holes(bright_XYZ))


def wandering(num_volumes: int, *, fd_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return six parameters per volume (V, 6); fd_mm is expected displacement per volume."""
    return head_motion(num_volumes, displacement_mm=fd_mm, rng=rng).astype(np.float64)


def places_of(motion_V6: NDArray[Any]) -> Matrix:
    return np.array([rigid(parameters) for parameters in motion_V6])


def misplaced(rng: np.random.Generator) -> Matrix:
    """Return a head's place 5 to 15 mm and 3 to 10 degrees off, and 5 % off in size per axis."""
    shift, axis = (way / np.linalg.norm(way) for way in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(axis * np.radians(rng.uniform(3, 10))).as_euler("xyz")
    return rigid(np.concatenate([shift * rng.uniform(5, 15), turn])) @ np.diag(
        [*rng.uniform(0.95, 1.05, size=3), 1.0]
    )


def place_errors(found_V44: Matrix, true_V44: Matrix) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return millimetres at the centre of the field and degrees, up to one common place.

    Where zero lies is the estimate's choice, so the mean difference is taken out.
    """
    between = np.linalg.inv(true_V44) @ found_V44
    common = np.eye(4)
    common[:3, :3] = Rotation.from_matrix(between[:, :3, :3]).mean().as_matrix()
    common[:3, 3] = between[:, :3, 3].mean(axis=0)
    left = between @ np.linalg.inv(common)
    center = np.array([*FIELD_CENTER_MM, 1.0])
    mm = np.linalg.norm((left @ center - center)[:, :3], axis=1)
    return mm, np.degrees(Rotation.from_matrix(left[:, :3, :3]).magnitude())


def rigid(parameters: NDArray[Any], center_mm: NDArray[Any] | None = None) -> Matrix:
    """Return rotation about a centre (x first, then y, z; right-handed), then translation."""
    center_mm = np.array(FIELD_CENTER_MM) if center_mm is None else np.asarray(center_mm)
    turn = Rotation.from_euler("xyz", parameters[3:6]).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = center_mm + parameters[:3] - turn @ center_mm
    return matrix


def moved_run(
    head: Head,
    geometry: Geometry,
    places_V44: Matrix,
    *,
    tsnr: float | None,
    rng: np.random.Generator,
    gain_V: NDArray[Any] | None = None,
    level: float = 600.0,
) -> MovedRun:
    """Scan a head at the given places; ``tsnr`` None adds no noise."""
    intensity_XYZ = head.intensity_ZYX.T.astype(np.float64)
    read = reader_of(intensity_XYZ, head.grid.affine, geometry)
    gain_V = np.ones(len(places_V44)) if gain_V is None else gain_V
    data = np.empty((*geometry.shape, len(places_V44)), np.float32, order="F")
    for index, place in enumerate(places_V44):
        volume = read(place) * gain_V[index]
        if tsnr is not None:
            real, imaginary = rng.standard_normal((2, *geometry.shape)) / tsnr
            volume = np.hypot(volume + real, imaginary)
        data[..., index] = level * volume
    return MovedRun(data_XYZV=data, affine=geometry.grid.affine, places_V44=places_V44)


def reader_of(
    field_XYZ: NDArray[np.float64], fine_affine: Matrix, geometry: Geometry
) -> Callable[[Matrix], NDArray[np.float64]]:
    """Return a function from a place to the head as the scanner's voxels see it there."""
    for axis, edge_mm in enumerate(geometry.grid.voxel_mm):
        field_XYZ = _averaged(field_XYZ, axis, edge_mm / fine_affine[axis, axis])
    spline = spline_filter(field_XYZ, order=3)
    index = np.indices(geometry.shape).reshape(3, -1)
    points_mm = geometry.grid.affine[:3, :3] @ index + geometry.grid.affine[:3, 3:]
    to_fine = np.linalg.inv(fine_affine)

    def read(place: Matrix) -> NDArray[np.float64]:
        back = to_fine @ np.linalg.inv(place)
        where = back[:3, :3] @ points_mm + back[:3, 3:]
        values = map_coordinates(spline, where, order=3, prefilter=False, mode="constant")
        return np.asarray(values.reshape(geometry.shape))

    return read


def _averaged(field: NDArray[np.float64], axis: int, width: float) -> NDArray[np.float64]:
    """Average along an axis over a width in voxels, between the two odd widths around it."""
    low = 2 * int((width - 1) // 2) + 1
    share = (width - low) / 2
    narrow = uniform_filter1d(field, low, axis=axis, mode="constant")
    wide = uniform_filter1d(field, low + 2, axis=axis, mode="constant")
    return np.asarray((1 - share) * narrow + share * wide)
