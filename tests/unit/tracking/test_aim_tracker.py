from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum.search.folder import StudyFolder
from spectrum.search.tracker import Tracker
from spectrum.tracking import AimTracker
from tests.unit.report.planted_study import (
    FOLDS,
    epochs_of,
    floor_json,
    line_of,
    planted_trials,
    write_study,
    write_trial,
)

ROOT = Path(__file__).parents[3]
ALL = {"fold": "all", "role": "validation"}


def found(repo: Path, query: str = "") -> dict[str, object]:
    """Runs by name that Aim finds for a query."""
    from aim import Repo

    aim = Repo.from_path(str(repo))
    aim.container_pool.clear()
    result = [item.run for item in aim.query_runs(query, report_mode=0).iter_runs()]
    names = Counter(run.name for run in result)
    assert set(names.values()) <= {1}, names
    return {run.name: run for run in result}


def steps(run: object, name: str, context: dict[str, str]) -> dict[int, float]:
    from aim.storage.context import Context

    metric = run.get_metric(name, Context(context))  # type: ignore[attr-defined]
    if metric is None:
        return {}
    frame = metric.dataframe()
    assert frame["step"].is_unique
    return dict(zip(frame["step"], frame["value"], strict=True))


def follow(tracker: Tracker, numbers: range, *, tags: tuple[str, ...] = ()) -> None:
    for trial in planted_trials()[numbers.start : numbers.stop]:
        tracker.start_trial(trial.number, config=trial.config, params=trial.params)
        for record in epochs_of(trial):
            tracker.log_epoch(trial.number, record)
        tracker.finish_trial(trial.number, line_of(trial), tags=tags)


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[AimTracker]:
    tracker = AimTracker(tmp_path, study="planted", floor=floor_json())
    yield tracker
    tracker.close()


def test_a_finished_trial_is_found_by_its_parameters_at_once(
    tmp_path: Path, tracker: AimTracker
) -> None:
    follow(tracker, range(0, 8))
    assert tracker.num_errors == 0
    assert len(found(tmp_path)) == 8
    above = {t.number for t in planted_trials() if t.params["optimizer.lr"] > 4e-4}
    assert set(found(tmp_path, "run.hparams.optimizer.lr > 4e-4")) == {
        f"trial {number}" for number in above
    }
    assert set(found(tmp_path, '"pruned" in run.tags')) == {"trial 6"}
    assert set(found(tmp_path, '"failed:out-of-memory" in run.tags')) == {"trial 7"}
    complete_above_floor = '"complete" in run.tags and run.trial.score > run.floor.score'
    assert set(found(tmp_path, complete_above_floor)) == {"trial 2", "trial 3", "trial 5"}
    assert set(found(tmp_path, 'run.searched.model.patch_pooling == "cls"')) == {
        "trial 1",
        "trial 5",
    }


def test_every_metric_has_fold_and_role(tmp_path: Path, tracker: AimTracker) -> None:
    follow(tracker, range(3, 4))
    run = found(tmp_path)["trial 3"]
    records = epochs_of(planted_trials()[3])
    for index, fold in enumerate(FOLDS):
        for role in ("training", "validation"):
            expected = [getattr(record.folds[index], f"{role}_loss") for record in records]
            context = {"fold": fold, "role": role}
            assert list(steps(run, "loss", context).values()) == pytest.approx(expected)
    assert steps(run, "score", ALL) == pytest.approx(
        {record.epoch: record.score.value for record in records}
    )
    assert run.experiment == "planted"
    assert run["hparams"] == planted_trials()[3].config
    assert run["floor", "score"] == 0.64


def test_a_second_start_continues_the_same_run_without_doubling_an_epoch(
    tmp_path: Path, tracker: AimTracker
) -> None:
    trial, records = planted_trials()[3], epochs_of(planted_trials()[3])
    tracker.start_trial(3, config=trial.config, params=trial.params)
    for record in records[:3]:
        tracker.log_epoch(3, record)
    tracker.close()
    first = found(tmp_path)["trial 3"].hash
    again = AimTracker(tmp_path, study="planted")
    again.start_trial(3, config=trial.config, params=trial.params)
    for record in records[2:]:
        again.log_epoch(3, record)
    again.finish_trial(3, line_of(trial), tags=("best",))
    assert again.num_errors == 0
    run = found(tmp_path)["trial 3"]
    assert run.hash == first
    assert sorted(steps(run, "score", ALL)) == [0, 1, 2, 3, 4]
    assert run["trial", "state"] == "complete"


def test_numbers_that_are_not_finite_neither_raise_nor_vanish(
    tmp_path: Path, tracker: AimTracker
) -> None:
    trial = planted_trials()[1]
    (record, *_) = epochs_of(trial)
    fold = replace(record.folds[0], training_loss=math.nan, validation_loss=-math.inf)
    tracker.start_trial(1, config=trial.config, params=trial.params)
    tracker.log_epoch(1, replace(record, folds=(fold, *record.folds[1:])))
    tracker.finish_trial(1, line_of(trial), tags=())
    assert tracker.num_errors == 0
    run = found(tmp_path, '"nonfinite" in run.tags')["trial 1"]
    events = run["nonfinite", "loss", FOLDS[0]]
    assert events == {"training": {"epoch 0": "nan"}, "validation": {"epoch 0": "-inf"}}
    assert "complete" in run.tags


