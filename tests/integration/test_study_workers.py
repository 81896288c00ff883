"""A study whose trials have two workers: the numbers and the files of one with one worker each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import set_paths
from spectrum.search.folder import StudyFolder
from spectrum.search.single import train_single
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trial_source import config_of_trial
from tests.integration.test_study_whole import RUNS, search, tiny_space
from tests.killed_workers import one_kill

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def space_of(workers: int) -> SearchSpace:
    space = tiny_space(sampler="random", pruner={"rule": "none"}, rerun={"top": 0})
    written = space.model_dump(by_alias=True, exclude_unset=True)
    base = set_paths(written["base"], {"training.workers": workers})
    return space_from_mapping({**written, "base": base})


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("ray_session")
def test_trials_of_two_workers_have_the_numbers_and_files_of_trials_of_one(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    one, _ = search(tmp_path, root, space_of(1), name="one")
    two, _ = search(tmp_path, root, space_of(2), name="two", num_trials=2)
    two, tracker = search(tmp_path, root, space_of(2), name="two", num_trials=3, resume=True)
    assert tracker.starts == [2]
    folders = {name: StudyFolder(tmp_path / f"studies/{name}") for name in ("one", "two")}
    for number in range(3):
        assert two.lines[number]["state"] == "complete", two.lines[number]["error"]
        assert two.lines[number]["config"]["training"]["workers"] == 2
        assert two.lines[number]["params"] == one.lines[number]["params"]
        records = {name: folder.read_records(number) for name, folder in folders.items()}
        for alone, together in zip(records["one"], records["two"], strict=True):
            assert [losses(fold) for fold in together.folds] == [
                pytest.approx(losses(fold), abs=1e-4) for fold in alone.folds
            ]
        files = {name: files_of(folder.trial(number)) for name, folder in folders.items()}
        assert files["two"] == files["one"]
        assert any(name.endswith(".safetensors") for name in files["two"])
    check_trained_alone(tmp_path, root, two.lines[1])
    with one_kill(tmp_path / "studies/killed/trials", "GroupWorker") as killed:
        lost, _ = search(tmp_path, root, space_of(2), name="killed")
    assert len(killed) == 1
    assert any("lost its workers once and went on" in note for note in lost.notes)
    folder = StudyFolder(tmp_path / "studies/killed")
    for number in range(3):
        assert folder.read_records(number) == folders["two"].read_records(number)
        assert lost.lines[number]["score"] == two.lines[number]["score"]


def losses(fold: Any) -> list[float]:
    return [fold.training_loss, fold.validation_loss]


def check_trained_alone(tmp_path: Path, root: Path, line: Any) -> None:
    """A trial trained alone through Ray Train, from its study's word, has its score."""
    again = train_single(
        config_of_trial(tmp_path / f"studies/two/{line['number']}"),
        [root],
        shards_root=tmp_path / "shards",
        out=tmp_path / "alone",
        on_epoch=lambda record: None,
    )
    assert again.score.to_json()["value"] == line["score"]["value"]
