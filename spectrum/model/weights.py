"""The slice encoder's start from pretrained weights: a local file of tensors under timm's names.

In order: the digest is compared, tensors of a classifier are left out, the first convolution is
fitted to our images, position embeddings to our grid of patches; then every tensor must have its
place and its shape. safetensors alone is read, never a pickle. Not here: what is trained after.

Beside ``FILE.safetensors`` there may be ``FILE.json`` or ``config.json`` as timm's models on the
hub have it; its ``pretrained_cfg.input_size`` tells the grid of position embeddings that are not
square, and its ``architecture`` must be ``model.backbone``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from spectrum.config import ModelConfig
from spectrum.config.files import parse_json, read_file
from spectrum.errors import CheckpointError
from spectrum.model.encoder import Encoder
from spectrum.model.tensor_files import read_tensor_file

__all__ = ["start_from_weights"]

FIRST_CONV: Final = "patch_embed.proj.weight"
FIRST_BIAS: Final = "patch_embed.proj.bias"
POSITIONS: Final = "pos_embed"

OF_A_CLASSIFIER: Final = ("head.", "head_dist.", "fc_norm.", "attn_pool.", "pre_logits.", "rope.")
"""Beginnings of names that an encoder has no use for: what read the tokens, and fixed waves."""

MAX_HEADER_BYTES: Final = 16 * 1024**2

MAX_NAMED: Final = 4
"""Names that a refusal lists."""

Tensors = dict[str, Tensor]


def start_from_weights(encoder: Encoder, config: ModelConfig) -> tuple[str, ...]:
    """Put the weights of ``model.weights`` into an encoder; return the names left out.

    Raises
    ------
    CheckpointError
        Where the file is missing, no safetensors file, not of ``model.weights_sha256``, or does
        not fit the encoder: a tensor is missing, has no place, or another shape.
    """
    assert config.weights is not None
    path = Path(config.weights)
    header = _read_header(path, config)
    tensors = _read(path, config.weights_sha256)
    _check_forms(tensors, path)
    wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    fitting = _fitting_names(tensors, encoder)
    if FIRST_CONV in fitting:
        fitting[FIRST_CONV] = _fit_conv(fitting[FIRST_CONV], wanted[FIRST_CONV])
    if POSITIONS in fitting and isinstance(encoder.pos_embed, torch.nn.Parameter):
        num_own = encoder.pos_embed.shape[1]
        old_grid = _old_grid(tensors, header, path, num_own=num_own)
        fitting[POSITIONS] = _fit_positions(fitting[POSITIONS], encoder, old_grid)
    _check_names(fitting, wanted, path)
    _check_shapes(fitting, wanted, path)
    encoder.load_state_dict({**encoder.state_dict(), **fitting})
    return tuple(sorted(set(tensors) - set(fitting)))


def _read(path: Path, sha256: str | None) -> Tensors:
    """Return the tensors of a file, which other encoders of this process may share."""
    if not path.is_file():
        raise CheckpointError(
            f"model.weights is {path}, where no file is. Give the path of a .safetensors file "
            "with the weights of a timm ViT, or null."
        )
    status = path.stat()
    found, tensors = _read_once(path.absolute(), status.st_mtime_ns, status.st_size)
    if sha256 not in (None, found):
        raise CheckpointError(
            f"{path} has the SHA-256 {found}, and the trial was begun with {sha256}. "
            "Restore the file; other weights are another trial."
        )
    return dict(tensors)


@lru_cache(maxsize=1)
def _read_once(path: Path, mtime_ns: int, size: int) -> tuple[str, Tensors]:
    """Return the digest and the tensors of a file, read once for the folds of a trial."""
    del mtime_ns, size
    try:
        content = read_tensor_file(path)
        tensors = {name: tensor.float() for name, tensor in load(content).items()}
    except (SafetensorError, OSError) as err:
        raise CheckpointError(
            f"{path} is no safetensors file ({err}). Pickled checkpoints are not read: save the "
            "weights of a timm model with safetensors.torch.save_file."
        ) from None
    return hashlib.sha256(content).hexdigest(), tensors


def _read_header(path: Path, config: ModelConfig) -> Mapping[str, Any]:
    """Return what lies beside the weights as JSON; empty where nothing does."""
    found = [file for file in (path.with_suffix(".json"), path.with_name("config.json"))]
    file = next((file for file in found if file.is_file()), None)
    if file is None:
        return {}
    try:
        header = parse_json(read_file(file, max_bytes=MAX_HEADER_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict) or not _is_sized(header.get("pretrained_cfg", {})):
        raise CheckpointError(
            f"{file} is no JSON object, as timm's config.json is one, or its input_size is no "
            "channels, rows and columns. Repair or remove it."
        )
    architecture = str(header.get("architecture", config.backbone)).split(".")[0]
    if config.backbone not in ("vit", architecture):
        raise CheckpointError(
            f"{file} says that the weights are of {architecture}, and model.backbone is "
            f"{config.backbone}. Set model.backbone to {architecture}, or give its weights."
        )
    return header


def _is_sized(told: Any) -> bool:
    """Return whether what a header tells of the pretraining has a size of images, or none."""
    size = told.get("input_size", (1, 1, 1)) if isinstance(told, dict) else None
    return (
        isinstance(size, list | tuple)
        and len(size) == 3
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def _check_forms(tensors: Tensors, path: Path) -> None:
    """Refuse tensors that are fitted here, and are not what a ViT has under their name."""
    num_axes = {FIRST_CONV: (2, 4), POSITIONS: (3,), "cls_token": (3,), "reg_token": (3,)}
    for name in num_axes.keys() & tensors.keys():
        shape = tuple(tensors[name].shape)
        if len(shape) not in num_axes[name] or 0 in shape or not _is_square(shape):
            raise CheckpointError(
                f"{path} has {name} of shape {shape}, which no ViT has. Give the weights of a "
                "timm ViT."
            )


def _is_square(shape: tuple[int, ...]) -> bool:
    """Return whether a flattened map of colour patches is of square ones."""
    return len(shape) != 2 or shape[1] == 3 * math.isqrt(shape[1] // 3) ** 2 > 0


def _fitting_names(tensors: Tensors, encoder: Encoder) -> Tensors:
    """Return the tensors of an encoder, under the names that it has in timm today.

    A model that averages patches has its last norm after that, as ``fc_norm``; ours pools later,
    so it becomes the norm of the tokens. Class and register tokens go where there is no place.
    """
    has_norm = "norm.weight" in tensors or "fc_norm.weight" not in tensors
    named = {} if has_norm else _last_norm(tensors)
    gone = [name for name in ("cls_token", "reg_token") if getattr(encoder, name) is None]
    if encoder.pos_embed is None or not isinstance(encoder.pos_embed, torch.nn.Parameter):
        gone.append(POSITIONS)
    kept = {
        n: t for n, t in tensors.items() if n not in gone and not n.startswith(OF_A_CLASSIFIER)
    }
    if FIRST_BIAS not in kept and FIRST_CONV in kept:
        # Models with a norm before the blocks have no bias there.
        named[FIRST_BIAS] = torch.zeros(len(kept[FIRST_CONV]))
    return {**kept, **named, **_fixed(encoder)}


def _last_norm(tensors: Tensors) -> Tensors:
    names = {f"fc_norm.{part}": f"norm.{part}" for part in ("weight", "bias")}
    return {own: tensors[name] for name, own in names.items() if name in tensors}


def _fixed(encoder: Encoder) -> Tensors:
    """Return the encoder's own buffers, which no file needs to hold."""
    buffers = dict(encoder.named_buffers())
    return {name: value for name, value in encoder.state_dict().items() if name in buffers}


