"""One image of a run that was scanned with several echoes. Not here: when echoes were read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.images import BoldImage
from spectrum.errors import ImageError

__all__ = ["AFFINE_TOLERANCE_MM", "COMBINATION", "combine_echoes", "joined_digest"]

COMBINATION: Final = "te-tsnr 1"
"""Name and version of the rule, part of the fingerprint of a run that was combined."""

AFFINE_TOLERANCE_MM: Final = 1e-2
"""Affines of one grid differ by no more than rounding."""


def combine_echoes(images: Sequence[BoldImage], echo_times_s: Sequence[float]) -> BoldImage:
    """Return the weighted mean of the echoes of a run.

    The weight of an echo in a voxel is its echo time times its temporal signal-to-noise ratio
    there, over the sum of all echoes' (Poser et al. 2006, Magn Reson Med 55:1227, "CNR
    weighting"). Where no echo varies in time all weigh the same.

    Parameters
    ----------
    images : the echoes, on one grid
    echo_times_s : seconds, > 0, one an image

    Returns
    -------
    image : float32
        Its digests are those of the echoes' digests, its findings those of all echoes.

    Raises
    ------
    ImageError
        ``unequal-echoes``: shapes or affines differ.
    """
    first = images[0]
    for image in images[1:]:
        _check_same_grid(first, image)
    weights = [
        time_s * _tsnr(image.data_XYZV) for image, time_s in zip(images, echo_times_s, strict=True)
    ]
    total_XYZ = np.sum(weights, axis=0)
    combined_XYZV = np.zeros(first.data_XYZV.shape, dtype=np.float32, order="F")
    for image, weight_XYZ in zip(images, weights, strict=True):
        share_XYZ = np.full_like(total_XYZ, 1.0 / len(images))
        np.divide(weight_XYZ, total_XYZ, out=share_XYZ, where=total_XYZ > 0)
        combined_XYZV += image.data_XYZV * share_XYZ[..., None]
    return BoldImage(
        data_XYZV=combined_XYZV,
        affine=first.affine,
        voxel_mm=first.voxel_mm,
        tr_s=first.tr_s,
        sha256=joined_digest([image.sha256 for image in images]),
        voxels_sha256=joined_digest([image.voxels_sha256 for image in images]),
        findings=tuple(finding for image in images for finding in image.findings),
    )


def _check_same_grid(first: BoldImage, image: BoldImage) -> None:
    shapes = first.data_XYZV.shape, image.data_XYZV.shape
    is_near = np.allclose(first.affine, image.affine, atol=AFFINE_TOLERANCE_MM)
    if shapes[0] != shapes[1] or not is_near:
        raise ImageError(
            f"Its echoes have the shapes {shapes[0]} and {shapes[1]}, or lie in different places. "
            "All echoes of a run must be on one grid; convert them again.",
            code="unequal-echoes",
        )


def _tsnr(data_XYZV: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return mean over standard deviation in time; 0 where nothing varies."""
    mean_XYZ = np.abs(data_XYZV.mean(axis=3, dtype=np.float64))
    deviation_XYZ = data_XYZV.std(axis=3, dtype=np.float64)
    tsnr_XYZ = np.zeros_like(mean_XYZ)
    np.divide(mean_XYZ, deviation_XYZ, out=tsnr_XYZ, where=deviation_XYZ > 0)
    return np.asarray(tsnr_XYZ, dtype=np.float32)


def joined_digest(digests: Sequence[str]) -> str:
    """Return one digest for those of all echoes, in their order."""
    return hashlib.sha256("/".join(digests).encode("ascii")).hexdigest()
