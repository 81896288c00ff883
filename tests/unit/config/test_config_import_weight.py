import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "aim", "nilearn", "timm", "optuna", "pyarrow", "pandas", "nibabel")

SCRIPT = """
import sys, time
start = time.process_time()
import {module}
seconds = time.process_time() - start
print(seconds)
print(*sorted(name.split(".")[0] for name in sys.modules))
"""


def import_in_a_fresh_process(module: str) -> tuple[float, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    seconds, names = done.stdout.splitlines()
    return float(seconds), set(names.split())


@pytest.mark.parametrize("module", ["spectrum", "spectrum.config", "spectrum.targets"])
def test_the_ground_floor_imports_no_heavy_library(module: str) -> None:
    _, names = import_in_a_fresh_process(module)
    assert "spectrum" in names
    assert names & set(HEAVY) == set()


@pytest.mark.parametrize("module", ["spectrum", "spectrum.config"])
def test_the_ground_floor_imports_in_less_than_0_3_s(module: str) -> None:
    """Seconds are of this process on the CPU, so that a busy machine does not fail the test."""
    tries: list[float] = []
    while min(tries, default=1.0) >= 0.3 and len(tries) < 7:
        tries.append(import_in_a_fresh_process(module)[0])
    assert min(tries) < 0.3, f"import {module} took {min(tries):.3f} s at best"
