"""What a recipe regresses out of every voxel: head motion, and what fMRIPrep measured.

nilearn reads the tables (``nilearn.interfaces.fmriprep.load_confounds``); 24 motion regressors are
those of fMRIPrep and nilearn, whoever estimated the six. Not here: the fit (``temporal``).
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.config.files import read_file
from spectrum.data.quality import MAX_TABLE_BYTES
from spectrum.errors import ImageError, SidecarError

__all__ = ["MOTION_NAMES", "Confounds", "build_regressors", "expand_motion", "read_confounds"]

MOTION_NAMES: Final = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
"""Columns of a motion array, as fMRIPrep names them: millimetres and radians."""

STEM: Final = "sub-01_task-any"
"""nilearn finds a table by the name of its image; here both are under this one."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confounds:
    """What a confounds table gives to a recipe, per volume of the whole run.

    ``motion_V6`` is None where the recipe asks for no motion; ``other_VK`` are the further
    regressors, none or more; ``num_unsteady`` is how many volumes at the start fMRIPrep marks as
    not in steady state.
    """

    motion_V6: Float64 | None
    other_VK: Float64
    num_unsteady: int = 0


def expand_motion(motion_V6: Float64) -> Float64:
    """Return 24 regressors: R, R', R squared, R' squared.

    R' is the change from the volume before; the first volume, which has none, takes that of the
    second. This is what fMRIPrep writes and nilearn reads as ``motion: full`` (Satterthwaite et
    al. 2013). Friston et al. (1996) take the values one volume back and their squares: with R they
    span what R and R' do, the squares do not.

    Parameters
    ----------
    motion_V6 : (V, 6), V >= 1; millimetres and radians

    Returns
    -------
    regressors_VK : (V, 24)
    """
    change = np.diff(motion_V6, axis=0)
    first = change[:1] if len(change) else np.zeros_like(motion_V6)
    change = np.vstack([first, change])
    return np.hstack([motion_V6, change, motion_V6**2, change**2])


def build_regressors(
    config: PreprocessingConfig,
    *,
    motion_V6: NDArray[Any] | None = None,
    confounds: Confounds | None = None,
) -> Float64 | None:
    """Return the regressors of a recipe for the volumes that it keeps, or None for none.

    Changes from the volume before are taken over the whole run, before volumes are dropped.

    Parameters
    ----------
    config : the recipe
    motion_V6 : (V, 6) of the whole run, millimetres and radians
        Of the recipe's own motion correction; goes before the table's. None without one.
    confounds : of the whole run; None where there is no table

    Raises
    ------
    ImageError
        ``no-motion``, ``no-confounds``, ``bad-confounds`` or ``unsteady-volumes``.
    """
    parts = []
    if config.confounds != "none":
        parts.append(_motion(config, motion_V6, confounds))
    if config.reads_table:
        if confounds is None or not confounds.other_VK.shape[1]:
            what = "table of confounds"
            raise _lacking("no-confounds", "global_signal, tissue_signals or compcor", what)
        _check_steady(confounds, config)
        parts.append(confounds.other_VK)
    if not parts:
        return None
    _check_lengths(parts)
    regressors = np.hstack(parts)[config.drop_initial_volumes :]
    if not np.isfinite(regressors).all():
        raise ImageError(
            "The confounds hold values that are not finite. "
            "Expected a number for each volume that is kept; make the derivatives again.",
            code="bad-confounds",
        )
    return regressors


def _motion(
    config: PreprocessingConfig, motion_V6: NDArray[Any] | None, confounds: Confounds | None
) -> Float64:
    if motion_V6 is None and confounds is not None:
        motion_V6 = confounds.motion_V6
    if motion_V6 is None:
        raise _lacking("no-motion", f"confounds: {config.confounds}", "motion parameters")
    motion = np.asarray(motion_V6, dtype=np.float64)
    return motion if config.confounds == "motion6" else expand_motion(motion)


def _check_lengths(parts: list[Float64]) -> None:
    lengths = sorted({len(part) for part in parts})
    if len(lengths) > 1:
        raise ImageError(
            f"Confounds of one run have {lengths} volumes. "
            "Expected one row a volume of the image; make the derivatives again.",
            code="bad-confounds",
        )


def _lacking(code: str, setting: str, what: str) -> ImageError:
    return ImageError(
        f"The recipe asks for preprocessing.{setting}, and the run has no {what}. "
        "Choose a recipe without, correct the motion first, or use derivatives of fMRIPrep.",
        code=code,
    )


