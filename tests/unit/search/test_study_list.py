"""Studies listed, shown, compared, removed; a trial's configuration taken from its study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.forking import parent_of
from spectrum.search.manifest import build_manifest
from spectrum.search.study_list import diff_studies, list_studies, remove_study, show_study
from spectrum.search.trial_source import config_of_trial
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, small_space
from tests.unit.search.test_driver import lines_of

DATA = {"runs": {"ds000002/sub-01_task-a_run-1": "ab"}, "target": "t", "folds": "f"}
RERUN = {"top": 2, "seeds": 2}


def study(path: Path, *, num_trials: int = 4, **settings: object) -> Path:
    space = small_space(rerun=RERUN, **settings)
    drive(path, num_trials=num_trials, tracker=ListTracker(), space=space)
    StudyFolder(path).write_manifest(build_manifest(space, name=path.name, data=DATA))
    return path


def test_studies_are_listed_by_name_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    study(tmp_path / "b")
    study(tmp_path / "a", num_trials=2)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/study.json").write_text("{")
    (tmp_path / "no study").mkdir()
    a, b, c = list_studies(tmp_path)
    assert [told["study"] for told in (a, b, c)] == ["a", "b", "c"]
    assert (a["num_complete"], b["num_complete"]) == (2, 4)
    assert "damaged" in c["problem"]


def test_a_study_that_is_searched_is_running(tmp_path: Path) -> None:
    path = study(tmp_path / "s")
    assert show_study(path)["state"] == "idle"
    with StudyFolder(path).locked():
        assert show_study(path)["state"] == "running"
        with pytest.raises(SearchError, match="Another search works on"):
            remove_study(path)
    assert show_study(path)["state"] == "idle"


def test_what_was_selected_is_shown_with_its_re_runs_and_as_selected(tmp_path: Path) -> None:
    path = study(tmp_path / "s")
    told = show_study(path)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    reruns = [line for line in lines_of(path) if "kind" in line]
    own = [line["value"] for line in reruns if line["of"] == told["best"]["trial"]]
    assert told["best"]["rerun_mean"] == pytest.approx(sum(own) / len(own))
    assert told["best"]["selected"] is True
    assert told["num_reruns"] == len(reruns)
    assert told["num_unfinished"] == 0


def test_two_studies_differ_in_what_their_inputs_differ_in(tmp_path: Path) -> None:
    one, other = study(tmp_path / "a"), study(tmp_path / "b", seed=4, sampler="random")
    told = diff_studies(one, other)
    assert told["inputs"]["seed"] == [0, 4]
    assert told["inputs"]["space.study.sampler"] == ["tpe", "random"]
    assert not [path for path in told["inputs"] if path.startswith("data")]
    assert diff_studies(one, one)["inputs"] == {}


def test_a_fork_names_its_parent_and_in_what_it_differs(tmp_path: Path) -> None:
    path = study(tmp_path / "a")
    parent = parent_of(path, small_space(rerun=RERUN, seed=9), {**DATA, "folds": "g"})
    assert parent["differences"] == [
        "space.study.seed was 0 and is 9",
        "data.folds was f and is g",
    ]
    assert (parent["name"], parent["num_trials"]) == ("a", 4)


def test_a_removed_study_is_gone_and_nothing_else(tmp_path: Path) -> None:
    path, other = study(tmp_path / "a"), study(tmp_path / "b")
    remove_study(path)
    assert not path.exists()
    assert other.exists()
    with pytest.raises(SearchError, match="holds no study"):
        remove_study(tmp_path)
    assert other.exists()


def test_a_trial_s_configuration_is_the_one_it_was_trained_with(tmp_path: Path) -> None:
    path = study(tmp_path / "s")
    for line in lines_of(path):
        config = config_of_trial(path / str(line["number"]))
        assert config.model_dump(mode="json") == line["config"]
    assert config_of_trial(path / "default") == config_of_trial(path / "0")
    best = show_study(path)["best"]["trial"]
    assert config_of_trial(path / "best") == config_of_trial(path / str(best))
    changed = config_of_trial(path / "2", ["training.num_epochs=9"])
    assert changed.training.num_epochs == 9


def test_a_trial_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    path = study(tmp_path / "s")
    with pytest.raises(SearchError, match=r"no ended trial '44'.* it has 4, numbers 0 to 3"):
        config_of_trial(path / "44")
    with pytest.raises(SearchError, match="holds no study"):
        config_of_trial(tmp_path / "7")