def _fit_conv(weight_DCHW: Tensor, wanted: Sequence[int]) -> Tensor:
    """Sum over colours, share among k volumes, and resample to the patch size."""
    if weight_DCHW.ndim == 2:
        # Linear maps of flattened RGB patches, as the first ViTs were stored.
        edge = math.isqrt(weight_DCHW.shape[1] // 3)
        weight_DCHW = weight_DCHW.reshape(len(weight_DCHW), 3, edge, -1)
    num_volumes = wanted[1]
    grey_D1HW = adapt_input_conv(1, weight_DCHW, base_chans=max(3, weight_DCHW.shape[1]))
    resampled = resample_patch_embed(grey_D1HW, list(wanted[2:]))
    shared: Tensor = resampled.expand(-1, num_volumes, -1, -1) / num_volumes
    return shared


def _fit_positions(
    positions_1ND: Tensor, encoder: Encoder, old_grid: tuple[int, int] | None
) -> Tensor:
    """Resample position embeddings to the grid of patches; those of other tokens stay."""
    new_grid = list(encoder.patch_embed.grid_size)
    own_prefix = 0 if encoder.no_embed_class else encoder.num_prefix_tokens
    if old_grid is None:
        return positions_1ND
    old_prefix = positions_1ND.shape[1] - math.prod(old_grid)
    prefix = min(own_prefix, old_prefix)
    fitted: Tensor = resample_abs_pos_embed(
        torch.cat([positions_1ND[:, :prefix], positions_1ND[:, old_prefix:]], dim=1),
        new_size=new_grid,
        old_size=list(old_grid),
        num_prefix_tokens=prefix,
    )
    return fitted


def _old_grid(
    tensors: Tensors, header: Mapping[str, Any], path: Path, *, num_own: int
) -> tuple[int, int] | None:
    """Return the rows and columns that position embeddings were trained on.

    None where nothing tells them, and there are as many as the encoder has.
    """
    num = tensors[POSITIONS].shape[1]
    size = header.get("pretrained_cfg", {}).get("input_size")
    if size is not None and FIRST_CONV in tensors:
        patch = tensors[FIRST_CONV].shape[-2:]
        grid = (int(size[1]) // patch[0], int(size[2]) // patch[1])
        if 0 <= num - math.prod(grid) <= _num_prefix(tensors):
            return grid
    for prefix in (_num_prefix(tensors), 0):
        edge = math.isqrt(max(0, num - prefix))
        if edge * edge == num - prefix > 0:
            return edge, edge
    if num == num_own:
        return None
    raise CheckpointError(
        f"{path} has position embeddings for {num} tokens, which make no square of patches. Put "
        "timm's config.json with pretrained_cfg.input_size beside it, to tell rows and columns."
    )


def _num_prefix(tensors: Tensors) -> int:
    return sum(tensors[n].shape[1] for n in ("cls_token", "reg_token") if n in tensors)


def _check_names(tensors: Tensors, wanted: Mapping[str, Any], path: Path) -> None:
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    parts = [
        f"{len(names)} tensors {what}: {', '.join(names[:MAX_NAMED])}"
        + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
        for what, names in (("missing", missing), ("without a place", unknown))
        if names
    ]
    if parts:
        raise CheckpointError(
            f"{path} does not fit the slice encoder: {'; '.join(parts)}. "
            "Set model.backbone to the model that the weights are of."
        )


def _check_shapes(tensors: Tensors, wanted: Mapping[str, Any], path: Path) -> None:
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != wanted[name]:
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(tensor.shape)}, and the slice encoder wants "
                f"{tuple(wanted[name])}. Set model.backbone to the model that the weights are of."
            )
