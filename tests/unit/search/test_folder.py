"""The files of a study: damage is found, a change is refused, records survive the way to disk."""

from __future__ import annotations

import fcntl
import json
import math
import threading
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.importance import importances
from spectrum.search.json_lines import cut_torn_tail, read_lines, write_json
from spectrum.search.manifest import build_manifest, refuse_change
from spectrum.search.trial_json import record_from_json, record_to_json
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, epoch_record, small_space

DATA = {"runs": {"ds000002/sub-01_task-a_run-1": "ab", "ds000002/sub-02_task-a_run-1": "cd"}}


def test_a_record_survives_json_and_nan_stays_nan() -> None:
    record = epoch_record(0, 0.625, finished=False)
    again = record_from_json(json.loads(json.dumps(record_to_json(record), allow_nan=False)))
    assert math.isnan(again.folds[0].validation_loss)
    assert record_to_json(again) == record_to_json(record)
    assert again.score == record.score


def test_a_value_that_cannot_be_written_leaves_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_json(tmp_path / "taken.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"a": math.nan})
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]


def test_a_reader_that_looks_at_the_lock_does_not_keep_a_search_from_starting(
    tmp_path: Path,
) -> None:
    folder = StudyFolder(tmp_path)
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        release = threading.Timer(0.1, fcntl.flock, (reader, fcntl.LOCK_UN))
        release.start()
        with folder.locked():
            release.join()
            assert folder.is_locked


@pytest.mark.parametrize("num_bytes", range(1, 18))
def test_wherever_a_line_is_torn_the_whole_ones_stay(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + b'{"a": 3, "b": 44}\n'[:num_bytes])
    cut = cut_torn_tail(path)
    assert read_lines(path)[:2] == [{"a": 1}, {"a": 2}]
    assert cut == num_bytes
    assert cut_torn_tail(path) == 0


def test_zeros_after_a_power_cut_are_cut_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"\x00" * 12 + b"\n")
    assert cut_torn_tail(path) == 13
    assert read_lines(path) == [{"a": 1}]


def test_damage_inside_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": 3}\n')
    assert cut_torn_tail(path) == 0
    with pytest.raises(SearchError, match="damaged in line 2"):
        read_lines(path)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_manifest_never_starts_a_new_study(tmp_path: Path, damage: str) -> None:
    folder = StudyFolder(tmp_path)
    folder.write_manifest({"name": "s", "seed": 7})
    path = tmp_path / "study.json"
    content = path.read_text()
    path.write_text(
        {"truncated": content[:30], "flipped": content.replace("7", "8"), "empty": ""}[damage]
    )
    assert folder.exists
    with pytest.raises(SearchError, match="damaged"):
        folder.read_manifest()


def test_the_same_inputs_are_accepted() -> None:
    begun = build_manifest(small_space(), name="s", data=DATA)
    plain = json.loads(json.dumps(begun))
    refuse_change(plain, small_space(num_trials=77, max_failed=3), DATA)


def test_a_changed_space_is_refused_with_its_difference() -> None:
    begun = build_manifest(small_space(), name="s", data=DATA)
    with pytest.raises(SearchError, match=r"space\.study\.seed was 0 and is 4"):
        refuse_change(begun, small_space(seed=4), DATA)


def test_changed_data_are_refused_with_the_run_that_changed() -> None:
    begun = build_manifest(small_space(), name="s", data=DATA)
    runs = {"ds000002/sub-01_task-a_run-1": "ab", "ds000002/sub-02_task-a_run-1": "ee"}
    with pytest.raises(SearchError, match=r"sub-02_task-a_run-1 was cd and is ee"):
        refuse_change(begun, small_space(), {"runs": runs})
    with pytest.raises(SearchError, match=r"sub-02_task-a_run-1 was cd and is absent"):
        refuse_change(begun, small_space(), {"runs": {"ds000002/sub-01_task-a_run-1": "ab"}})


def test_another_version_of_the_code_is_refused() -> None:
    begun = build_manifest(small_space(), name="s", data=DATA)
    begun["versions"]["steps"] = {**begun["versions"]["steps"], "grid": 99}
    with pytest.raises(SearchError, match=r"code\.steps\.grid was 99"):
        refuse_change(begun, small_space(), None)


def test_a_study_of_another_model_version_is_refused_also_one_that_tells_none() -> None:
    begun = build_manifest(small_space(), name="s", data=DATA)
    refuse_change(begun, small_space(), None)
    begun["versions"]["model"] = 1
    with pytest.raises(SearchError, match=r"code\.model was 1 and is \d"):
        refuse_change(begun, small_space(), None)
    del begun["versions"]["model"]
    with pytest.raises(SearchError, match=r"code\.model was absent and is \d"):
        refuse_change(begun, small_space(), None)


def test_importances_name_config_paths_and_add_up_to_one(tmp_path: Path) -> None:
    drive(
        tmp_path / "s", num_trials=24, tracker=ListTracker(), space=small_space(sampler="random")
    )
    found = importances(tmp_path / "s")
    assert set(found) == {"preprocessing.fwhm_mm", "optimizer.lr", "model.num_heads"}
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=lambda name: found[name]) != "model.num_heads"


def test_importances_of_few_trials_are_not_told(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=3, tracker=ListTracker())
    assert importances(tmp_path / "s") == {}


def test_the_best_trial_is_copied_with_its_line(tmp_path: Path) -> None:
    driver = drive(tmp_path / "s", num_trials=5, tracker=ListTracker())
    folder = StudyFolder(tmp_path / "s")
    best = max(driver.lines.values(), key=lambda line: line["value"])
    (folder.trial(best["number"]) / "checkpoints").mkdir()
    (folder.trial(best["number"]) / "checkpoints/a.safetensors").write_bytes(b"x")
    for _ in range(2):
        folder.write_best(best)
    assert json.loads((folder.best / "trial.json").read_text()) == best
    assert (folder.best / "checkpoints/a.safetensors").read_bytes() == b"x"


def test_a_trial_that_begins_again_keeps_its_state_and_nothing_else(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.begin_records(3)
    for name in ("state/first/state.json", "checkpoints/first/model.json", "records.jsonl"):
        (folder.trial(3) / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.trial(3) / name).write_text("{}")
    folder.begin_records(3)
    assert [path.name for path in folder.trial(3).iterdir()] == ["state"]
    folder.drop_state(3)
    assert list(folder.trial(3).iterdir()) == []
