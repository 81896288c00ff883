"""The real ``spectrum download`` as a process of its own, and a data set that takes a while."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

PART_BYTES = 8 * 1024**2
"""Of the command's default configuration."""


def start_download(
    *arguments: str, out: Path, url: str, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start the command; its standard streams are pipes."""
    code = "from spectrum.cli import main; main()"
    command = [sys.executable, "-c", code, "download", *arguments]
    return subprocess.Popen(
        [*command, "--out", str(out), "--endpoint-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def run_download(*arguments: str, out: Path, url: str) -> tuple[int, str, str]:
    """Run the command to its end; returns exit code, standard output, standard error."""
    process = start_download(*arguments, out=out, url=url)
    told, noted = process.communicate(timeout=120)
    return process.returncode, told, noted


def large_dataset(rng: np.random.Generator) -> dict[str, bytes]:
    """Return two images of several parts each, one of a single part, and text."""
    sizes = {"01": 20_000_001, "02": 11_000_003, "03": 3_000_005}
    images = {
        f"sub-{subject}/func/sub-{subject}_task-learn_bold.nii.gz": rng.bytes(num_bytes)
        for subject, num_bytes in sizes.items()
    }
    return {**images, "README": b"large\n", "participants.tsv": b"participant_id\nsub-01\n"}


def visible_files(root: Path) -> dict[str, bytes]:
    """Return what a user sees of a data set's folder."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.name != "download.json"
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
