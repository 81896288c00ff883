"""Small BIDS trees whose content is known."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (3, 4, 5, 6)
VOXEL_MM = (2.0, 3.0, 4.5)


def write_bold(
    path: Path,
    *,
    shape: tuple[int, ...] = SHAPE,
    tr: float | None = 2.0,
    unit: str = "sec",
) -> Path:
    """Write an image of noise; ``tr`` is in ``unit``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(0).integers(0, 100, size=shape).astype(np.int16)
    image = nib.Nifti1Image(voxels, np.diag([*VOXEL_MM, 1.0]))
    image.header.set_xyzt_units("mm", unit)
    if len(shape) > 3 and tr is not None:
        image.header.set_zooms((*VOXEL_MM, tr, *[1.0] * (len(shape) - 4)))
    if tr is None:
        image.header["pixdim"][4] = 0.0
    nib.save(image, path)
    return path


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_events(path: Path, rows: str = "1.0\t2.0\tgo\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("onset\tduration\ttrial_type\n" + rows)
    return path
