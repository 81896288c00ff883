"""Weights that a trial starts from, named by what they hold: same path, other bytes, other trial.

Not here: how weights are read into a model (``spectrum.model.weights``).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from spectrum.config.trial import TrialConfig
from spectrum.errors import ConfigError

__all__ = ["digest_weights", "pin_weights"]


def pin_weights(config: TrialConfig) -> TrialConfig:
    """Return the configuration with the absolute path and the digest of its weights file.

    It then means the same in every process and folder, and on no other bytes. One without weights
    is returned as it is.

    Raises
    ------
    ConfigError
        Where the file is missing, or does not have the digest that was asked for.
    """
    model = config.model
    if model.weights is None:
        return config
    found = digest_weights(model.weights)
    if model.weights_sha256 not in (None, found):
        raise ConfigError(
            f"model.weights {model.weights} has the SHA-256 {found}, and model.weights_sha256 is "
            f"{model.weights_sha256}. Restore the file, or set the digest to null to take it."
        )
    path = str(Path(model.weights).absolute())
    pinned = model.model_copy(update={"weights": path, "weights_sha256": found})
    return config.model_copy(update={"model": pinned})


def digest_weights(path: str) -> str:
    """Return the SHA-256 of a weights file; raise ConfigError where there is none."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"model.weights is {path}, where no file is. Give the path of a .safetensors file "
            "with the weights of a timm ViT, or null."
        )
    status = file.stat()
    return _digest(str(file.absolute()), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _digest(path: str, mtime_ns: int, size: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
