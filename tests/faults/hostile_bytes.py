"""What hostile files are made of, and what a case of one is."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "ESCAPE", "GIB", "Case", "Touch", "Write", "alias_bomb", "device", "just", "pickled", "pipe",
    "sparse", "torch_file",
]  # fmt: skip

GIB = 2**30
ESCAPE = "\x1b[2J\x1b]0;owned\x07"
"""Clears a terminal and sets its title."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is given, to what.

    ``give`` takes an empty folder, writes there, and reads what it wrote; and the path of a file
    that is made if anything of that is run.
    """

    name: str
    entry: str
    give: Callable[[Path, Path], Any]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch '{self.canary}'",))


Write = Callable[[Path, Path], Path]
"""Takes the path to write and the canary's; returns the path."""


def just(content: bytes) -> Write:
    """Write these bytes, with the canary's path where they say so."""

    def write(path: Path, canary: Path) -> Path:
        path.write_bytes(content.replace(b"CANARY", str(canary).encode()))
        return path

    return write


def pickled(path: Path, canary: Path) -> Path:
    path.write_bytes(pickle.dumps(Touch(canary)))
    return path


def torch_file(path: Path, canary: Path) -> Path:
    torch.save({"weights": Touch(canary)}, path)
    return path


def sparse(path: Path, canary: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(8 * GIB)
    return path


def pipe(path: Path, canary: Path) -> Path:
    os.mkfifo(path)
    return path


def device(path: Path, canary: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


def alias_bomb() -> bytes:
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()
