"""A study's own driver, its Aim repository and its report, without Ray."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum.report import write_report
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.view import view_study
from spectrum.tracking import AimTracker, num_missing
from tests.unit.report.planted_study import floor_json
from tests.unit.search.drive import drive
from tests.unit.search.fakes import PlantedObjective, small_space

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TROUBLE = {2: "error", 3: "nan"}

LOOK = """
import json, sys
from pathlib import Path
from aim import Repo
from spectrum.tracking import index_repo
index_repo(Path(sys.argv[1]))
runs = [item.run for item in Repo.from_path(sys.argv[1]).query_runs("", report_mode=0).iter_runs()]
print(json.dumps(sorted([run.name, *sorted(run.tags)] for run in runs)))
"""


def begin(repo: Path) -> Path:
    folder = StudyFolder(repo / "small")
    folder.write("floor.json", floor_json())
    folder.write_manifest(build_manifest(small_space(), name="small", data={}))
    return folder.path


def search(study: Path, *, num_trials: int) -> StudyDriver:
    tracker = AimTracker(study.parent, study="small")
    objective = PlantedObjective(TROUBLE)
    driver = drive(study, num_trials=num_trials, tracker=tracker, objective=objective)
    tracker.close()
    return driver


def look(repo: Path) -> list[list[str]]:
    """Read the repository in a process of its own, as a user's script does."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(repo)], capture_output=True, text=True, cwd=ROOT
    )
    return json.loads(done.stdout or f'["{done.stderr[-300:]}"]')


def test_every_trial_of_a_study_is_one_run_and_the_report_agrees(tmp_path: Path) -> None:
    study = begin(tmp_path)
    driver = search(study, num_trials=9)
    best = max(
        (line for line in driver.lines.values() if line["state"] == "complete"),
        key=lambda line: line["value"],
    )
    runs = {name: set(tags) for name, *tags in look(tmp_path)}
    assert set(runs) == {"study"} | {f"trial {number}" for number in range(9)}
    assert runs["trial 2"] == {"failed:RuntimeError", "nonfinite"}
    assert "failed:NotFinite" in runs["trial 3"]
    assert [name for name, tags in runs.items() if "best" in tags] == [f"trial {best['number']}"]
    assert num_missing(view_study(study)) == 0
    page = write_report(study).read_text()
    assert "Of 9 trials, 7 finished and 2 failed." in page
    assert f"Trial {best['number']} was selected" in page
    assert (study / "report" / "figures" / "importance.png").is_file()


def test_a_resumed_study_fills_a_repository_that_was_deleted_in_between(tmp_path: Path) -> None:
    study = begin(tmp_path)
    search(study, num_trials=4)
    shutil.rmtree(tmp_path / ".aim")
    search(study, num_trials=6)
    names = [name for name, *_ in look(tmp_path)]
    assert names == ["study", *(f"trial {number}" for number in range(6))]
