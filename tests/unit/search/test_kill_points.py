"""A kill between any two writes of a study, and damage to any region of its files.

What is found afterwards is the study as it would have been, or a refusal; never a new study.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import get_args

import pytest

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import Moment
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.trials import TrialEnd
from tests.unit.search.drive import drive
from tests.unit.search.fakes import FileTracker, ListTracker, PlantedObjective, small_space
from tests.unit.search.test_driver import CHECKOUT, lines_of, params_of, states_in_journal

NUM_TRIALS = 5
MOMENTS = get_args(Moment)
NUM_REGIONS = 12
"""Places of a file, from its first byte to its last, at which it is damaged."""


class KilledError(BaseException):
    """Ends a driver where a kill would: nothing after it is written."""


def kill_at(moment: str, trial: int) -> Callable[[Moment, int], None]:
    def at(now: Moment, number: int) -> None:
        if (now, number) == (moment, trial):
            raise KilledError

    return at


def check_whole(path: Path, tracker: FileTracker, num_trials: int = NUM_TRIALS) -> None:
    lines = [line for line in lines_of(path) if "kind" not in line]
    assert sorted(line["number"] for line in lines) == list(range(num_trials))
    assert set(states_in_journal(path / "optuna.journal").values()) == {"COMPLETE"}
    assert sorted(int(p.stem) for p in tracker.folder.iterdir()) == list(range(num_trials))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "s"
    drive(path, num_trials=NUM_TRIALS, tracker=ListTracker())
    return path


@pytest.mark.parametrize("trial", [0, 2, NUM_TRIALS - 1])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_between_two_writes_changes_nothing(
    tmp_path: Path, whole: Path, moment: str, trial: int
) -> None:
    tracker = FileTracker(tmp_path / "tracked")
    with pytest.raises(KilledError):
        drive(tmp_path / "s", num_trials=NUM_TRIALS, tracker=tracker, at=kill_at(moment, trial))
    lost = sum(state == "RUNNING" for state in _states(tmp_path / "s"))
    assert lost <= 1
    drive(tmp_path / "s", num_trials=NUM_TRIALS, tracker=tracker)
    check_whole(tmp_path / "s", tracker)
    assert params_of(tmp_path / "s") == params_of(whole)


@pytest.mark.parametrize("moment", ["started", "reported", "written"])
def test_a_kill_in_a_re_run_repeats_that_re_run_alone(tmp_path: Path, moment: str) -> None:
    space = small_space(rerun={"top": 2, "seeds": 2})
    whole = drive(tmp_path / "whole", num_trials=3, tracker=ListTracker(), space=space)
    assert whole.selection is not None
    again = [line for line in lines_of(tmp_path / "whole") if "kind" in line]
    tracker = FileTracker(tmp_path / "tracked")
    with pytest.raises(KilledError):
        drive(
            tmp_path / "s",
            num_trials=3,
            tracker=tracker,
            space=space,
            at=kill_at(moment, again[1]["number"]),
        )
    resumed = drive(tmp_path / "s", num_trials=3, tracker=tracker, space=space)
    assert resumed.selection == whole.selection
    numbers = [line["number"] for line in lines_of(tmp_path / "s")]
    assert len(numbers) == len(set(numbers)) == 3 + len(again)


def test_processes_that_kill_themselves_at_every_moment_are_followed_by_one_that_ends(
    tmp_path: Path,
) -> None:
    num_trials = len(MOMENTS) + 1

    def begin(*doom: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "tests.unit.search.drive", str(tmp_path / "s"),
             str(num_trials), *doom],
            cwd=CHECKOUT,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        ).returncode  # fmt: skip

    for trial, moment in enumerate(MOMENTS):
        assert begin(moment, str(trial)) == -signal.SIGKILL, moment
    assert begin() == 0
    assert sorted(params_of(tmp_path / "s")) == list(range(num_trials))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of five trials of which the last was not begun, with its manifest."""
    path = tmp_path_factory.mktemp("finished") / "s"
    drive(path, num_trials=NUM_TRIALS - 1, tracker=ListTracker())
    folder = StudyFolder(path)
    folder.write("floor.json", {"floor": {"value": 0.4}})
    folder.write_manifest(
        build_manifest(
            small_space(), name="s", data={"runs": {}}, files=folder.digests_of("floor.json")
        )
    )
    folder.write_checked("budget.json", {"num_trials": NUM_TRIALS})
    return path