def test_numpy_scalars_and_unknown_objects_are_stored(tmp_path: Path, tracker: AimTracker) -> None:
    config = {"optimizer": {"lr": np.float64(0.25)}, "seed": np.int32(4), "path": Path("a/b")}
    tracker.start_trial(5, config=config, params={"optimizer.lr": np.float32(0.25)})
    tracker.close()
    assert tracker.num_errors == 0
    run = found(tmp_path, "run.hparams.optimizer.lr == 0.25")["trial 5"]
    assert run["hparams", "seed"] == 4
    assert run["trial", "state"] == "unfinished"


def test_only_one_trial_is_the_best(tmp_path: Path, tracker: AimTracker) -> None:
    follow(tracker, range(0, 2), tags=("best",))
    assert set(found(tmp_path, '"best" in run.tags')) == {"trial 1"}


def test_a_tag_of_the_user_survives_the_end_of_a_trial(
    tmp_path: Path, tracker: AimTracker
) -> None:
    trial = planted_trials()[0]
    tracker.start_trial(0, config=trial.config, params=trial.params)
    tracker.close()
    found(tmp_path)["trial 0"].add_tag("look at this")
    tracker.finish_trial(0, line_of(trial), tags=("default",))
    assert set(found(tmp_path)["trial 0"].tags) == {"look at this", "complete", "default"}


def test_a_trial_that_ends_before_it_starts_is_stored(tmp_path: Path, tracker: AimTracker) -> None:
    tracker.finish_trial(7, line_of(planted_trials()[7]), tags=())
    run = found(tmp_path)["trial 7"]
    assert run["trial", "error", "kind"] == "out-of-memory"
    assert run["hparams"] == planted_trials()[7].config


def test_the_confusion_matrix_is_a_figure(tmp_path: Path, tracker: AimTracker) -> None:
    from aim.storage.context import Context

    follow(tracker, range(3, 4))
    figures = found(tmp_path)["trial 3"].get_figure_sequence("confusion", Context(ALL))
    (step,) = figures.values.sparse_list()[1]
    heat = json.loads(step.data)["data"][0]
    assert heat["x"] == ["early", "late"]
    assert heat["z"] == [[9, 3], [2, 10]]


def test_an_error_of_aim_is_counted_and_logged_and_does_not_reach_the_study(
    tmp_path: Path,
) -> None:
    repo = tmp_path / "studies"
    (repo / ".aim" / "spectrum").mkdir(parents=True)
    (repo / ".aim" / "meta").write_text("not a folder")
    tracker = AimTracker(repo, study="planted")
    follow(tracker, range(0, 1))
    tracker.close()
    assert tracker.num_errors > 0
    entries = [json.loads(line) for line in tracker.error_log.read_text().splitlines()]
    assert len(entries) == tracker.num_errors
    assert entries[0]["what"] == "start of trial 0"


def test_a_repository_that_cannot_even_hold_the_log_does_not_reach_the_study(
    tmp_path: Path,
) -> None:
    (tmp_path / "studies").write_text("a file")
    tracker = AimTracker(tmp_path / "studies", study="planted")
    follow(tracker, range(0, 1))
    assert tracker.num_errors > 0


def test_an_aim_that_only_costs_time_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file")
    now = iter(range(0, 10**6, 20))
    tracker = AimTracker(tmp_path / "studies", study="planted", clock=lambda: float(next(now)))
    follow(tracker, range(0, 8))
    assert tracker.num_errors == 4


def test_nothing_of_the_environment_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: AimTracker
) -> None:
    monkeypatch.setenv("SPECTRUM_TEST_CANARY", "canary-8d1f")
    print("canary-8d1f")
    follow(tracker, range(0, 2))
    tracker.close()
    files = [path for path in (tmp_path / ".aim").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"canary-8d1f" in path.read_bytes()]


