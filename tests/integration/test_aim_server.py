"""A study whose Aim server is stuck, dies and comes back: the study waits for nothing, loses none.

The study's own driver runs here without Ray; the server and the follower are real processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.view import view_study
from spectrum.tracking import AimTracker, index_repo, num_missing, show_study
from spectrum.tracking.values import values_of_epoch
from tests.aim_runs import found, num_values
from tests.aim_server import AimServer
from tests.unit.report.planted_study import floor_json
from tests.unit.search.drive import drive
from tests.unit.search.fakes import small_space
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

NUM_TRIALS = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AimServer]:
    server = AimServer(tmp_path / "server")
    server.begin()
    yield server
    server.kill()


def begin(study: Path) -> Path:
    folder = StudyFolder(study)
    folder.path.mkdir(parents=True)
    folder.write("floor.json", floor_json())
    folder.write_manifest(build_manifest(small_space(), name=study.name, data={}))
    return study


def expected_values(study: Path) -> dict[str, int]:
    view = view_study(study)
    return {
        f"{study.name}/trial {line['number']}": sum(
            value.is_finite
            for record in view.records_of(line["number"])
            for value in values_of_epoch(record)
        )
        for line in view.lines
    }


def test_a_server_that_hangs_and_dies_holds_up_no_trial_and_loses_no_value(
    tmp_path: Path, server: AimServer
) -> None:
    one, two = begin(tmp_path / "studies/one"), begin(tmp_path / "studies/two")
    tracker = AimTracker(one.parent, study="one", to=server.address)

    def trouble(moment: str, number: int) -> None:
        if (moment, number) == ("told", 1):
            wait_until(lambda: server.num_runs() > 0, "the first run is there")
            server.freeze()
        if (moment, number) == ("told", 4):
            server.kill()

    # Nothing answers from trial 2 on: that all of them end says that none waited for the server.
    driver = drive(one, num_trials=NUM_TRIALS, tracker=tracker, at=trouble)
    assert len(driver.lines) == NUM_TRIALS
    assert not [note for note in driver.notes if "tracker" in note]
    tracker.close()
    missed = show_study(one)
    assert missed.num_missing == num_missing(view_study(one)) > 0
    assert server.address in missed.note
    assert "spectrum study track" in missed.note

    server.begin()
    other = AimTracker(two.parent, study="two", to=server.address)
    drive(two, num_trials=3, tracker=other)
    other.close()
    for study in (one, two):
        shown = show_study(study, to=server.address)
        assert (shown.note, shown.num_missing, shown.repo) == ("", 0, server.address)
    server.kill()

    index_repo(server.folder)
    runs = found(server.folder, '"study" not in run.tags')
    assert {name: num_values(run) for name, run in runs.items()} == {
        **expected_values(one),
        **expected_values(two),
    }
    assert set(found(server.folder, '"study" in run.tags')) == {"one/study", "two/study"}


def test_a_follower_of_a_frozen_server_is_ended_with_its_study(
    tmp_path: Path, server: AimServer
) -> None:
    study = begin(tmp_path / "studies/one")
    tracker = AimTracker(study.parent, study="one", to=server.address, patience_s=1.0)
    server.freeze()
    drive(study, num_trials=1, tracker=tracker)
    tracker.close()
    assert num_missing(view_study(study)) == 1
