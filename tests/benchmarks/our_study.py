"""The study of the benchmark ``study`` as it ships: sets, journal, records and Aim included.

    python -m tests.benchmarks.our_study FOLDER ROOT,ROOT,... EPOCHS TRIALS IS_PRUNED

``IS_PRUNED`` is 1 for successive halving, or 0. Prints one JSON object: seconds of the study once
Ray runs, the best score and its interval.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from spectrum.launch import local_ray

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.study_setting import Setting, space_of


def main() -> None:
    folder, roots, epochs, trials, is_pruned = sys.argv[1:]
    setting = Setting(tuple(Path(root) for root in roots.split(",")), int(epochs))
    told = search(Path(folder), setting, int(trials), is_pruned=is_pruned == "1")
    sys.stdout.write(json.dumps(told) + "\n")


def search(folder: Path, setting: Setting, num_trials: int, *, is_pruned: bool) -> dict[str, Any]:
    # Ray reads its mode of authentication, which ``local_ray`` sets, when it is imported.
    with local_ray(num_cpus=2, object_store_gib=0.4):
        from spectrum.search.study import run_study
        from spectrum.tracking import AimTracker

        begin = time.perf_counter()
        result = run_study(
            space_of(setting, is_pruned=is_pruned),
            roots=setting.roots,
            shards_root=folder / "shards",
            folder=folder / "studies" / "study",
            num_trials=num_trials,
            make_tracker=lambda: AimTracker(folder / "studies", study="study"),
        )
        seconds = time.perf_counter() - begin
    assert len(result.lines) == num_trials
    assert not any(line["state"] == "failed" for line in result.lines.values())
    best = result.to_json()["best"]
    return {"trials_s": seconds, "score": best["score"], "ci95": best["ci95"]}


if __name__ == "__main__":
    main()