def test_sync_makes_aim_equal_to_the_study_folder(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted")
    tracker = AimTracker(tmp_path, study="planted", floor=floor_json())
    assert tracker.sync(study) == 8
    assert tracker.num_errors == 0
    runs = found(tmp_path)
    for trial in planted_trials():
        run = runs[f"trial {trial.number}"]
        assert run["trial", "state"] == trial.state
        assert steps(run, "score", ALL) == pytest.approx(
            {record.epoch: record.score.value for record in epochs_of(trial)}
        )
    assert set(found(tmp_path, '"best" in run.tags')) == {"trial 3"}
    assert set(found(tmp_path, '"default" in run.tags')) == {"trial 0"}


def test_the_ladder_of_the_study_stands_beside_every_score(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "planted")
    rungs = [{"name": "floor", "score": 0.6}, {"name": "parcels", "score": 0.68}]
    StudyFolder(folder).write_checked("ladder.json", {"rungs": rungs})
    tracker = AimTracker(tmp_path, study="planted", floor=floor_json())
    tracker.sync(folder)
    tracker.close()
    above = '"complete" in run.tags and run.trial.score > run.ladder.parcels'
    assert set(found(tmp_path, above)) == {"trial 3", "trial 5"}


def test_a_second_sync_has_nothing_to_do(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted")
    AimTracker(tmp_path, study="planted").sync(study)
    hashes = {name: run.hash for name, run in found(tmp_path).items()}
    assert AimTracker(tmp_path, study="planted").sync(study) == 0
    assert {name: run.hash for name, run in found(tmp_path).items()} == hashes


def test_sync_leaves_trials_alone_that_were_followed_live(
    tmp_path: Path, tracker: AimTracker
) -> None:
    study = write_study(tmp_path / "planted")
    follow(tracker, range(0, 8))
    assert AimTracker(tmp_path, study="planted").sync(study) == 0


def test_what_failed_on_the_way_is_made_good_at_the_end(
    tmp_path: Path, tracker: AimTracker
) -> None:
    write_study(tmp_path / "planted", trials=planted_trials()[2:3])
    trial = planted_trials()[2]
    tracker.start_trial(2, config=trial.config, params=trial.params)
    tracker.log_epoch(2, epochs_of(trial)[0])
    tracker.finish_trial(2, line_of(trial), tags=())
    tracker.close()
    assert tracker.num_errors == 0
    assert sorted(steps(found(tmp_path)["trial 2"], "score", ALL)) == [0, 1, 2, 3, 4]


def test_sync_adds_what_a_follower_missed(tmp_path: Path, tracker: AimTracker) -> None:
    study = write_study(tmp_path / "planted")
    trial = planted_trials()[2]
    tracker.start_trial(2, config=trial.config, params=trial.params)
    tracker.log_epoch(2, epochs_of(trial)[0])
    tracker.finish_trial(2, line_of(trial), tags=())
    again = AimTracker(tmp_path, study="planted")
    assert again.sync(study) == 8
    assert sorted(steps(found(tmp_path)["trial 2"], "score", ALL)) == [0, 1, 2, 3, 4]


def test_sync_drops_a_run_that_the_study_does_not_know(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    stray = AimTracker(tmp_path, study="planted")
    stray.start_trial(41, config={}, params={})
    stray.close()
    tracker = AimTracker(tmp_path, study="planted")
    tracker.sync(study)
    assert tracker.num_errors == 0
    assert set(found(tmp_path)) == {"trial 0", "trial 1"}


def test_sync_shows_the_epochs_of_an_unfinished_trial(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:1])
    write_trial(study, planted_trials()[6])
    tracker = AimTracker(tmp_path, study="planted")
    tracker.sync(study)
    tracker.start_trial(6, config=planted_trials()[6].config, params={})
    tracker.close()
    assert sorted(steps(found(tmp_path)["trial 6"], "score", ALL)) == [0, 1]


def test_sync_writes_all_again_when_the_repository_was_deleted(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    AimTracker(tmp_path, study="planted").sync(study)
    shutil.rmtree(tmp_path / ".aim")
    code = (
        "from pathlib import Path; from spectrum.tracking import AimTracker\n"
        f"repo = Path({str(tmp_path)!r}); tracker = AimTracker(repo, study='planted')\n"
        "print(tracker.sync(repo / 'planted'), tracker.num_errors)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["2", "0"], done.stderr


def test_two_studies_of_one_repository_do_not_mix(tmp_path: Path) -> None:
    for name, count in (("one", 2), ("two", 3)):
        study = write_study(tmp_path / name, trials=planted_trials()[:count])
        assert AimTracker(tmp_path, study=name).sync(study) == count
    from aim import Repo

    repo = Repo.from_path(str(tmp_path))
    repo.container_pool.clear()
    experiments = Counter(
        item.run.experiment for item in repo.query_runs("", report_mode=0).iter_runs()
    )
    assert experiments == {"one": 2, "two": 3}


KILLED = """
import os, signal, sys
from pathlib import Path
from spectrum.tracking import AimTracker
from tests.unit.report.planted_study import epochs_of, planted_trials, write_trial

repo = Path(sys.argv[1])
trial = planted_trials()[3]
tracker = AimTracker(repo, study="planted")
tracker.start_trial(3, config=trial.config, params=trial.params)
for record in epochs_of(trial)[:3]:
    tracker.log_epoch(3, record)
assert tracker.num_errors == 0, tracker.error_log.read_text()
print("acknowledged", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_trial_of_a_killed_driver_is_continued_in_its_one_run(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.strip() == "acknowledged", killed.stderr
    trial = planted_trials()[3]
    tracker = AimTracker(tmp_path, study="planted")
    tracker.start_trial(3, config=trial.config, params=trial.params)
    tracker.log_epoch(3, epochs_of(trial)[4])
    tracker.finish_trial(3, line_of(trial), tags=())
    assert tracker.num_errors == 0, tracker.error_log.read_text()
    assert sorted(steps(found(tmp_path)["trial 3"], "score", ALL)) == [0, 1, 2, 4]


def test_the_package_is_imported_without_aim() -> None:
    code = (
        "import sys, spectrum.tracking; print(sorted({'aim', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout.strip() == "[]", done.stderr
