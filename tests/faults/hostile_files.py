"""Is anything run, hung or filled by files and names that were made to do so?

    python -m tests.faults.hostile_files --json

Each case is given to what reads it, in a process that may take 2 GiB more than it has. Refused is
one of our own errors, or exit code, with a sentence; read is an answer without harm. Harm is a
file that the case's own code would make, anything written beside the case, another error, 20 s,
or escape sequences that reach a terminal. Printed are a line a case and the sums.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from spectrum.errors import SpectrumError
from tests.faults.hostile_bytes import GIB, Case
from tests.faults.hostile_cases import text_cases, weights_cases
from tests.faults.hostile_data import image_cases, name_cases, table_cases

SPARE_BYTES = 2 * GIB
MAX_S = 20
MAX_SENTENCE = 2000
"""Characters; a refusal that repeats a hostile file whole would fill a screen."""


class HangError(BaseException):
    """No answer in time; no reader takes it for an error of a file."""


def cases() -> Iterator[Case]:
    for made in (text_cases, weights_cases, table_cases, image_cases, name_cases):
        yield from made()


def outcome_of(case: Case, folder: Path) -> str:
    """Give a case to its reader; return ``refused``, ``read``, or what harm it did."""
    inside, canary = folder / "inside", folder / "canary"
    inside.mkdir()
    before = Path.cwd()
    os.chdir(inside)
    try:
        with limited(MAX_S):
            case.give(inside, canary)
        told = "read"
    except SpectrumError as err:
        told = "refused" if len(str(err)) <= MAX_SENTENCE else f"a sentence of {len(str(err))}"
    except (Exception, HangError) as err:
        told = f"{type(err).__name__}: {' '.join(str(err).split())[:100]}"
    finally:
        os.chdir(before)
    # A name cannot hold the whole path, and would make the file where it is run.
    made = [*folder.glob("canary*"), *inside.rglob("canary")]
    beside = [path for path in folder.iterdir() if path != inside]
    return f"made {made or beside}" if made or beside else told


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End what takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HangError(f"no answer in {seconds} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def judged() -> Iterator[dict[str, object]]:
    for case in cases():
        with tempfile.TemporaryDirectory() as name:
            begin = time.monotonic()
            outcome = outcome_of(case, Path(name))
        yield {
            "benchmark": "hostile_files",
            "case": case.name,
            "entry": case.entry,
            "outcome": outcome,
            "met": outcome in ("refused", "read"),
            "seconds": round(time.monotonic() - begin, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    most = psutil.Process().memory_info().vms + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    counts: Counter[str] = Counter()
    for told in judged():
        counts["tried"] += 1
        counts[str(told["outcome"]) if told["met"] else "got through"] += 1
        text = f"{told['case']} | {told['entry']} | {told['outcome']}"
        sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")
        sys.stdout.flush()
    sums = {name: counts[name] for name in ("tried", "refused", "read", "got through")}
    sys.stdout.write((json.dumps(sums) if arguments.json else str(sums)) + "\n")
    sys.exit(bool(counts["got through"]))


if __name__ == "__main__":
    main()
