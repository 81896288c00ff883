"""Where the voxels of an image lie, and whether its header agrees with itself about it.

NIfTI stores an orientation twice: the sform, a matrix, and the qform, a rotation with voxel
sizes; each has a code, and 0 means not set. The sform wins where it is set, as in nibabel, FSL,
AFNI and fMRIPrep. They may differ, since the sform may lead to a template and the qform to the
scanner (nifti1.h, method 2 and 3), but "the qform and sform should never specify coordinates with
different handedness. Otherwise it is not possible to tell left from right" (NIfTI documentation,
qsform_brief_usage). So a run is refused where they are mirror images, or where both name the same
space and one is turned by more than ``MAX_TURN_DEG``; else a difference is a finding, as it is a
note in fMRIPrep's report. Not here: registration.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.findings import Finding
from spectrum.errors import ImageError

__all__ = ["MAX_APART_MM", "MAX_TURN_DEG", "read_orientation"]

MAX_APART_MM: Final = 1.0
"""Distance between two positions of a corner voxel that float32 and its quaternion do not explain:
on real images they come to 0.0002 mm, and a voxel has 2 mm or more."""

MAX_TURN_DEG: Final = 45.0
"""A larger rotation gives an axis another name: left for up."""

VOXEL_SIZE_TOLERANCE: Final = 0.05
"""Largest relative difference of pixdim and affine: a template's affine scales by more."""

MAX_MM: Final = 1e6
"""A position farther away than this is no number of a scanner's."""

Affine = NDArray[np.float64]


def read_orientation(
    raw: Any, shape: tuple[int, ...], path: str
) -> tuple[Affine, tuple[Finding, ...]]:
    """Return the affine, voxel indices to millimetres, and what is odd about it.

    Parameters
    ----------
    raw : NIfTI-1 or NIfTI-2 header of nibabel
    shape : sides of the image, checked
    path : names the file in errors

    Returns
    -------
    affine : (4, 4), finite, not singular
    findings : ``no-orientation``, ``bad-qform``, ``orientation-differs``, ``voxel-size-differs``

    Raises
    ------
    ImageError
        ``bad-voxel-size``, ``bad-affine`` or ``orientation-conflict``.
    """
    _check_voxel_size(raw, path)
    sform = _sform(raw) if raw["sform_code"] > 0 else None
    qform = _qform(raw) if raw["qform_code"] > 0 else None
    affine = _best(raw, sform, qform)
    if affine is None or not _is_usable(affine):
        raise ImageError(
            f"{path} has no usable orientation (sform, qform or voxel sizes). "
            "Its affine must be finite and not singular; repair the header.",
            code="bad-affine",
            path=path,
        )
    findings = [_check_codes(raw, qform)]
    if sform is not None and qform is not None and _is_usable(qform):
        findings.append(_compare(raw, sform, qform, shape, path))
    findings.append(_compare_sizes(raw, affine))
    return affine, tuple(finding for finding in findings if finding is not None)


def _check_voxel_size(raw: Any, path: str) -> None:
    sizes = [float(size) for size in raw["pixdim"][1:4]]
    if all(np.isfinite(sizes)) and all(sizes):
        return
    raise ImageError(
        f"{path} has voxels of {sizes} mm (pixdim). None may be 0 or infinite; repair the header.",
        code="bad-voxel-size",
        path=path,
    )


def _sform(raw: Any) -> Affine:
    return np.asarray(raw.get_sform(), dtype=np.float64)


def _qform(raw: Any) -> Affine | None:
    """Return the qform; as in nifticlib, qfac is -1 where it is negative and else 1."""
    from nibabel.spatialimages import HeaderDataError

    lenient = raw.copy()
    lenient["pixdim"][0] = -1.0 if raw["pixdim"][0] < 0 else 1.0
    lenient["pixdim"][1:4] = np.abs(raw["pixdim"][1:4])
    try:
        return np.asarray(lenient.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None


def _best(raw: Any, sform: Affine | None, qform: Affine | None) -> Affine | None:
    if raw["sform_code"] > 0:
        return sform
    if raw["qform_code"] > 0:
        return qform
    return np.asarray(raw.get_base_affine(), dtype=np.float64)


def _is_usable(affine: Affine) -> bool:
    if not np.isfinite(affine).all() or np.abs(affine).max() > MAX_MM:
        return False
    return abs(float(np.linalg.det(affine[:3, :3]))) > 1e-9


def _check_codes(raw: Any, qform: Affine | None) -> Finding | None:
    if raw["qform_code"] > 0 and (qform is None or not _is_usable(qform)):
        return Finding(
            code="bad-qform",
            message="The qform is set but is no rotation; the sform is taken. "
            "Programs that read the qform will refuse the image or turn it.",
        )
    if raw["sform_code"] > 0 or raw["qform_code"] > 0:
        return None
    return Finding(
        code="no-orientation",
        message="Neither sform nor qform is set; the first axis is taken to run to the left, as "
        "in Analyze files. Left and right may be swapped; set the orientation.",
    )


def _compare(
    raw: Any, sform: Affine, qform: Affine, shape: tuple[int, ...], path: str
) -> Finding | None:
    turn_deg = _turn_deg(sform, qform)
    has_one_space = int(raw["sform_code"]) == int(raw["qform_code"])
    if turn_deg is None or (has_one_space and turn_deg > MAX_TURN_DEG):
        said = "are mirror images" if turn_deg is None else f"are {turn_deg:.0f} degrees apart"
        raise ImageError(
            f"{path} has two orientations, sform and qform, that {said}, so left and right cannot "
            "be told. They must agree; find out which is right and write it into both.",
            code="orientation-conflict",
            path=path,
        )
    apart_mm = _apart_mm(sform, qform, shape)
    if apart_mm <= MAX_APART_MM:
        return None
    return Finding(
        code="orientation-differs",
        message=f"sform and qform put a corner {apart_mm:.1f} mm apart; the sform is taken. "
        "Programs that read the qform will see the image elsewhere.",
    )


def _turn_deg(sform: Affine, qform: Affine) -> float | None:
    """Return the angle of the rotation between two affines; None where one mirrors the other."""
    turn = _rotation(sform) @ _rotation(qform).T
    if np.linalg.det(turn) < 0:
        return None
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0))))


def _rotation(affine: Affine) -> Affine:
    """Return the orthogonal matrix nearest to the axes of an affine (polar decomposition)."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    return np.asarray(left @ right)


def _apart_mm(sform: Affine, qform: Affine, shape: tuple[int, ...]) -> float:
    sides = [(0, side - 1) for side in shape[:3]]
    corners = np.array([(*corner, 1) for corner in itertools.product(*sides)], dtype=np.float64)
    return float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())


def _compare_sizes(raw: Any, affine: Affine) -> Finding | None:
    told = np.abs(np.asarray(raw["pixdim"][1:4], dtype=np.float64))
    used = np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(told, used, rtol=VOXEL_SIZE_TOLERANCE):
        return None
    return Finding(
        code="voxel-size-differs",
        message=f"pixdim says voxels of {told.round(3).tolist()} mm, the affine "
        f"{used.round(3).tolist()}; the affine is taken. Look which is right.",
    )
