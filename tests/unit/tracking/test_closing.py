"""How long a close waits for the process that writes Aim."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from spectrum.tracking.tracker import status_of

WRITES = """
import pathlib, sys, time
for _ in range(int(sys.argv[2])):
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.1)
"""


def writer(pulse: Path, *, num_signs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITES, str(pulse), str(num_signs)])


def test_one_that_goes_on_writing_is_waited_for_beyond_the_patience(tmp_path: Path) -> None:
    begin = time.monotonic()
    process = writer(tmp_path / "pulse", num_signs=40)
    assert status_of(process, tmp_path / "pulse", patience_s=3.0) == 0
    assert time.monotonic() - begin > 3.9


def test_one_that_writes_nothing_is_given_up_after_the_patience(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    begin = time.monotonic()
    try:
        assert status_of(process, tmp_path / "pulse", patience_s=1.0) is None
    finally:
        process.kill()
        process.wait()
    assert 1.0 <= time.monotonic() - begin < 5.0


def test_the_status_of_one_that_has_ended_is_told_without_patience(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(75)"])
    process.wait()
    assert status_of(process, tmp_path / "pulse", patience_s=0.0) == 75
