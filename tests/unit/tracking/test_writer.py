"""The Aim runs of a study, written into a local repository from its folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.records import EpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.view import view_study
from spectrum.tracking import num_missing
from spectrum.tracking.run_map import started_file
from spectrum.tracking.study_run import write_study_run
from spectrum.tracking.writer import AimWriter
from tests.aim_runs import ALL, found, num_values, objects, steps
from tests.unit.report.planted_study import (
    FOLDS,
    PlantedTrial,
    epochs_of,
    line_of,
    planted_trials,
    write_study,
    write_trial,
)

ROOT = Path(__file__).parents[3]


def write(study: Path, *, live: bool = False) -> int:
    """Write with a writer of its own, as the follower after a dead one does."""
    return AimWriter(study).write_trials(view_study(study), live=live)


def end(study: Path, trial: PlantedTrial) -> None:
    """End a trial whose records are there."""
    with (study / "trials.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line_of(trial)) + "\n")


def tell(study: Path, trial: PlantedTrial, *, first: int, last: int) -> None:
    """Append records of a trial that runs."""
    for record in epochs_of(trial)[first:last]:
        StudyFolder(study).append_record(trial.number, record)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that shows all of a study, and the study's own run."""
    repo = tmp_path_factory.mktemp("studies")
    study = write_study(repo / "planted")
    picture = ROOT / "analysis" / "run.png"
    for place in ("report/figures/brain-0.png", "attention/attention.png"):
        (study / place).parent.mkdir(parents=True)
        shutil.copy(picture, study / place)
    (study / "statement.json").write_text(json.dumps({"p": 0.03, "sentences": ["Of a <b>claim"]}))
    writer = AimWriter(study)
    assert writer.write_trials(view_study(study)) == 8
    assert write_study_run(writer, view_study(study))
    return repo


def names(runs: dict[str, object]) -> set[str]:
    return {name.removeprefix("planted/") for name in runs}


def test_ended_trials_are_found_by_their_parameters_and_tags(whole: Path) -> None:
    above = {f"trial {t.number}" for t in planted_trials() if t.params["optimizer.lr"] > 4e-4}
    assert names(found(whole, "run.hparams.optimizer.lr > 4e-4")) == above
    for tag, number in (("pruned", 6), ("failed:oom", 7), ("best", 3), ("default", 0)):
        assert names(found(whole, f'"{tag}" in run.tags')) == {f"trial {number}"}
    above_floor = '"complete" in run.tags and run.trial.score > run.floor.score'
    assert names(found(whole, above_floor)) == {"trial 2", "trial 3", "trial 5"}
    by_choice = 'run.searched.model.patch_pooling == "cls"'
    assert names(found(whole, by_choice)) == {"trial 1", "trial 5"}
    assert len(found(whole, 'run.code.git_revision == "0123456789abcdef"')) == 9


def test_a_run_holds_every_number_of_the_records_and_no_other(whole: Path) -> None:
    runs = found(whole, '"study" not in run.tags')
    assert len(runs) == 8
    for trial in planted_trials():
        run = runs[f"planted/trial {trial.number}"]
        records = epochs_of(trial)
        assert run["trial", "state"] == trial.state
        assert run["hparams"] == trial.config
        assert steps(run, "score") == pytest.approx({r.epoch: r.score.value for r in records})
        assert num_values(run) == len(records) * (7 * len(FOLDS) + 6 + len(FOLDS))


def test_a_metric_is_told_by_fold_by_side_and_by_data_set_where_it_has_one(whole: Path) -> None:
    run, records = found(whole)["planted/trial 3"], epochs_of(planted_trials()[3])
    for index, fold in enumerate(FOLDS):
        losses = [record.folds[index] for record in records]
        held_out = {"fold": fold, "role": "validation", "dataset": fold}
        assert list(steps(run, "loss", held_out).values()) == pytest.approx(
            [one.validation_loss for one in losses]
        )
        assert list(
            steps(run, "loss", {"fold": fold, "role": "training"}).values()
        ) == pytest.approx([one.training_loss for one in losses])
        assert len(steps(run, "score", {**ALL, "dataset": fold})) == len(records)


