"""What one run looks like before, during and after a recipe: small arrays, ready to be drawn.

Read from what is there: the image as scanned, the spatial part where it is kept, and the shards.
What is missing is replaced by a sentence that says why; nothing is made again. Memory is that of
one run. Not here: how it is drawn (``spectrum.report``).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.confounds import read_confounds
from spectrum.data.digests import DIGESTS_NAME, DigestCache
from spectrum.data.echoes import combine_echoes
from spectrum.data.images import read_bold, read_mask
from spectrum.data.inputs import measured_digests, select_inputs
from spectrum.data.pieces import SPATIAL_FOLDER
from spectrum.data.recipe import SPATIAL_STEPS, prefix_fingerprints
from spectrum.data.runs import RunTable
from spectrum.data.shards import ShardRun, ShardSet
from spectrum.data.spatial import mean_as_scanned
from spectrum.data.spatial_pieces import SpatialPiece, read_spatial, spatial_path
from spectrum.errors import DataError
from spectrum.targets import Target

__all__ = [
    "RunSources",
    "RunView",
    "Volume",
    "mean_on_grid",
    "sources_of_set",
    "sources_of_table",
    "view_run",
]

CARPET_VOXELS: Final = 400
"""Voxels in a carpet: as many as a figure has rows for."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSources:
    """Where a run came from, as far as it is known: its images, what lies beside them, its part.

    ``image_paths`` is empty where no image is known; ``spatial`` is where the spatial part lies,
    if it is still kept.
    """

    spatial: Path
    image_paths: tuple[Path, ...] = ()
    echo_times_s: tuple[float, ...] = ()
    mask_path: Path | None = None
    confounds_path: Path | None = None
    is_corrected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One volume and the mask on it; axes to the right, the front and the top, edges in mm."""

    values_XYZ: Floats
    inside_XYZ: NDArray[np.bool_]
    voxel_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run to be looked at; a text stands where something is not known, and says why.

    ``scanned`` is the mean of the image, ``laid`` the mean on the final grid before anything
    happens over time, ``finished`` the volume ``shown_volume`` after the recipe. ``motion_V6`` is
    in millimetres and radians, ``fd_V`` in millimetres, ``dvars_V`` in per cent of the foreground
    and ``signal_V`` the foreground mean in per cent of its own mean, both as scanned.
    ``carpet_NV`` holds voxels after the recipe less their mean, from the brain's edge inwards; it
    and ``finished`` are in the unit of the recipe, whatever scale they are stored at.
    """

    run: ShardRun
    recipe: PreprocessingConfig
    scanned: Volume | str
    laid: Volume | str
    finished: Volume
    shown_volume: int
    motion_V6: NDArray[np.float64] | str
    fd_V: NDArray[np.float64] | str
    dvars_V: NDArray[np.float64]
    signal_V: NDArray[np.float64]
    carpet_NV: Floats


def sources_of_table(
    table: RunTable,
    recipe: PreprocessingConfig,
    shards_root: Path,
    target: Target | None = None,
) -> dict[str, RunSources]:
    """Return where the runs of a table came from, by the name of the run.

    Parameters
    ----------
    table : the runs
    recipe : what was done to them
    shards_root : folder of all shard sets
    target : limits the runs to those that it labels; None takes all
    """
    root = shards_root.absolute()
    jobs = select_inputs(table, recipe, target, root / "unused").jobs
    digests = measured_digests(jobs, DigestCache.read(root / DIGESTS_NAME))
    return {
        job.name: RunSources(
            spatial=spatial_path(
                root / SPATIAL_FOLDER, job.spatial_fingerprint_for(digests[job.name])
            ),
            image_paths=job.image_paths,
            echo_times_s=job.echo_times_s,
            mask_path=None if job.mask_path is None else Path(job.mask_path),
            confounds_path=None if job.confounds_path is None else Path(job.confounds_path),
            is_corrected=job.is_corrected,
        )
        for job in jobs
    }


