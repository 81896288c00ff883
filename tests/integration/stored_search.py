"""A search on a Ray of its own whose study and shards have addresses: STUDIES SHARDS NUMBER ROOT.

A further word resumes the study.

As a program it is what a test kills, and what has the environment of one machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from spectrum.errors import SpectrumError
from spectrum.launch import ray_at
from spectrum.search.study import run_study
from spectrum.storage import is_address, working_copy
from tests.integration.test_study_whole import tiny_space
from tests.unit.search.fakes import ListTracker


def main() -> None:
    studies, shards, number, root, *resume = sys.argv[1:]
    try:
        with ray_at(None, num_cpus=2):
            result = run_study(
                tiny_space(rerun={"top": 0}),
                roots=[Path(root)],
                shards_root=_folder(shards),
                folder=_folder(studies) / "tiny",
                make_tracker=ListTracker,
                num_trials=int(number),
                resume=bool(resume),
                on_progress=lambda done, total: print(f"progress {done} {total}", flush=True),
            )
        print(json.dumps(list(result.notes)), flush=True)
    except SpectrumError as err:
        print(err, file=sys.stderr)
        sys.exit(err.exit_code)


def _folder(place: str) -> Path:
    return working_copy(place).path if is_address(place) else Path(place)


if __name__ == "__main__":
    main()
