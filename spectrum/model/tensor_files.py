"""The bytes of a safetensors file, once it looks like one: what else is large is not read whole.

Not here: whose tensors they are (``weights``, ``spectrum.training.checkpoints``).
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

__all__ = ["read_tensor_file"]

LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 100_000_000
"""Limit of the format itself (safetensors 0.3)."""


SMALL_BYTES: Final = 64 * 1024**2
"""Read whole whatever it is, as a digest tells more of what is wrong."""


def read_tensor_file(path: Path) -> bytes:
    """Read a file; a large one must begin as safetensors files do: a header's length, a brace.

    Raises
    ------
    OSError
        It cannot be read, is no plain file, or is large and does not begin so.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        looks_right = file.read(1) == b"{" and length <= min(MAX_HEADER_BYTES, status.st_size)
        if status.st_size > SMALL_BYTES and not looks_right:
            raise OSError(errno.EINVAL, "it is no safetensors file", str(path))
        file.seek(0)
        return file.read()