def sources_of_set(shards: ShardSet) -> dict[str, RunSources]:
    """Return where the runs of a set came from, by name, from what lies beside the set alone.

    Images are known by their digests, as long as they are where they were. Spatial parts are
    found for runs of one image and nothing else: not of derivatives, several echoes, or slice
    times of a sidecar, which a set does not tell.
    """
    root = shards.path.absolute().parent
    cache = DigestCache.read(root / DIGESTS_NAME)
    path_of = {
        sha256: Path(path)
        for path, (_, _, sha256) in cache.entries.items()
        if cache.find(Path(path)) == sha256
    }
    recipe = shards.manifest.recipe
    return {
        str(run.key): RunSources(
            spatial=spatial_path(root / SPATIAL_FOLDER, _plain_fingerprint(run, recipe)),
            image_paths=_known(path_of.get(run.image_sha256)),
        )
        for run in shards.manifest.runs
    }


def _plain_fingerprint(run: ShardRun, recipe: PreprocessingConfig) -> str:
    return prefix_fingerprints(run.image_sha256, run.tr_s, recipe)[SPATIAL_STEPS[-1]]


def _known(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path,)


def mean_on_grid(shards: ShardSet) -> Floats | None:
    """Return the mean over volumes of the first run whose spatial part is kept, X, Y, Z.

    None where none is kept, as after ``spectrum shards prune``.
    """
    sources = sources_of_set(shards)
    for run in shards.manifest.runs:
        piece = read_spatial(sources[str(run.key)].spatial)
        if piece is not None:
            mean_XYZ = np.zeros(piece.spatial.grid.shape, dtype=np.float32)
            mean_XYZ.T[piece.spatial.inside_XYZ.T] = piece.spatial.signals_VN.mean(axis=0)
            return mean_XYZ
    return None


def view_run(shards: ShardSet, run: ShardRun, sources: RunSources) -> RunView:
    """Gather what there is of one run.

    Parameters
    ----------
    shards : an open set
    run : one of its runs
    sources : where it came from

    Raises
    ------
    ShardError
        The set is gone or damaged.
    """
    recipe = shards.manifest.recipe
    scanned = _scanned(sources, recipe)
    piece = read_spatial(sources.spatial)
    slices_VSHW = shards.read_run(run)
    inside_XYZ = (slices_VSHW != 0).any(axis=0).T if piece is None else piece.spatial.inside_XYZ
    voxel_mm = _final_voxel_mm(run, recipe, piece, scanned)
    shown = run.num_volumes // 2
    quality = shards.read_volume_quality(run)
    return RunView(
        run=run,
        recipe=recipe,
        scanned=scanned,
        laid=_laid(piece, voxel_mm),
        finished=Volume(
            values_XYZ=slices_VSHW[shown].T.astype(np.float32) * np.float32(run.scale),
            inside_XYZ=inside_XYZ,
            voxel_mm=voxel_mm,
        ),
        shown_volume=shown,
        motion_V6=_motion(run, recipe, sources, piece),
        fd_V=_displacement(quality["fd"], recipe),
        dvars_V=quality["dvars"],
        signal_V=_per_cent(quality["fg_mean"]),
        carpet_NV=_carpet(slices_VSHW, inside_XYZ) * np.float32(run.scale),
    )


def _scanned(sources: RunSources, recipe: PreprocessingConfig) -> Volume | str:
    if not sources.image_paths:
        return "The image as scanned is not where it was when the shards were made."
    try:
        images = [read_bold(path) for path in sources.image_paths]
        image = combine_echoes(images, sources.echo_times_s) if len(images) > 1 else images[0]
        brain_XYZ = None if sources.mask_path is None else read_mask(sources.mask_path)[0]
        mean_XYZ, brain_XYZ, grid = mean_as_scanned(image, config=recipe, brain_XYZ=brain_XYZ)
    except (DataError, OSError) as err:
        return f"The image as scanned cannot be read again: {err}"
    return Volume(values_XYZ=mean_XYZ, inside_XYZ=brain_XYZ, voxel_mm=_edges(grid.voxel_mm))


