"""Checkpoints: a folder of ``model.safetensors`` and ``model.json``; never a pickle.

The JSON file is written last and holds the digest of the weights, so that a half-written or
changed checkpoint is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from spectrum.config import TrialConfig, canonical_json
from spectrum.config.files import read_file
from spectrum.config.frozen import FrozenConfig
from spectrum.data.harmonisation import Harmonisation, IntensityScale
from spectrum.errors import CheckpointError
from spectrum.model.slice_vit import SliceViT, build_model
from spectrum.model.tensor_files import read_tensor_file
from spectrum.owners import write_whole

__all__ = [
    "HEADER_NAME",
    "WEIGHTS_NAME",
    "CheckpointHeader",
    "read_checkpoint",
    "read_header",
    "scales_in_header",
    "write_checkpoint",
]

WEIGHTS_NAME: Final = "model.safetensors"
HEADER_NAME: Final = "model.json"

MAX_HEADER_BYTES: Final = 64 * 1024**2
"""A header is never larger: its configuration and classes are some kB."""


class CheckpointHeader(FrozenConfig):
    """All that is needed to build the model again and to know what it was fitted on."""

    format_version: Literal[1] = 1
    """Version of this format."""

    config: TrialConfig
    """The point that was fitted."""

    shape_TSHW: tuple[int, int, int, int]
    """Shape of a sequence."""

    classes: tuple[str, ...]
    """Classes of the target, in the order of the logits."""

    scored_classes: tuple[int, ...]
    """Indices of the classes that the fold scored; the others were never trained."""

    fold: str
    """Name of the fold."""

    held_out: str
    """What the fold held out."""

    epoch: int
    """Epoch that was kept, from 0."""

    data_hash: str
    """Content hash of the shard set."""

    scale_of_dataset: dict[str, tuple[float, float]] | None = None
    """Mean and standard deviation of each data set of the training side, in the recipe's unit;
    None where nothing was harmonised. What is predicted must be put on the same scale first."""

    weights_sha256: str = ""
    """Digest of the weights file; set when the checkpoint is written."""

    @property
    def harmonisation(self) -> Harmonisation | None:
        """How runs are put on the scale of the fit; None where they stay as the recipe left them.

        A run of a data set that was not in training is put on it by its own voxels.
        """
        if self.scale_of_dataset is None:
            return None
        return Harmonisation(
            scale_of_dataset={
                name: IntensityScale(mean=mean, sd=sd)
                for name, (mean, sd) in self.scale_of_dataset.items()
            }
        )


def scales_in_header(
    harmonisation: Harmonisation | None,
) -> dict[str, tuple[float, float]] | None:
    """Return the scales of a fit as a header has them."""
    if harmonisation is None:
        return None
    return {name: (s.mean, s.sd) for name, s in harmonisation.scale_of_dataset.items()}


def write_checkpoint(
    folder: Path, weights: Mapping[str, Tensor], header: CheckpointHeader
) -> None:
    """Write weights and header to a folder, each by renaming, the header last."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    digest = hashlib.sha256(content).hexdigest()
    write_whole(folder / WEIGHTS_NAME, content)
    complete = header.model_copy(update={"weights_sha256": digest})
    header_bytes = canonical_json(complete.model_dump(mode="json")).encode()
    write_whole(folder / HEADER_NAME, header_bytes)


def read_checkpoint(
    folder: Path, *, device: torch.device | str = "cpu"
) -> tuple[SliceViT, CheckpointHeader]:
    """Build the model of a checkpoint, in evaluation mode.

    Raises
    ------
    CheckpointError
        Where a file is missing, of another format, or not what was written.
    """
    header = read_header(folder / HEADER_NAME)
    content = _read(folder / WEIGHTS_NAME, read_tensor_file)
    if hashlib.sha256(content).hexdigest() != header.weights_sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME} does not have the digest in {HEADER_NAME}. "
            "The file is damaged or from another fit; restore it or train again."
        )
    num_volumes, num_slices, height, width = header.shape_TSHW
    model = build_model(
        header.config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=num_volumes,
        num_classes=len(header.classes),
    )
    try:
        model.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as err:
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME} does not fit the model of {HEADER_NAME}: "
            f"{str(err).splitlines()[0]}. Train again with this version of Spectrum."
        ) from err
    return model.to(device).eval(), header


def read_header(path: Path) -> CheckpointHeader:
    """Read a header alone; raise CheckpointError where it is missing, foreign or damaged."""
    try:
        return CheckpointHeader.model_validate_json(_read(path, _read_header_file))
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(
            f"{path} is no checkpoint header of this version: {where}: {first['msg']}. "
            "Expected format_version 1; train again, or use the version that wrote it."
        ) from None


def _read(path: Path, read: Callable[[Path], bytes]) -> bytes:
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing. A checkpoint is a folder with {HEADER_NAME} and {WEIGHTS_NAME}."
        )
    try:
        return read(path)
    except OSError as err:
        raise CheckpointError(
            f"{path} cannot be read: {err.strerror}. Restore the file, or train again."
        ) from err


def _read_header_file(path: Path) -> bytes:
    return read_file(path, max_bytes=MAX_HEADER_BYTES)