def _check_steady(confounds: Confounds, config: PreprocessingConfig) -> None:
    """Refuse volumes for which fMRIPrep has no components, only zeros."""
    if confounds.num_unsteady > config.drop_initial_volumes:
        raise ImageError(
            f"fMRIPrep marks the first {confounds.num_unsteady} volumes as not in steady state "
            f"and has no components there; the recipe drops {config.drop_initial_volumes}. "
            f"Set preprocessing.drop_initial_volumes: {confounds.num_unsteady} or more.",
            code="unsteady-volumes",
        )


def read_confounds(
    table: Path, sidecar: Path | None, config: PreprocessingConfig, num_volumes: int
) -> Confounds:
    """Read what a recipe needs from a confounds table of fMRIPrep, 1.2 or later.

    Parameters
    ----------
    table : ``desc-confounds_timeseries.tsv``, under any name
    sidecar : its JSON, which says what each CompCor component is of; None without one
    config : the recipe
    num_volumes : rows expected

    Raises
    ------
    SidecarError
        ``no-motion`` or ``missing-confounds`` where columns are not there, ``bad-confounds`` where
        the table is none of this run.
    """
    with _under_known_name(table, sidecar) as image:
        motion = (
            _columns(table, image, ("motion",), "no-motion") if _takes_motion(config) else None
        )
        strategy = _strategy(config)
        other = _columns(table, image, strategy, "missing-confounds", config) if strategy else None
    for found in (motion, other):
        if found is not None and len(found[0]) != num_volumes:
            raise _unreadable(table, f"it has {len(found[0])} rows, and the run {num_volumes}")
    return Confounds(
        motion_V6=None if motion is None else motion[0],
        other_VK=np.zeros((num_volumes, 0)) if other is None else other[0],
        num_unsteady=max(found[1] for found in (motion, other) if found is not None),
    )


def _takes_motion(config: PreprocessingConfig) -> bool:
    return config.confounds != "none"


def _strategy(config: PreprocessingConfig) -> tuple[str, ...]:
    wanted = {
        "global_signal": config.global_signal,
        "wm_csf": config.tissue_signals,
        "high_pass": config.compcor_components > 0,
        "compcor": config.compcor_components > 0,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


@contextmanager
def _under_known_name(table: Path, sidecar: Path | None) -> Iterator[str]:
    """Copy table and sidecar to where nilearn looks for those of the image that is yielded.

    nilearn finds the sidecar by writing json for every tsv in the whole path, so the folder has a
    hexadecimal name.
    """
    folder = Path(gettempdir()) / f"confounds-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    copies = {".tsv": table} if sidecar is None else {".tsv": table, ".json": sidecar}
    try:
        for ending, source in copies.items():
            copy = folder / f"{STEM}_desc-confounds_timeseries{ending}"
            copy.write_bytes(_bytes(source))
        yield str(folder / f"{STEM}_desc-preproc_bold.nii.gz")
    finally:
        for ending in copies:
            (folder / f"{STEM}_desc-confounds_timeseries{ending}").unlink(missing_ok=True)
        folder.rmdir()


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path, max_bytes=MAX_TABLE_BYTES)
    except OSError as err:
        raise _unreadable(path, str(err)) from err


def _columns(
    table: Path,
    image: str,
    strategy: tuple[str, ...],
    code: str,
    config: PreprocessingConfig | None = None,
) -> tuple[Float64, int]:
    """Return the columns of a strategy in whole, and how many volumes are not in steady state."""
    from nilearn.interfaces.fmriprep import load_confounds

    settings: dict[str, Any] = {"motion": "basic", "demean": False}
    if config is not None and config.compcor_components:
        settings["n_compcor"] = config.compcor_components
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame, kept = load_confounds(image, strategy=strategy, **settings)
    except (ValueError, KeyError, TypeError, IndexError) as err:
        text = " ".join(str(err).split())
        raise SidecarError(
            f"{table} has not what the recipe asks for ({', '.join(strategy)}): {text[:200]}. "
            "Choose other confounds in the recipe, or make the derivatives again.",
            code=code if _is_lacking(err, text) else "bad-confounds",
            path=str(table),
        ) from err
    if strategy == ("motion",):
        frame = frame[list(MOTION_NAMES)]
    columns = frame.to_numpy(dtype=np.float64)
    return columns, 0 if kept is None else _first_kept(np.asarray(kept))


def _is_lacking(err: Exception, text: str) -> bool:
    """Return whether nilearn read the table, and found it without what was asked for."""
    return isinstance(err, KeyError) or "missing" in text or "json" in text


def _first_kept(kept: NDArray[np.intp]) -> int:
    return int(kept[0]) if kept.size else 0


def _unreadable(path: Path, why: str) -> SidecarError:
    return SidecarError(
        f"{path} is no confounds table of this run: {why}. "
        "Expected one row a volume, as fMRIPrep writes; make the derivatives again.",
        code="bad-confounds",
        path=str(path),
    )
