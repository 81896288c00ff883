"""Single flipped bits of a good .nii.gz, at seeded places, and what became of each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from spectrum.data.images import BoldImage, read_bold
from spectrum.errors import ImageError
from tests.image_bytes import good_data, gz, nifti_bytes


def flip_outcomes(folder: Path, *, num_flips: int, seed: int) -> Counter[str]:
    """Flip, read, compare; count codes, and ``equal`` or ``changed`` of what was read.

    A refusal that does not name its file counts as ``unnamed``.
    """
    content = gz(nifti_bytes(good_data()))
    path = folder / "flipped_bold.nii.gz"
    path.write_bytes(content)
    good = read_bold(path)
    outcomes: Counter[str] = Counter()
    for bit in np.random.default_rng(seed).integers(0, 8 * len(content), num_flips):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            outcomes["equal" if _is_equal(read_bold(path), good) else "changed"] += 1
        except ImageError as err:
            outcomes[err.code if str(path) in err.message else "unnamed"] += 1
    return outcomes


def _is_equal(found: BoldImage, good: BoldImage) -> bool:
    """Return whether voxels and all that the header means are the same."""
    same_voxels = found.data_XYZV.dtype == good.data_XYZV.dtype and np.array_equal(
        found.data_XYZV, good.data_XYZV
    )
    return same_voxels and _meaning(found) == _meaning(good)


def _meaning(image: BoldImage) -> str:
    told = (image.affine.tolist(), image.voxel_mm, image.tr_s, image.voxels_sha256)
    return json.dumps([*told, [finding.code for finding in image.findings]])
