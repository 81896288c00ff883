"""Where things lie: the scanner's grid, one subject's head, and the planted regions.

Points are millimetres, RAS+, origin roughly at the anterior commissure as in MNI152. Nothing is
cut from a template: a head is made of ellipsoids and a smooth random texture. Not here: time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.seeding import generator

__all__ = [
    "DEEP_REGIONS",
    "TASK_REGIONS",
    "Grid",
    "Head",
    "Region",
    "build_head",
    "smoothing_matrix",
]

FIELD_OF_VIEW_MM: Final = 200.0
"""In-plane field of view of all four data sets: 64 voxels of 3.125 mm."""

FIELD_CENTER_MM: Final = (0.0, -18.0, 11.0)
"""Middle of the slab. The brain of MNI152 reaches from about y -105 to 70 and z -50 to 80."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """An ellipsoid along the axes of MNI152; ``system`` groups regions that act together."""

    name: str
    system: str
    center_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]

    def contains(self, points_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which points (..., 3) lie inside."""
        offsets = (points_mm - np.array(self.center_mm)) / np.array(self.semi_axes_mm)
        return np.asarray(np.sum(offsets**2, axis=-1) <= 1.0)


def _region(
    name: str, system: str, center: tuple[float, float, float], axes: tuple[float, float, float]
) -> Region:
    return Region(name=name, system=system, center_mm=center, semi_axes_mm=axes)


# Centres: centroids of the AAL parcellation (Tzourio-Mazoyer et al. 2002, NeuroImage 15:273-289),
# rounded to millimetres. Hippocampus: midway between AAL's hippocampus (-25 -21 -10; 29 -20 -10)
# and parahippocampal gyrus (-21 -16 -21; 25 -15 -20), 3 mm further back, clear of the putamen.
# The axes are far larger than the structures, so that a region spans several voxels of 8 to 12 mm.
DEEP_REGIONS: Final[tuple[Region, ...]] = (
    _region("hippocampus_left", "medial temporal lobe", (-23, -22, -16), (15, 20, 13)),
    _region("hippocampus_right", "medial temporal lobe", (27, -21, -15), (15, 20, 13)),
    _region("caudate_left", "striatum", (-11, 11, 9), (11, 15, 12)),
    _region("caudate_right", "striatum", (15, 12, 9), (11, 15, 12)),
    _region("putamen_left", "striatum", (-24, 4, 2), (11, 15, 12)),
    _region("putamen_right", "striatum", (28, 5, 2), (11, 15, 12)),
)
"""Where the stage is planted: medial temporal lobe early, striatum late (Poldrack et al. 2001,
Nature 414:546-550)."""

TASK_REGIONS: Final[tuple[Region, ...]] = (
    _region("visual_left", "visual", (-7, -79, 6), (14, 16, 16)),
    _region("visual_right", "visual", (16, -73, 9), (14, 16, 16)),
    _region("motor_left", "motor", (-42, -23, 49), (14, 14, 14)),
    _region("motor_right", "motor", (41, -25, 53), (14, 14, 14)),
)
"""What every event drives, in every run alike: AAL's calcarine and postcentral centroids."""

# (centre, semi-axes, intensity added inside, relative to the brain's 1.0). The outlines nest:
# scalp 0.45, skull 0.12, brain 1.0, ventricles 1.2 - bright, as fluid is on T2*-weighted images.
_TISSUES: Final = (
    (_region("scalp", "tissue", (0, -18, 8), (77, 94, 73)), 0.45),
    (_region("skull", "tissue", (0, -18, 8), (73, 90, 69)), -0.33),
    (_region("brain", "tissue", (0, -18, 8), (68, 85, 64)), 0.88),
    (_region("ventricle_left", "tissue", (-9, -8, 20), (5, 28, 7)), 0.2),
    (_region("ventricle_right", "tissue", (9, -8, 20), (5, 28, 7)), 0.2),
)

TEXTURE_SD: Final = 0.12
"""Spread of the brain's intensity, relative: MRIQC's foreground SD over mean is 0.13 to 0.2."""

TEXTURE_FWHM_MM: Final = 22.0

SHIFT_SD_MM: Final = 2.5
SCALE_SD: Final = 0.025
"""How heads differ in place and size, per axis; both are cut at two standard deviations."""

