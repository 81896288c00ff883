"""Reading files that anyone may have written: plain ones, of bounded size, JSON of bounded depth.

A pipe would keep its reader for ever, and a device never ends. Not here: what a file must say.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_file"]


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a file to the end that it had when it was opened.

    Raises
    ------
    OSError
        It cannot be read, is no plain file, or has more than ``max_bytes``.
    """
    # Without waiting for whoever might write to a pipe.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        if status.st_size > max_bytes:
            found = f"it has {status.st_size} bytes, more than {max_bytes}"
            raise OSError(errno.EFBIG, found, str(path))
        # Not ``max_bytes``: Python sets aside at once what it is asked to read.
        return file.read(status.st_size)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        It is no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
