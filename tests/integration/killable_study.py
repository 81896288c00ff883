"""A whole study with real small trainings and Aim, as a program that can be killed and continued.

    python -m tests.integration.killable_study FOLDER ROOT TRIALS [WORKERS [AT_ONCE]]

``WORKERS`` is ``training.workers`` of each trial, 1 where it is not given; ``AT_ONCE`` trials run
side by side, as many as find room where it is not given. Prints ``progress DONE
TOTAL EPOCHS`` at each report, then ends with the study's own exit code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spectrum.errors import SearchError
from spectrum.launch import local_ray
from spectrum.search.space import SearchSpace, space_from_mapping


def space(workers: int = 1) -> SearchSpace:
    """Two recipes and widths; epochs that take a fraction of a second."""
    training = {"num_epochs": 6, "batch_size": 8, "min_steps_per_epoch": 10, "workers": workers}
    return space_from_mapping(
        {
            "name": "killable",
            "base": {
                "folds": {"scheme": "leave-one-subject-out"},
                "preprocessing": {"voxel_mm": 20.0, "high_pass_hz": 0.0},
                "sequences": {"num_volumes": 3, "stride": 5},
                "model": {"embed_dim": 8, "depth": 1, "num_heads": 2, "attention_heads": 2},
                "training": training,
            },
            "study": {
                "startup_trials": 3,
                "pruner": {"rule": "halving", "min_epochs": 2, "reduction": 2},
                "rerun": {"top": 0},
            },
            "parameters": {
                "preprocessing.fwhm_mm": {"choice": [0, 6]},
                "model.embed_dim": {"choice": [8, 12, 16]},
                "optimizer.lr": {"log_uniform": [5e-4, 1e-2]},
            },
        }
    )


def main() -> None:
    folder, root, num_trials = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    at_once = int(sys.argv[5]) if len(sys.argv) > 5 else None
    with local_ray(num_cpus=2, object_store_gib=0.3):
        from spectrum.search.study import run_study
        from spectrum.tracking import AimTracker

        try:
            run_study(
                space(workers),
                roots=[root],
                shards_root=folder.parent / "shards",
                folder=folder,
                num_trials=num_trials,
                max_concurrent=at_once,
                make_tracker=lambda: AimTracker(folder.parent, study=folder.name),
                resume=(folder / "study.json").is_file(),
                on_status=lambda status: print(
                    "progress", status.num_done, status.num_total, len(status.trials), flush=True
                ),
            )
        except SearchError as err:
            print(err, file=sys.stderr)
            sys.exit(err.exit_code)


if __name__ == "__main__":
    main()
