"""A model that left its study: a folder with ``model.json`` and a checkpoint for each fold.

``model.json`` says all that predicting needs (recipe, sequences, target) and what the model may be
believed. Nothing in the folder is a pickle, and no path in it points out of it, so that it can be
moved. Not here: how it is made from a study (``spectrum.search.exporting``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from spectrum.config import MODEL_VERSION, TrialConfig, canonical_json
from spectrum.config.frozen import FrozenConfig
from spectrum.errors import CheckpointError
from spectrum.model.slice_vit import SliceViT
from spectrum.targets import Target
from spectrum.training.checkpoints import (
    HEADER_NAME,
    WEIGHTS_NAME,
    CheckpointHeader,
    read_checkpoint,
    read_header,
)

__all__ = [
    "FOLDS_NAME",
    "MODEL_NAME",
    "ExportedFold",
    "ExportedModel",
    "ModelHeader",
    "ModelScore",
    "TrainedImage",
    "read_model",
    "write_header",
]

MODEL_NAME: Final = "model.json"
FOLDS_NAME: Final = "folds"
MAX_HEADER_BYTES: Final = 64 * 1024**2
"""A header is never larger: a thousand folds of a thousand runs are 40 MB."""


class ModelScore(FrozenConfig):
    """How much a model may be believed, as its study measured it."""

    value: float
    """Score over all held-out units."""

    ci95: tuple[float, float]
    """Its interval over subjects."""

    floor: float
    """What acquisition numbers alone score on the same folds."""

    chance: float
    """Expected score of guessing."""

    scheme: str
    """What the folds held out."""

    selected: bool
    """Whether the configuration was chosen by this very score; it is then too high."""

    told: str
    """All of it as a sentence."""

    seal: str = ""
    """Who was kept from the search that selected it, and what they said; "" where not known."""


class TrainedImage(FrozenConfig):
    """An image that the study has seen."""

    run: str
    """Name of the run in the study."""

    image_sha256: str
    """Digest of the image file."""

    voxels_sha256: str = ""
    """Digest of its voxels, the same for a copy under another name; "" where not known."""

    tr_s: float | None = None
    """Repetition time after the recipe, seconds; None where not known."""


class ExportedFold(FrozenConfig):
    """One of the models: the folder of its checkpoint, and the runs on both sides of its fold."""

    name: str
    """Name of the fold."""

    held_out: str
    """What it held out."""

    folder: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    """Plain name of a folder under ``folds/``."""

    header_sha256: str
    """Digest of the checkpoint's header, which has that of the weights."""

    num_bytes: int = Field(ge=1)
    """Bytes of the weights file."""

    score: float | None = None
    """Score on its held-out side."""

    trained: tuple[str, ...]
    """Runs that it was fitted on, or that decided when to stop."""

    held_out_runs: tuple[str, ...]
    """Runs that it was scored on and never saw."""


class ModelHeader(FrozenConfig):
    """All of ``model.json``."""

    format_version: Literal[1] = 1
    """Version of the folder's layout."""

    config: TrialConfig
    """The configuration: recipe, sequences, model, and what it was trained with."""

    target: Target
    """Classes, and how they were defined."""

    shape_TSHW: tuple[int, int, int, int]
    """Shape of a sequence."""

    score: ModelScore
    """How much the model may be believed."""

    source: str
    """Which trial of which study, or which training, in words."""

    data_hash: str
    """Content hash of the shard set that it was fitted on."""

    folds: tuple[ExportedFold, ...] = Field(min_length=1)
    """The models; probabilities are their mean."""

    images: tuple[TrainedImage, ...] = ()
    """Every image that the study has seen."""

    versions: dict[str, Any]
    """Versions of Spectrum, its libraries, the steps of the recipe and the model."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """The folder of a model and its checked header; weights are read a fold at a time."""

    path: Path
    header: ModelHeader

    def read_fold(self, fold: ExportedFold) -> tuple[SliceViT, CheckpointHeader]:
        """Build the model of a fold, in evaluation mode, on the CPU."""
        return read_checkpoint(self.path / FOLDS_NAME / fold.folder)


def write_header(folder: Path, header: ModelHeader) -> None:
    """Write ``model.json`` into a folder that holds the checkpoints already."""
    text = canonical_json(header.model_dump(mode="json"))
    (folder / MODEL_NAME).write_text(text + "\n", encoding="utf-8")


def read_model(folder: Path) -> ExportedModel:
    """Read the header of a model, and look whether every file is the one that it names.

    Raises
    ------
    CheckpointError
        Where the folder is no model, damaged, or of another version.
    """
    header = _parsed(folder / MODEL_NAME)
    if header.versions.get("model") != MODEL_VERSION:
        raise CheckpointError(
            f"{folder} holds weights of model version {header.versions.get('model')}, this is "
            f"version {MODEL_VERSION}. Use the version of Spectrum that exported it "
            f"({header.versions.get('spectrum')}), or train again."
        )
    for fold in header.folds:
        _check_fold(folder / FOLDS_NAME / fold.folder, fold, header)
    return ExportedModel(path=folder, header=header)


def _parsed(path: Path) -> ModelHeader:
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing. A model is a folder that `spectrum export` made."
        )
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes, too many for a header. Give a folder that "
            "`spectrum export` made."
        )
    try:
        return ModelHeader.model_validate_json(path.read_bytes())
    except ValidationError as err:
        first: Mapping[str, Any] = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CheckpointError(
            f"{path} is no model of this version, or damaged: {where}: {first['msg']}. "
            "Export the model again."
        ) from None


def _check_fold(folder: Path, fold: ExportedFold, header: ModelHeader) -> None:
    """Compare digests, size and shapes of a fold's files with what ``model.json`` says."""
    own, weights = folder / HEADER_NAME, folder / WEIGHTS_NAME
    missing = [path for path in (own, weights) if not path.is_file()]
    if missing:
        raise CheckpointError(f"{missing[0]} is missing. Copy the whole folder of the model.")
    if own.stat().st_size > MAX_HEADER_BYTES or weights.stat().st_size != fold.num_bytes:
        raise CheckpointError(
            f"{weights} has {weights.stat().st_size} bytes where {fold.num_bytes} were written. "
            "Copy the folder again, or export again."
        )
    if hashlib.sha256(own.read_bytes()).hexdigest() != fold.header_sha256:
        raise CheckpointError(f"{own} is not what was exported. Copy the folder again.")
    told = read_header(own)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != told.weights_sha256:
        raise CheckpointError(
            f"{weights} does not have the digest in its {HEADER_NAME}: the file is damaged. "
            "Copy the folder again, or export again."
        )
    if (told.shape_TSHW, told.classes) != (header.shape_TSHW, header.target.classes):
        raise CheckpointError(
            f"{own} is of sequences {told.shape_TSHW} with classes {', '.join(told.classes)}, the "
            f"model of {header.shape_TSHW} with {', '.join(header.target.classes)}. "
            "Export the model again."
        )