SUBPOINTS: Final = 3
"""Points per voxel edge at which tissues are sampled, so that voxels hold partial volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Voxels of one image: ``matrix`` along X and Y, ``num_slices`` along Z."""

    matrix: int
    num_slices: int
    slice_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the axes as a volume lies in memory, slowest first."""
        return self.num_slices, self.matrix, self.matrix

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Return the edges of a voxel along X, Y and Z."""
        edge_mm = FIELD_OF_VIEW_MM / self.matrix
        return edge_mm, edge_mm, self.slice_mm

    @property
    def affine(self) -> NDArray[np.float64]:
        """Return the way from voxel indices to scanner millimetres, (4, 4)."""
        affine = np.diag([*self.voxel_mm, 1.0])
        affine[:3, 3] = [self.axis_mm(axis)[0] for axis in range(3)]
        return affine

    def axis_mm(self, axis: int, *, subpoints: int = 1) -> NDArray[np.float64]:
        """Return the coordinates along X, Y or Z: voxel centres, or points within voxels."""
        num_voxels = self.shape[2 - axis]
        steps = (np.arange(num_voxels * subpoints) + 0.5) / subpoints - num_voxels / 2
        return FIELD_CENTER_MM[axis] + steps * self.voxel_mm[axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One subject in the scanner: shares and levels per voxel, float32.

    ``intensity_ZYX`` is relative to the typical brain voxel; ``share_of_system`` holds, per system
    of regions, the fraction of each voxel inside them; ``points_mm`` are the axes' coordinates.
    """

    grid: Grid
    intensity_ZYX: NDArray[np.float32]
    share_of_system: dict[str, NDArray[np.float32]]


def build_head(grid: Grid, *, names: tuple[str, ...], seed: int) -> Head:
    """Return the head of one subject; ``names`` say who, and who is the same in every session."""
    rng = generator(seed, *names, "head")
    shift_mm = SHIFT_SD_MM * np.clip(rng.normal(size=3), -2, 2)
    scale = 1.0 + SCALE_SD * np.clip(rng.normal(size=3), -2, 2)
    axes_mm = [
        (grid.axis_mm(axis, subpoints=SUBPOINTS) - shift_mm[axis]) / scale[axis]
        for axis in range(3)
    ]
    share_of_tissue = {region.name: _share((region,), axes_mm) for region, _ in _TISSUES}
    intensity = sum(added * share_of_tissue[region.name] for region, added in _TISSUES)
    texture = _texture(grid, rng) * share_of_tissue["brain"]
    return Head(
        grid=grid,
        intensity_ZYX=np.asarray(intensity * (1.0 + TEXTURE_SD * texture), dtype=np.float32),
        share_of_system={
            system: _share((r for r in ALL_REGIONS if r.system == system), axes_mm)
            for system in sorted({region.system for region in ALL_REGIONS})
        },
    )


ALL_REGIONS: Final = DEEP_REGIONS + TASK_REGIONS


def _share(regions: Iterable[Region], axes_mm: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    """Return the fraction of each voxel inside the union of some regions, (Z, Y, X)."""
    x_mm, y_mm, z_mm = axes_mm
    inside = np.zeros((z_mm.size, y_mm.size, x_mm.size), dtype=np.bool_)
    for region in regions:
        (cx, cy, cz), (ax, ay, az) = region.center_mm, region.semi_axes_mm
        in_plane = (((y_mm - cy) / ay) ** 2)[:, None] + ((x_mm - cx) / ax) ** 2
        inside |= (((z_mm - cz) / az) ** 2)[:, None, None] + in_plane <= 1.0
    num_z, num_y, num_x = (size // SUBPOINTS for size in inside.shape)
    blocks = inside.reshape(num_z, SUBPOINTS, num_y, SUBPOINTS, num_x, SUBPOINTS)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)


def _texture(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a smooth random field of unit variance, (Z, Y, X)."""
    field = rng.standard_normal(grid.shape, dtype=np.float32)
    return smooth(field, grid, fwhm_mm=TEXTURE_FWHM_MM)


def smooth(field: NDArray[np.float32], grid: Grid, *, fwhm_mm: float) -> NDArray[np.float32]:
    """Smooth white noise (..., Z, Y, X) and keep its variance at one."""
    along_z, along_y, along_x = (
        smoothing_matrix(grid.axis_mm(axis), fwhm_mm=fwhm_mm) for axis in (2, 1, 0)
    )
    in_plane = along_y @ field @ along_x.T
    flat = in_plane.reshape(*in_plane.shape[:-2], -1)
    return np.asarray((along_z @ flat).reshape(field.shape), dtype=np.float32)


def smoothing_matrix(axis_mm: NDArray[np.float64], *, fwhm_mm: float) -> NDArray[np.float32]:
    """Return Gaussian weights (N, N); rows have unit length, so white noise keeps its variance."""
    sigma_mm = fwhm_mm / np.sqrt(8.0 * np.log(2.0))
    weights = np.exp(-0.5 * ((axis_mm[:, None] - axis_mm) / sigma_mm) ** 2)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), dtype=np.float32)
