"""Parcels of a fold: spheres of an atlas where the grid is MNI152, clusters of voxels elsewhere.

Clusters (Ward's, with neighbours in space) and the mask are fitted on training runs alone. Not
here: what is made of the parcels' series (``linear``, ``networks``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import Fold
from spectrum.evaluation.rungs.question import Floats, Ints, Question, training_rows

__all__ = ["Parcellation", "fit_mask", "fit_parcels"]

MAX_PARCELS: Final = 60
"""Ward parcels: as many as a linear model of their 1770 correlations can still be fitted with."""

VOXELS_OF_PARCEL: Final = 4
"""Voxels that a parcel has at least, on average."""

MAX_VOLUMES: Final = 600
"""Volumes of the training runs, evenly spread, that clusters are found from."""

LEAST_SHARE: Final = 0.5
"""A voxel counts where at least this share of the training runs has it inside their mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcellation:
    """Weights of voxels in parcels, (P, N) over the flat voxels of ``mask_SHW``; rows sum to 1."""

    mask_SHW: NDArray[np.bool_]
    weights_PN: Floats
    kind: str

    @property
    def num_parcels(self) -> int:
        """P."""
        return len(self.weights_PN)

    def series(self, slices_VSHW: NDArray[np.float16]) -> Floats:
        """Return the mean of each parcel in each volume, (V, P)."""
        inside_VN = slices_VSHW[:, self.mask_SHW].astype(np.float64)
        return np.asarray(inside_VN @ self.weights_PN.T)


def fit_mask(question: Question, fold: Fold) -> NDArray[np.bool_]:
    """Return the voxels that most training runs have, (S, H, W); all where no run is masked."""
    counts = np.zeros(question.sequences.volume_shape)
    runs = _training_runs(question, fold)
    for run in runs:
        volumes = question.volumes(run)
        counts += (volumes[:: max(1, len(volumes) // 3)] != 0).any(axis=0)
    mask = counts >= LEAST_SHARE * len(runs)
    return mask if mask.any() else np.ones_like(mask)


def fit_parcels(question: Question, fold: Fold) -> Parcellation:
    """Return the parcels of a fold.

    Seitzman's 300 spheres (Seitzman et al. 2020), which nilearn ships and which include basal
    ganglia and hippocampus, where the recipe ends on MNI152; Ward clusters of the training
    volumes elsewhere.
    """
    mask_SHW = fit_mask(question, fold)
    if question.recipe.normalization == "mni152":
        return _spheres(question, mask_SHW)
    return _clusters(question, fold, mask_SHW)


def _training_runs(question: Question, fold: Fold) -> list[int]:
    return sorted({unit.run_index for unit in question.units(training_rows(fold))})


def _clusters(question: Question, fold: Fold, mask_SHW: NDArray[np.bool_]) -> Parcellation:
    from sklearn.cluster import FeatureAgglomeration
    from sklearn.feature_extraction.image import grid_to_graph

    num_voxels = int(mask_SHW.sum())
    num_parcels = max(1, min(MAX_PARCELS, num_voxels // VOXELS_OF_PARCEL))
    if num_parcels == 1:
        weights = np.full((1, num_voxels), 1.0 / num_voxels)
        return Parcellation(mask_SHW=mask_SHW, weights_PN=weights, kind="one parcel")
    ward = FeatureAgglomeration(
        n_clusters=num_parcels, connectivity=grid_to_graph(*mask_SHW.shape, mask=mask_SHW)
    )
    ward.fit(_spread_volumes(question, fold, mask_SHW))
    return Parcellation(
        mask_SHW=mask_SHW,
        weights_PN=_mean_weights(np.asarray(ward.labels_), num_parcels),
        kind=f"{num_parcels} Ward parcels",
    )


def _spread_volumes(question: Question, fold: Fold, mask_SHW: NDArray[np.bool_]) -> Floats:
    """Return volumes of the training runs, evenly spread, each run scaled to unit variance."""
    runs = _training_runs(question, fold)
    of_run = max(2, MAX_VOLUMES // len(runs))
    found = []
    for run in runs:
        volumes = question.volumes(run)
        chosen = np.unique(np.linspace(0, len(volumes) - 1, of_run).astype(int))
        values = volumes[chosen][:, mask_SHW].astype(np.float64)
        found.append((values - values.mean(axis=0)) / max(float(values.std()), 1e-12))
    return np.concatenate(found)


def _mean_weights(labels_N: Ints, num_parcels: int) -> Floats:
    members = labels_N[None, :] == np.arange(num_parcels)[:, None]
    return np.asarray(members / members.sum(axis=1, keepdims=True))


def _spheres(question: Question, mask_SHW: NDArray[np.bool_]) -> Parcellation:
    """Return the voxels within the radius of each coordinate, or its nearest voxel.

    Spheres without a voxel of the mask nearby are left out.
    """
    from nilearn.datasets import fetch_coords_seitzman_2018

    atlas = fetch_coords_seitzman_2018(ordered_regions=False)
    centres_mm = np.column_stack([np.asarray(atlas.rois[axis], float) for axis in "xyz"])
    places_mm = _voxel_places_mm(question)[mask_SHW.ravel()]
    reach_mm = np.maximum(np.asarray(atlas.radius, float), question.recipe.voxel_mm * 0.87)
    rows = []
    for centre, reach in zip(centres_mm, reach_mm, strict=True):
        gap_mm = np.linalg.norm(places_mm - centre, axis=1)
        inside = (gap_mm <= reach).astype(float)
        if inside.any():
            rows.append(inside / inside.sum())
    return Parcellation(
        mask_SHW=mask_SHW, weights_PN=np.array(rows), kind=f"{len(rows)} Seitzman spheres"
    )


def _voxel_places_mm(question: Question) -> Floats:
    """Return the MNI152 coordinates of all voxels, (S*H*W, 3), axial: S is Z, H is Y, W is X."""
    from spectrum.data.grids import Grid, build_grid

    anywhere = Grid(shape=(1, 1, 1), affine=np.eye(4))
    grid = build_grid(anywhere, np.ones((1, 1, 1), dtype=bool), question.recipe, is_aligned=True)
    z, y, x = np.indices(question.sequences.volume_shape).reshape(3, -1)
    affine: Floats = grid.affine
    return np.column_stack([x, y, z]) @ affine[:3, :3].T + affine[:3, 3]
