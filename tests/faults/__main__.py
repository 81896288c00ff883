"""Inject every fault, and tell what became of it.

    python -m tests.faults [--small|--full] [--only F10 F11] [--json]

``--small`` takes the tests of seconds, ``--full`` all. A fault that no test injects is told as not
covered, one whose tests were all skipped as skipped, and one that is covered in part says what is
missing. Exits with 1 where a test failed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.faults.catalogue import FAULTS, Fault

CHECKOUT = Path(__file__).parents[2]
COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")


def inject(fault: Fault, *, full: bool) -> dict[str, str | float]:
    """Run the tests of a fault; return its row."""
    tests = fault.small + (fault.full if full else ())
    begin = time.monotonic()
    result, told = "not covered", ""
    if tests:
        result, told = run(tests)
    elif fault.full:
        result = "not run: --full"
    return {
        "fault": fault.name,
        "what": fault.what,
        "result": result,
        "tests": told,
        "seconds": round(time.monotonic() - begin, 1) if tests else 0.0,
        "gap": fault.gap,
    }


def run(tests: tuple[str, ...]) -> tuple[str, str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    counts = Counter({word: int(count) for count, word in COUNT.findall(done.stdout)})
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        return "FAILED", told or f"pytest ended with {done.returncode}"
    if not counts:
        return "FAILED", "pytest told no number of tests"
    return ("passed" if counts["passed"] else "skipped"), told


def line(row: dict[str, str | float]) -> str:
    gap = f"; not covered: {row['gap']}" if row["gap"] and row["result"] != "not covered" else ""
    reason = f": {row['gap']}" if row["result"] == "not covered" else ""
    told = f" ({row['tests']}, {row['seconds']} s)" if row["tests"] else ""
    return f"{row['fault']:4} {row['what']:70} {row['result']}{reason}{told}{gap}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="tests of seconds; the default")
    size.add_argument("--full", action="store_true", help="all tests")
    parser.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    results = Counter[str]()
    for fault in FAULTS:
        if arguments.only and fault.name not in arguments.only:
            continue
        row = inject(fault, full=arguments.full)
        results[str(row["result"])] += 1
        print(json.dumps(row) if arguments.json else line(row), flush=True)
    print(", ".join(f"{count} {result}" for result, count in results.items()), file=sys.stderr)
    sys.exit(1 if results["FAILED"] else 0)


if __name__ == "__main__":
    main()
