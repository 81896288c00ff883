"""Starts a probe in a process of its own, and reads what it said before it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import spectrum

__all__ = ["Answer", "ask_probe"]

_PROBE: Final = "from spectrum.doctor.probe import main; main()"
WAIT_S: Final = 90.0
"""A cold import of torch from a network disk takes a minute."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe said, one mapping a line, and why it ended early, if it did."""

    said: tuple[dict[str, Any], ...]
    death: str | None


def ask_probe(*arguments: str, wait_s: float = WAIT_S) -> Answer:
    """Start ``probe`` with these arguments and wait for its end.

    Its module path is that of this process, with the folder of this package last.
    """
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(spectrum.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=wait_s,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        return Answer(_parsed(err.stdout or b""), f"no answer within {wait_s:.0f} s")
    return Answer(_parsed(done.stdout), _death(done))


def _death(done: subprocess.CompletedProcess[bytes]) -> str | None:
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with status {done.returncode}"


def _parsed(stdout: bytes) -> tuple[dict[str, Any], ...]:
    """Return the lines that are objects; libraries print lines of their own."""
    told = []
    for line in stdout.decode(errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            told.append(value)
    return tuple(told)