def test_figures_log_and_images_are_there(whole: Path) -> None:
    run = found(whole)["planted/trial 3"]
    (confusion,) = objects(run, "figure", "confusion")
    heat = json.loads(confusion.data)["data"][0]
    assert (heat["x"], heat["z"]) == (["early", "late"], [[9, 3], [2, 10]])
    (roc,) = objects(run, "figure", "roc")
    assert json.loads(roc.data)["data"][0]["name"].startswith("late, AUC ")
    (log,) = objects(run, "text", "log")
    assert "epoch 4: score 0.780" in log.data
    assert "complete after 13.0 s" in log.data
    (failed,) = objects(found(whole)["planted/trial 7"], "text", "log")
    assert "out-of-memory: CUDA ran out of memory." in failed.data
    for name in ("brain slices", "attention"):
        assert len(objects(run, "image", name)) == 1


def test_the_study_itself_is_one_run_with_its_figures_and_its_statement(whole: Path) -> None:
    ((name, run),) = found(whole, '"study" in run.tags').items()
    assert name == "planted/study"
    assert run["summary", "best"] == 3
    assert run["floor", "score"] == 0.64
    assert run["statement", "p"] == 0.03
    (parallel,) = objects(run, "figure", "parallel coordinates")
    told = json.loads(parallel.data)["data"][0]["dimensions"]
    assert [axis["label"] for axis in told][-1] == "score"
    assert len(told[-1]["values"]) == 6
    (ladder,) = objects(run, "figure", "ladder")
    assert json.loads(ladder.data)["data"][0]["y"][0] == "trial 3 (selected)"
    (statement,) = objects(run, "text", "statement")
    assert statement.data == "Of a \u2039b\u203aclaim"
    assert len(objects(run, "image", "brain slices")) == 1


def test_a_second_writer_has_nothing_to_do(whole: Path) -> None:
    study, before = whole / "planted", {n: r.hash for n, r in found(whole).items()}
    writer = AimWriter(study)
    assert writer.write_trials(view_study(study)) == 0
    assert not write_study_run(writer, view_study(study))
    assert num_missing(view_study(study)) == 0
    assert {n: r.hash for n, r in found(whole).items()} == before


def test_a_trial_is_shown_while_it_runs_and_goes_on_in_its_one_run(tmp_path: Path) -> None:
    study, trial = write_study(tmp_path / "planted", trials=()), planted_trials()[3]
    (study / "trials" / "3").mkdir(parents=True)
    started_file(study, 3).parent.mkdir(parents=True)
    started_file(study, 3).write_text(json.dumps({"config": trial.config, "params": {}}))
    tell(study, trial, first=0, last=3)
    writer = AimWriter(study)
    assert writer.write_trials(view_study(study), live=True) == 0
    assert writer.store.run_of(3)["trial", "state"] == "running"
    tell(study, trial, first=3, last=5)
    writer.write_trials(view_study(study))
    run = found(tmp_path)["planted/trial 3"]
    assert run["trial", "state"] == "unfinished"
    assert run["hparams", "optimizer", "lr"] == trial.config["optimizer"]["lr"]
    assert sorted(steps(run, "score")) == [0, 1, 2, 3, 4]
    run.add_tag("look at this")
    end(study, trial)
    assert write(study) == 1
    again = found(tmp_path)["planted/trial 3"]
    assert again.hash == run.hash
    assert set(again.tags) == {"look at this", "complete", "best"}
    assert sorted(steps(again, "score")) == [0, 1, 2, 3, 4]


def test_a_trial_that_began_again_doubles_no_epoch(tmp_path: Path) -> None:
    study, trial = write_study(tmp_path / "planted", trials=()), planted_trials()[2]
    writer = AimWriter(study)
    for last in (3, 2, 5):
        StudyFolder(study).begin_records(2)
        tell(study, trial, first=0, last=last)
        writer.write_trials(view_study(study), live=True)
    end(study, trial)
    writer.write_trials(view_study(study))
    expected = {record.epoch: record.score.value for record in epochs_of(trial)}
    assert steps(found(tmp_path)["planted/trial 2"], "score") == pytest.approx(expected)


def test_numbers_that_are_not_finite_neither_raise_nor_vanish(tmp_path: Path) -> None:
    study, trial = write_study(tmp_path / "planted", trials=()), planted_trials()[1]
    (record, *_) = epochs_of(trial)
    fold = replace(record.folds[0], training_loss=math.nan, validation_loss=math.nan)
    StudyFolder(study).begin_records(1)
    StudyFolder(study).append_record(1, replace(record, folds=(fold, *record.folds[1:])))
    end(study, trial)
    write(study)
    run = found(tmp_path, '"nonfinite" in run.tags')["planted/trial 1"]
    events = run["nonfinite", "loss", FOLDS[0]]
    assert events == {"training": {"epoch 0": "nan"}, "validation": {"epoch 0": "nan"}}
    assert "complete" in run.tags


