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
from tests.trial_times import TrialTimes, most_slowed, recorded
from tests.unit.report.planted_study import floor_json
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, PlantedObjective, small_space
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

NUM_TRIALS = 8
SECONDS_PER_EPOCH = 0.25
MOST_SLOWED_S = 2.0


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


def calm_times(study: Path) -> tuple[list[float], list[float]]:
    """Return what the same trials take where nobody follows them."""
    times = TrialTimes()
    drive(study, num_trials=NUM_TRIALS, tracker=ListTracker(), objective=slow(), at=times)
    return recorded(study), times.whole


def check_not_slowed(
    disturbed: tuple[list[float], list[float]], calm: tuple[list[float], list[float]]
) -> None:
    record, whole = (most_slowed(*pair) for pair in zip(disturbed, calm, strict=True))
    print(f"most slowed: {record:.3f} s by the record, {whole:.3f} s with what is around it")
    assert max(record, whole) < MOST_SLOWED_S


def slow() -> PlantedObjective:
    return PlantedObjective(seconds_per_epoch=SECONDS_PER_EPOCH)


def test_a_server_that_hangs_and_dies_slows_no_trial_and_loses_no_value(
    tmp_path: Path, server: AimServer
) -> None:
    one, two = begin(tmp_path / "studies/one"), begin(tmp_path / "studies/two")
    calm = calm_times(begin(tmp_path / "calm/one"))
    tracker = AimTracker(one.parent, study="one", to=server.address)

    def trouble(number: int) -> None:
        if number == 2:
            wait_until(lambda: server.num_runs() > 0, "the first run is there")
            server.freeze()
        if number == 5:
            server.kill()

    times = TrialTimes(trouble)
    driver = drive(one, num_trials=NUM_TRIALS, tracker=tracker, objective=slow(), at=times)
    assert len(driver.lines) == NUM_TRIALS
    assert not [note for note in driver.notes if "tracker" in note]
    check_not_slowed((recorded(one), times.whole), calm)
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
