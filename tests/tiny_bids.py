"""A BIDS tree of a few kilobytes, with unequal sizes and a head that stands out from the air."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TASK = "deterministicclassification"
RUNS = {
    ("01", TASK, "01"): 11,
    ("01", TASK, "02"): 13,
    ("02", TASK, "01"): 20,
    ("02", TASK, "02"): 11,
}
"""(subject, task, run) -> volumes."""

SHAPE = (7, 8, 9)
VOXEL_MM = (5.0, 6.0, 7.0)


def tiny_affine(voxel_mm: tuple[float, float, float] = VOXEL_MM) -> NDArray[np.float64]:
    """Axes to the right, front and top; the origin is off centre."""
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = (-11.0, -17.0, -23.0)
    return affine


def tiny_data(
    num_volumes: int, *, seed: int, shape: tuple[int, int, int] = SHAPE
) -> NDArray[np.int16]:
    """An ellipsoid of about 1000 with noise of 10, in air of about 20."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    head = (x**2 + y**2 + z**2) < 0.9
    level = np.where(head, 1000.0, 20.0)[..., None]
    noise = rng.normal(size=(*shape, num_volumes)) * np.where(head, 10.0, 3.0)[..., None]
    return np.asarray(level + noise, dtype=np.int16)


def write_nifti(
    path: Path,
    data: NDArray[Any],
    *,
    affine: NDArray[np.float64] | None = None,
    tr_s: float = 2.0,
) -> Path:
    import nibabel as nib

    image = nib.Nifti1Image(data, tiny_affine() if affine is None else affine)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header["pixdim"][4] = tr_s
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def write_run(
    root: Path,
    entities: tuple[str, str, str],
    num_volumes: int,
    *,
    shape: tuple[int, int, int] = SHAPE,
    seed: int | None = None,
) -> Path:
    """Write the image and the events of one run; the seed is of its entities unless given."""
    subject, task, run = entities
    stem = f"sub-{subject}_task-{task}_run-{run}"
    folder = root / f"sub-{subject}" / "func"
    own = zlib.crc32(stem.encode()) if seed is None else seed
    path = write_nifti(
        folder / f"{stem}_bold.nii.gz", tiny_data(num_volumes, seed=own, shape=shape)
    )
    events = "onset\tduration\ttrial_type\n0.0\t4.0\tface\n8.0\t2.0\thouse\n"
    (folder / f"{stem}_events.tsv").write_text(events, encoding="utf-8")
    return path


def write_tiny_bids(
    root: Path,
    runs: Mapping[tuple[str, str, str], int] | None = None,
    *,
    shape: tuple[int, int, int] = SHAPE,
    tr_s: float = 2.0,
) -> Path:
    """Write a whole tree and return its root."""
    chosen = RUNS if runs is None else runs
    root.mkdir(parents=True, exist_ok=True)
    description = {"Name": root.name, "BIDSVersion": "1.8.0"}
    (root / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    for task in {task for _, task, _ in chosen}:
        sidecar = {"RepetitionTime": tr_s, "TaskName": task}
        (root / f"task-{task}_bold.json").write_text(json.dumps(sidecar), encoding="utf-8")
    for entities, num_volumes in chosen.items():
        write_run(root, entities, num_volumes, shape=shape)
    return root