def test_what_an_epoch_took_is_shown(tmp_path: Path) -> None:
    study, trial = write_study(tmp_path / "planted", trials=()), planted_trials()[1]
    measured = {"seconds": 2.0, "sequences_per_s": 20.0, "device_memory_bytes": 3e9}
    (record, *_) = epochs_of(trial)

    def timed(folds: Sequence[EpochRecord]) -> tuple[EpochRecord, ...]:
        return tuple(replace(fold, measured=measured) for fold in folds)

    StudyFolder(study).begin_records(1)
    StudyFolder(study).append_record(1, replace(record, folds=timed(record.folds)))
    end(study, trial)
    write(study)
    run = found(tmp_path)["planted/trial 1"]
    for name, value in measured.items():
        assert steps(run, name, {"fold": FOLDS[0], "role": "training"}) == {0: value}


def test_a_new_best_takes_the_tag_and_a_new_ladder_is_beside_every_score(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    write(study)
    assert set(found(tmp_path, '"best" in run.tags')) == {"planted/trial 0"}
    write_trial(study, planted_trials()[2])
    end(study, planted_trials()[2])
    rungs = [{"name": "floor", "score": 0.6}, {"name": "parcels", "score": 0.63}]
    StudyFolder(study).write_checked("ladder.json", {"rungs": rungs})
    assert num_missing(view_study(study)) == 3
    assert write(study) == 3
    assert set(found(tmp_path, '"best" in run.tags')) == {"planted/trial 2"}
    above = '"complete" in run.tags and run.trial.score > run.ladder.parcels'
    assert set(found(tmp_path, above)) == {"planted/trial 2"}


def test_a_run_that_the_study_does_not_know_is_dropped(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    write_trial(study, planted_trials()[4])
    write(study)
    assert "planted/trial 4" in found(tmp_path)
    shutil.rmtree(study / "trials" / "4")
    assert write(study) == 1
    assert set(found(tmp_path)) == {"planted/trial 0", "planted/trial 1"}


def test_two_studies_of_one_repository_do_not_mix(tmp_path: Path) -> None:
    for name, count in (("one", 2), ("two", 3)):
        study = write_study(tmp_path / name, trials=planted_trials()[:count])
        assert write(study) == count
    # A copy is another study: it must not write into the runs of the first.
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert write(tmp_path / "copy") == 2
    for name, count in (("one", 2), ("two", 3), ("copy", 2)):
        own = {run for run in found(tmp_path) if run.startswith(f"{name}/")}
        assert own == {f"{name}/trial {number}" for number in range(count)}


def test_nothing_of_the_environment_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_TEST_CANARY", "canary-8d1f")
    print("canary-8d1f")
    write(write_study(tmp_path / "planted", trials=planted_trials()[:1]))
    files = [path for path in (tmp_path / ".aim").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if b"canary-8d1f" in path.read_bytes()]


KILLED = """
import os, signal, sys
from pathlib import Path
from spectrum.search.view import view_study
from spectrum.tracking.writer import AimWriter
study = Path(sys.argv[1])
AimWriter(study).write_trials(view_study(study), live=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

WRITTEN = """
import sys
from pathlib import Path
from spectrum.search.view import view_study
from spectrum.tracking.writer import AimWriter
study = Path(sys.argv[1])
print(AimWriter(study).write_trials(view_study(study), live=False))
"""


def run_python(code: str, study: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(study)], capture_output=True, text=True, cwd=ROOT
    )


def test_a_writer_that_was_killed_is_followed_by_one_that_makes_all_good(tmp_path: Path) -> None:
    study, trial = write_study(tmp_path / "planted", trials=()), planted_trials()[3]
    StudyFolder(study).begin_records(3)
    tell(study, trial, first=0, last=3)
    assert run_python(KILLED, study).returncode == -signal.SIGKILL
    tell(study, trial, first=3, last=5)
    end(study, trial)
    assert write(study) == 1
    assert sorted(steps(found(tmp_path)["planted/trial 3"], "score")) == [0, 1, 2, 3, 4]


def test_all_is_written_again_when_the_repository_was_deleted(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    write(study)
    shutil.rmtree(tmp_path / ".aim")
    done = run_python(WRITTEN, study)
    assert done.stdout.split() == ["2"], done.stderr


def test_the_package_is_imported_without_aim() -> None:
    code = (
        "import sys, spectrum.tracking; print(sorted({'aim', 'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}
    )
    assert done.stdout.strip() == "[]", done.stderr
