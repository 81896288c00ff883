"""A study in a store: whichever machine goes on with it, it is the study that it would have been.

Each "machine" has working copies of its own; they share the store alone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from spectrum.data.runs import RunTable
from spectrum.errors import SearchError, StorageError
from spectrum.search.folder import StudyFolder
from spectrum.search.objective import SharedInputs
from spectrum.search.starting import check_start
from spectrum.search.stored import (
    fetch_study,
    push_study,
    remove_stored,
    stored_studies,
    stored_study,
)
from spectrum.search.stored_parts import is_of_one_machine
from spectrum.search.stored_trials import stored_trial
from spectrum.storage import ObjectStore, working_copy
from spectrum.storage.generations import BOOK_NAME
from spectrum.targets import read_target
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, small_space
from tests.unit.search.test_driver import lines_of, params_of
from tests.unit.training.test_loop import drain
from tests.waiting import wait_until

Machine = Callable[[str], Path]


@pytest.fixture
def studies(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'store' / 'studies'}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, studies: str) -> Machine:
    """Become a machine; return the folder of the study there."""

    def become(name: str) -> Path:
        monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / name))
        return working_copy(studies).path / "s"

    return become


def fail_to_start(study: StudyFolder) -> None:
    with stored_study(study, print):
        study.path.mkdir(parents=True, exist_ok=True)
        (study.path / "folds.json").write_text("{}")
        raise SearchError("no place")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("name", ["same", "other"])
def test_a_name_whose_start_failed_is_free_on_every_machine(machine: Machine, name: str) -> None:
    with pytest.raises(SearchError, match="no place"):
        fail_to_start(StudyFolder(machine("same")))
    again = StudyFolder(machine(name))
    with stored_study(again, print):
        check_start(again, small_space(), resume=False, fork=None)
        assert (again.path / BOOK_NAME).is_file()


@pytest.mark.parametrize("resume", [True, False])
def test_nothing_is_written_for_a_study_that_is_not_there(
    machine: Machine, studies: str, resume: bool
) -> None:
    search(machine("one"), 1)
    wrong = StudyFolder(machine("one").with_name("wrong"))
    before = ObjectStore(studies).names()
    with (
        pytest.raises(SearchError, match=r"There is no study at|no place"),
        stored_study(wrong, print, resume=resume),
    ):
        raise SearchError("no place")

    assert ObjectStore(studies).names() == before
    assert not wrong.path.exists()


def test_a_mistyped_name_is_told_by_its_address_with_the_names_there(
    machine: Machine, studies: str
) -> None:
    search(machine("one"), 1)
    wrong = StudyFolder(machine("one").with_name("wrong"))
    told = rf"There is no study at {studies}/wrong.*\({studies} has s\)"
    with pytest.raises(SearchError, match=told), stored_study(wrong, print, resume=True):
        pass


def test_a_study_that_only_another_machine_has_goes_on(machine: Machine) -> None:
    search(machine("one"), 1)
    study = StudyFolder(machine("other"))
    with stored_study(study, print, resume=True):
        assert study.exists


def search(folder: Path, num_trials: int) -> list[str]:
    untold: list[str] = []
    study = StudyFolder(folder)
    with stored_study(study, untold.append):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.json").write_text("{}")
        drive(folder, num_trials=num_trials, tracker=ListTracker())
    return untold


def test_machines_in_turn_make_the_study_that_one_would_have_made(
    tmp_path: Path, machine: Machine
) -> None:
    drive(tmp_path / "whole", num_trials=9, tracker=ListTracker())
    for name, num_trials in (("one", 2), ("other", 5), ("one", 7), ("third", 9)):
        folder = machine(name)
        assert search(folder, num_trials) == []
        assert len(lines_of(folder)) == num_trials

    assert params_of(machine("third")) == params_of(tmp_path / "whole")
    assert [line["value"] for line in lines_of(machine("third"))] == [
        line["value"] for line in lines_of(tmp_path / "whole")
    ]


def test_a_machine_that_is_lost_takes_no_stored_trial_with_it(
    tmp_path: Path, machine: Machine, studies: str
) -> None:
    drive(tmp_path / "whole", num_trials=5, tracker=ListTracker())
    folder = machine("lost")
    search(folder, 3)
    drive(folder, num_trials=4, tracker=ListTracker())
    shutil.rmtree(folder)

    other = machine("other")
    search(other, 5)
    assert params_of(other) == params_of(tmp_path / "whole")


def test_work_that_a_store_missed_is_stored_when_its_machine_goes_on(machine: Machine) -> None:
    search(machine("one"), 3)
    drive(machine("one"), num_trials=5, tracker=ListTracker())
    search(machine("one"), 5)
    search(machine("other"), 5)

    assert len(lines_of(machine("other"))) == 5


def test_two_machines_that_both_went_on_are_told_apart_and_nothing_is_undone(
    machine: Machine,
) -> None:
    search(machine("one"), 3)
    search(machine("other"), 4)
    drive(machine("one"), num_trials=5, tracker=ListTracker())

    with pytest.raises(StorageError, match="holds work that was never stored"):
        search(machine("one"), 6)
    assert len(lines_of(machine("one"))) == 5
    search(machine("other"), 6)


def test_a_study_in_a_store_is_worked_on_by_one_search_at_a_time(machine: Machine) -> None:
    folder = machine("one")
    with (
        stored_study(StudyFolder(folder), lambda note: None),
        pytest.raises(SearchError, match="Another search works on"),
    ):
        search(folder, 1)


def test_a_folder_without_an_address_is_left_as_it_is(tmp_path: Path) -> None:
    assert search(tmp_path / "plain" / "s", 1) == []
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["s"]


def test_a_study_is_fetched_listed_changed_and_removed_by_its_address(
    machine: Machine, studies: str
) -> None:
    address = f"{studies}/s"
    assert not fetch_study(machine("other"), address)
    search(machine("one"), 2)

    assert stored_studies(studies) == ["s"]
    folder = machine("other")
    assert fetch_study(folder, address)
    (folder / "statement.json").write_text("{}")
    push_study(folder, address)
    assert fetch_study(machine("one"), address)
    assert (machine("one") / "statement.json").read_text() == "{}"

    remove_stored(address)
    assert ObjectStore(studies).names() == []


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("study.json", False),
        ("optuna.journal", False),
        ("optuna.journal.lock", True),
        (".lock", True),
        ("trials/3/records.jsonl", False),
        ("trials/3/.tracked", True),
        ("trials/3/state/ds000002/state.json", True),
        ("trials/3/state/seconds.json", False),
        ("trials/3/checkpoints/ds000002/model.json", True),
        ("best/checkpoints/ds000002/model.json", False),
        ("report/index.html", False),
        ("ray/x", True),
        ("aim/runs.json", True),
        (".best/trial.json", True),
    ],
)
def test_what_is_of_one_machine_is_known_by_its_name(path: str, is_own: bool) -> None:
    assert is_of_one_machine(path) == is_own


def _fit(folder: Path, num_epochs: int) -> Generator[int, None, str]:
    """Go on from the state of a trial, as a fit does."""
    state = folder / "state" / "fold" / "state.json"
    begin = int(state.read_text()) if state.is_file() else 0
    for epoch in range(begin, num_epochs):
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(str(epoch + 1))
        yield epoch
    weights = folder / "checkpoints" / "fold" / "model.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_text(f"after {num_epochs}")
    return "done"


def begun(studies: str, machine: Machine, folds: str) -> tuple[str, Path]:
    """Store a study with one trial; return its address, and its folder at the driver."""
    address, study = f"{studies}/s", machine("driver")
    search(study, 1)
    (study / "folds.json").write_text(folds)
    push_study(study, address)
    return address, study


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_what_a_removed_study_of_the_same_name_left_on_a_node_is_not_taken_for_the_new_ones(
    machine: Machine, studies: str
) -> None:
    address, _ = begun(studies, machine, "new")
    node = machine("node")
    left = node / "trials" / "7" / "checkpoints" / "another fold"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("of the removed study")
    (node / "folds.json").write_text("old")

    trial = stored_trial(node / "trials" / "7", address, writes=True)
    trial.begin(node / "folds.json", sha256_of("new"))
    drain(trial.followed(_fit(node / "trials" / "7", 1)))

    assert (node / "folds.json").read_text() == "new"
    stored = ObjectStore(address).names("trials/7/checkpoints/files")
    assert [name.split("/")[4] for name in stored] == ["fold"]


def test_a_fit_apart_from_the_trials_has_their_folds_and_stores_nothing(
    tmp_path: Path, machine: Machine, studies: str
) -> None:
    address, study = begun(studies, machine, "{}")
    shared = SharedInputs(
        table=RunTable(runs=(), problems=()),
        target=read_target("early_late"),
        shards_root=tmp_path / "shards",
        folds=study / "folds.json",
        trials=study / "trials",
        study_at=address,
        folds_sha256=sha256_of("{}"),
    )
    node = machine("node")
    apart = shared.apart(tmp_path / "apart")

    assert (apart.trials, apart.study_at) == (tmp_path / "apart", "")
    assert apart.folds == node / "folds.json"
    assert apart.folds.read_text() == "{}"


def test_a_trial_goes_on_from_the_state_that_another_node_stored(
    machine: Machine, studies: str
) -> None:
    address, study = begun(studies, machine, "{}")

    lost = machine("lost") / "trials" / "7"
    trial = stored_trial(lost, address, writes=True)
    trial.begin(machine("lost") / "folds.json", sha256_of("{}"))
    assert (machine("lost") / "folds.json").read_text() == "{}"
    steps = trial.followed(_fit(lost, 5))
    assert [next(steps), next(steps)] == [0, 1]
    states = ObjectStore(address).under("trials/7/state")
    wait_until(
        lambda: any("latest.json" in name for name in states.names()), "a state", limit_s=20.0
    )
    steps.close()

    found = machine("other") / "trials" / "7"
    again = stored_trial(found, address, writes=True)
    again.begin(study / "folds.json", sha256_of("{}"))
    epochs, result = drain(again.followed(_fit(found, 5)))

    assert epochs[0] in (1, 2)
    assert epochs[-1] == 4
    assert result == ("done", "")
    folder = StudyFolder(machine("driver"))
    with stored_study(folder, lambda note: None):
        folder.forget_state(7)
    weights = study / "trials" / "7" / "checkpoints" / "fold" / "model.safetensors"
    assert weights.read_text() == "after 5", "the driver's copy has what another node made"
    assert ObjectStore(address).names("trials/7/state") == []


def test_a_state_that_a_kill_left_of_an_ended_trial_is_removed(
    machine: Machine, studies: str
) -> None:
    address, study = f"{studies}/s", machine("driver")
    search(study, 2)
    left = [ObjectStore(address).under(f"trials/{number}/state") for number in (1, 9)]
    for one in left:
        one.put("latest.json", b"{}")
    search(study, 2)

    assert [one.names() for one in left] == [[], ["latest.json"]], "trial 9 has not ended"


def test_checkpoints_that_could_not_be_stored_cost_the_trial_a_note(
    tmp_path: Path, machine: Machine
) -> None:
    (tmp_path / "blocked").write_text("a file where the store should be")
    own = machine("one") / "trials" / "1"
    trial = stored_trial(own, f"file://{tmp_path / 'blocked'}", writes=True)
    steps = trial.followed(_fit(own, 1))
    next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)

    result, trouble = end.value.value
    assert result == "done"
    assert "Checkpoints of a trial are in" in trouble


def test_a_command_on_the_machine_of_a_running_search_leaves_storing_to_it(
    machine: Machine, studies: str
) -> None:
    folder, address = machine("one"), f"{studies}/s"
    search(folder, 2)
    untold: list[str] = []
    with stored_study(StudyFolder(folder), untold.append):
        drive(folder, num_trials=3, tracker=ListTracker())
        assert fetch_study(folder, address)
        (folder / "report").mkdir()
        (folder / "report" / "index.html").write_text("three")
        push_study(folder, address)
        assert ObjectStore(address).get("lease.json", max_bytes=1000) is not None

    assert untold == []
    assert fetch_study(machine("other"), address)
    assert len(lines_of(machine("other"))) == 3
    assert (machine("other") / "report" / "index.html").read_text() == "three"


def test_a_report_that_could_not_be_stored_holds_up_no_later_one(
    machine: Machine, studies: str
) -> None:
    search(machine("one"), 2)
    other, address = machine("other"), f"{studies}/s"
    assert fetch_study(other, address)
    (other / "report").mkdir()
    (other / "report" / "index.html").write_text("two")
    search(machine("one"), 3)

    assert fetch_study(machine("other"), address)
    assert len(lines_of(other)) == 3


def test_the_state_of_a_trial_goes_when_its_end_is_stored_and_not_before(
    machine: Machine, studies: str
) -> None:
    folder = machine("one")
    search(folder, 1)
    state = ObjectStore(f"{studies}/s/trials/7/state")
    state.put("latest.json", b"a state")
    store = Path(studies.removeprefix("file://")) / "s"
    untold: list[str] = []
    study = StudyFolder(folder)
    with stored_study(study, untold.append):
        study.forget_state(7)
        (folder / "line").write_text("of the end")
        (store / "latest.json").write_text("damaged")

    assert "not what Spectrum wrote" in untold[0]
    assert state.names() == ["latest.json"]


def test_checkpoints_that_cannot_be_fetched_keep_no_line_from_being_stored(
    machine: Machine, studies: str
) -> None:
    folder = machine("one")
    untold: list[str] = []
    with stored_study(StudyFolder(folder), untold.append):
        drive(folder, num_trials=2, tracker=ListTracker())
        (folder / "study.json").write_text("{}")
        damaged = ObjectStore(f"{studies}/s/trials/0/checkpoints")
        damaged.put("latest.json", b"damaged")

    assert "not what Spectrum wrote" in untold[0]
    damaged.remove("latest.json")
    assert fetch_study(machine("other"), f"{studies}/s")
    assert len(lines_of(machine("other"))) == 2


def test_no_folder_of_a_bucket_leads_out_of_the_working_copy(
    tmp_path: Path, machine: Machine, studies: str
) -> None:
    search(machine("one"), 1)
    ObjectStore(studies).put(".making/latest.json", b"no generation")

    machine("other")
    assert stored_studies(studies) == ["s"]