def open_and_finish(path: Path) -> str | None:
    """Read all that a resume reads, and run what is left; return the refusal, if any."""
    folder = StudyFolder(path)
    try:
        folder.check_files()
        num_trials = folder.read_checked("budget.json")["num_trials"]
        drive(path, num_trials=num_trials, tracker=ListTracker())
        for number in range(num_trials):
            folder.read_records(number)
    except SearchError as err:
        return str(err)
    return None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
@pytest.mark.parametrize(
    "name",
    [
        "study.json",
        "trials.jsonl",
        "optuna.journal",
        "floor.json",
        "budget.json",
        "trials/2/records.jsonl",
    ],
)
def test_damage_is_refused_or_mended_and_never_a_new_study(
    tmp_path: Path, finished: Path, name: str, damage: str
) -> None:
    before = {n: (line["params"], line["value"]) for n, line in enumerate(lines_of(finished))}
    content = (finished / name).read_bytes()
    for region in range(1 if damage == "gone" else NUM_REGIONS):
        place = region * (len(content) - 1) // max(1, NUM_REGIONS - 1)
        path = tmp_path / str(region)
        shutil.copytree(finished, path)
        if damage == "gone":
            (path / name).unlink()
        elif damage == "truncated":
            (path / name).write_bytes(content[:place])
        else:
            flipped = bytes([content[place] ^ 1])
            (path / name).write_bytes(content[:place] + flipped + content[place + 1 :])
        if (refusal := open_and_finish(path)) is not None:
            assert str(path) in refusal
            continue
        after = {n: (line["params"], line["value"]) for n, line in enumerate(lines_of(path))}
        assert {n: after[n] for n in before} == before, f"{name} {damage} at byte {place}"
        assert sorted(params_of(path)) == list(range(NUM_TRIALS))


def test_without_ray_s_own_folder_a_study_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s"
    drive(path, num_trials=3, tracker=ListTracker())
    before = lines_of(path)
    (path / "ray").mkdir()
    (path / "ray/experiment_state.json").write_text("{ torn")
    shutil.rmtree(path / "ray")
    drive(path, num_trials=4, tracker=ListTracker())
    assert lines_of(path)[:3] == before


def test_a_taken_study_names_its_owner(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    with (
        folder.locked(),
        pytest.raises(SearchError, match=rf"process {os.getpid()} on .+, since 20"),
        StudyFolder(tmp_path / "s").locked(),
    ):
        pass
    with folder.locked():
        pass


def test_what_a_trial_can_be_continued_from_outlives_a_kill_and_not_its_end(
    tmp_path: Path,
) -> None:
    states = tmp_path / "s/trials/1/state"

    class Keeping(PlantedObjective):
        def __call__(
            self, number: int, config: TrialConfig
        ) -> Generator[TrialEpochRecord, None, TrialEnd]:
            if number == 1:
                seen.append(sorted(p.name for p in states.glob("*")))
                states.mkdir(exist_ok=True)
                (states / "epoch-0").touch()
            return super().__call__(number, config)

    seen: list[list[str]] = []
    with pytest.raises(KilledError):
        drive(
            tmp_path / "s",
            num_trials=2,
            tracker=ListTracker(),
            objective=Keeping(),
            at=kill_at("reported", 1),
        )
    drive(tmp_path / "s", num_trials=2, tracker=ListTracker(), objective=Keeping())
    assert seen == [[], ["epoch-0", "seconds.json"]]
    assert not states.exists()


def _states(path: Path) -> list[str]:
    return list(states_in_journal(path / "optuna.journal").values())
