"""A process that reads images under a limit of memory, as a worker would, and tells its peak.

    python -m tests.reading_worker CAP_BYTES read|digest < paths.json

Prints one JSON object. The limit is on address space, so that going beyond it cannot pass unseen.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from spectrum.data.headers import BOMB_BYTES
from spectrum.data.images import OVERHEAD_BYTES, digest_image, read_bold
from spectrum.errors import ImageError
from tests.image_bytes import good_data, gz, nifti_bytes

PEAK_CAP_BYTES = 2 * BOMB_BYTES + OVERHEAD_BYTES
"""The largest image of any ratio, as stored and as returned, and what reading takes beside."""


def read_in_worker(
    paths: Sequence[Path],
    *,
    does: Literal["read", "digest"] = "read",
    cap_bytes: int = PEAK_CAP_BYTES,
    timeout_s: float = 300.0,
) -> dict[str, Any]:
    """Read images in a process of their own; a death by signal or a hang raises."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.reading_worker", str(cap_bytes), does],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if ran.returncode != 0:
        raise AssertionError(f"the worker ended with {ran.returncode}: {ran.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _told(path: Path, does: str) -> dict[str, Any]:
    try:
        findings = read_bold(path).findings if does == "read" else ()
        if does == "digest":
            digest_image(path)
    except ImageError as err:
        return {"outcome": "refused", "code": err.code, "message": err.message, "findings": []}
    found = [finding.code for finding in findings]
    return {"outcome": "told" if found else "read", "code": "", "message": "", "findings": found}


def _peak_bytes() -> int:
    """Return the peak of this program alone; ``ru_maxrss`` begins with that of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    paths = [Path(path) for path in json.load(sys.stdin)]
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "a_bold.nii.gz"
        warm.write_bytes(gz(nifti_bytes(good_data())))
        read_bold(warm)
    limit = psutil.Process().memory_info().vms + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = _peak_bytes()
    results = [_told(path, sys.argv[2]) for path in paths]
    json.dump({"results": results, "peak_bytes": _peak_bytes() - before}, sys.stdout)


if __name__ == "__main__":
    main()