def _laid(piece: SpatialPiece | None, voxel_mm: tuple[float, float, float]) -> Volume | str:
    if piece is None:
        return (
            "The mean on the final grid is not shown: the spatial part of the run is not kept "
            "(spectrum shards prune), or cannot be found from the set alone."
        )
    inside_XYZ = piece.spatial.inside_XYZ
    mean_ZYX = np.zeros(inside_XYZ.shape[::-1], dtype=np.float32)
    mean_ZYX[inside_XYZ.T] = piece.spatial.signals_VN.mean(axis=0)
    return Volume(values_XYZ=mean_ZYX.T, inside_XYZ=inside_XYZ, voxel_mm=voxel_mm)


def _final_voxel_mm(
    run: ShardRun,
    recipe: PreprocessingConfig,
    piece: SpatialPiece | None,
    scanned: Volume | str,
) -> tuple[float, float, float]:
    if piece is not None:
        return _edges(piece.spatial.grid.voxel_mm)
    if recipe.grid == "common":
        return (recipe.voxel_mm,) * 3
    edges, shape = run.voxel_mm, run.source_shape[:3]
    if isinstance(scanned, Volume):
        edges, shape = scanned.voxel_mm, _sides(scanned)
    return _edges(np.array(edges) * np.array(shape) / np.array(run.shape_SHW[::-1]))


def _sides(volume: Volume) -> tuple[int, int, int]:
    x, y, z = volume.values_XYZ.shape
    return x, y, z


def _edges(voxel_mm: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(edge) for edge in voxel_mm)
    return x, y, z


def _motion(
    run: ShardRun,
    recipe: PreprocessingConfig,
    sources: RunSources,
    piece: SpatialPiece | None,
) -> NDArray[np.float64] | str:
    if piece is not None and piece.spatial.motion_V6 is not None:
        return piece.spatial.motion_V6
    if sources.confounds_path is not None:
        return _motion_of_table(sources.confounds_path, run, recipe)
    if sources.is_corrected:
        return "Motion was corrected before, and no confounds table lies beside the image."
    if not recipe.motion_correction:
        return "Motion is not estimated: preprocessing.motion_correction is false."
    return (
        "The six motion parameters are not shown: the spatial part of the run is not kept "
        "(spectrum shards prune), or cannot be found from the set alone."
    )


def _motion_of_table(
    path: Path, run: ShardRun, recipe: PreprocessingConfig
) -> NDArray[np.float64] | str:
    asked = PreprocessingConfig(confounds="motion6")
    with suppress(DataError):
        found = read_confounds(path, None, asked, run.source_shape[3])
        if found.motion_V6 is not None:
            return found.motion_V6[recipe.drop_initial_volumes :]
    return "The confounds table beside the image has no six motion parameters."


def _displacement(
    fd_V: NDArray[np.float64], recipe: PreprocessingConfig
) -> NDArray[np.float64] | str:
    if np.isfinite(fd_V).any():
        return fd_V
    if not recipe.motion_correction:
        return "Framewise displacement is not known: preprocessing.motion_correction is false."
    return "Framewise displacement is not known for this run."


def _per_cent(values_V: NDArray[np.float64]) -> NDArray[np.float64]:
    known = values_V[np.isfinite(values_V)]
    level = float(known.mean()) if known.size else 0.0
    return 100.0 * values_V / level if level else np.full_like(values_V, np.nan)


def _carpet(slices_VSHW: NDArray[np.float16], inside_XYZ: NDArray[np.bool_]) -> Floats:
    """Return evenly many voxels of all depths, the brain's edge first, less their means."""
    from scipy.ndimage import distance_transform_edt

    depth_ZYX = distance_transform_edt(np.pad(inside_XYZ.T, 1))[1:-1, 1:-1, 1:-1]
    voxels = np.flatnonzero(inside_XYZ.T)
    ordered = voxels[np.argsort(depth_ZYX.ravel()[voxels], kind="stable")]
    places = np.linspace(0, ordered.size - 1, min(CARPET_VOXELS, ordered.size)).round()
    chosen = ordered[places.astype(np.int64)]
    carpet_NV = slices_VSHW.reshape(len(slices_VSHW), -1)[:, chosen].T.astype(np.float32)
    return np.asarray(carpet_NV - carpet_NV.mean(axis=1, keepdims=True))
