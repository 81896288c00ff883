"""A sealed study on tiny trees: searched blind, opened once, and no leak at any entry point."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum.cli.summary import each_text
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.shards import ShardSet
from spectrum.errors import LeakageError, SearchError
from spectrum.evaluation.ladder import run_ladder
from spectrum.search.openings import Openings
from spectrum.search.sealed_each import plan_each, unseal_each, write_each
from spectrum.search.sealing import OPENINGS_NAME, UNSEALED_NAME, read_seal, seal_of_trial
from spectrum.search.single import train_single
from spectrum.search.study import run_study
from spectrum.search.trial_source import config_of_trial
from spectrum.search.unsealing import unseal_study
from spectrum.search.view import view_study
from spectrum.targets import read_target
from tests.integration.test_study_whole import tiny_space
from tests.tiny_bids import TASK
from tests.unit.search.fakes import ListTracker

OPEN = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3) for r in (1, 2)}
SEALED = {
    (f"1{s}", "probabilisticclassification", f"0{r}"): 18 + s for s in (1, 2) for r in (1, 2)
}

Trees = list[Path]


@pytest.fixture
def trees(tiny_bids: Callable[..., Path]) -> Trees:
    """Two data sets with labelled pairs; the second one is sealed."""
    return [tiny_bids("ds000002", OPEN), tiny_bids("ds000017", SEALED)]


def images_of(tree: Path) -> list[Path]:
    return sorted(tree.glob("sub-*/func/*_bold.nii.gz"))


def sealed_space(**study: Any) -> Any:
    return tiny_space(sealed="ds000017", rerun={"top": 0}, **study)


def begin(tmp_path: Path, trees: Trees, **options: Any) -> Any:
    result = run_study(
        options.pop("space", sealed_space()),
        roots=trees,
        shards_root=tmp_path / "shards",
        folder=tmp_path / "studies" / options.pop("name", "blind"),
        make_tracker=lambda: ListTracker(),
        **options,
    )
    return result


def unseal(tmp_path: Path, trees: Trees, **options: Any) -> Any:
    folder = tmp_path / "studies" / "blind"
    return unseal_study(folder, trees, shards_root=tmp_path / "shards", **options)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_search_runs_whole_with_sealed_images_that_nobody_can_read(
    tmp_path: Path, trees: Trees
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(trees[1], kept)
    first, *others = images_of(trees[1])
    first.unlink()
    first.symlink_to("/proc/1/mem")
    for path in others:
        path.write_bytes(path.read_bytes()[:40])
    result = begin(tmp_path, trees, num_trials=2)
    told = result.to_json()
    assert (told["num_complete"] + told["num_pruned"], told["num_failed"]) == (2, 0)
    assert told["sealed"]["sentence"].startswith("Sealed and not opened: ds000017 (2 subjects)")
    assert any("4 sealed image(s) could not be read" in note for note in result.notes)
    assert not result.refused
    for path in (tmp_path / "shards").glob("*/manifest.json"):
        assert {run.key.dataset for run in ShardSet.open(path.parent).manifest.runs} == {
            "ds000002"
        }
    more = begin(tmp_path, trees, resume=True, num_trials=3)
    assert sorted(more.lines) == [0, 1, 2]

    with pytest.raises(SearchError, match="None of the 2 sealed subjects has a usable run"):
        unseal(tmp_path, trees)
    assert not (tmp_path / "studies/blind" / OPENINGS_NAME).exists()
    shutil.rmtree(trees[1])
    shutil.copytree(kept, trees[1])
    found = unseal(tmp_path, trees)
    assert found.line["num_trials"] == 3
    assert found.line["num_subjects"] == 2
    assert found.line["sealed"] == ["ds000017/sub-11", "ds000017/sub-12"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_seal_is_opened_once_and_what_is_cut_short_has_counted(
    tmp_path: Path, trees: Trees
) -> None:
    begin(tmp_path, trees, num_trials=2)
    study = tmp_path / "studies/blind"
    told: list[tuple[int, int]] = []

    def stop(title: str, done: int, total: int) -> None:
        if title == "Refitting epochs":
            told.append((done, total))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unseal(tmp_path, trees, on_step=stop)
    assert told == [(1, 2)]
    cut = Openings(study).cut_short
    assert cut is not None
    assert not (study / UNSEALED_NAME).exists()
    more = begin(tmp_path, trees, resume=True, num_trials=4)
    assert len(more.lines) == 4

    found = unseal(tmp_path, trees)
    line = found.line
    assert (line["look"], line["again"], line["opened"]) == (1, False, cut.opened)
    assert (line["trial"], line["num_trials"]) == (cut.wanted.trial, 2)
    assert found.notes[0].endswith("was cut short and is finished now.")
    assert (
        json.loads(json.dumps(found.to_json(), allow_nan=False))["score"] == line["score"]["value"]
    )
    units = {told["unit"] for told in json.loads((study / line["predictions"]).read_text())}
    assert {unit.split("/")[0] for unit in units} == {"ds000017"}
    assert len(units) == 4
    assert (study / line["weights"] / "sealed" / "model.safetensors").is_file()
    assert "too few" in line["power"]["told"]

    _check_further_look(tmp_path, trees)


def _check_further_look(tmp_path: Path, trees: Trees) -> None:
    with pytest.raises(SearchError, match=r"The seal was opened on .* --again"):
        unseal(tmp_path, trees)
    after = unseal(tmp_path, trees, again=True)
    assert (after.line["look"], after.line["num_trials"]) == (2, 4)
    assert after.line["p_corrected"] == min(1.0, 2 * after.line["p"])
    notes = begin(tmp_path, trees, resume=True).notes
    assert any("no longer blind" in note for note in notes)


def plant_copy(trees: Trees) -> None:
    """Give an open subject the image of a sealed one, under the name of another run."""
    shutil.copyfile(images_of(trees[1])[0], images_of(trees[0])[-1])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_one_person_on_both_sides_is_leakage_before_the_first_epoch_at_every_entry(
    tmp_path: Path, trees: Trees
) -> None:
    begin(tmp_path, trees, num_trials=1)
    study = tmp_path / "studies/blind"
    seal = seal_of_trial(study / "0")
    assert seal == read_seal(study)
    assert seal is not None
    alone = {"shards_root": tmp_path / "shards", "on_epoch": lambda record: None, "seal": seal}
    config = config_of_trial(study / "0")
    blind = train_single(config, trees, out=tmp_path / "alone", **alone)
    assert blind.score.num_groups == 3
    target = read_target("early_late")
    whole = prepare(
        index_bids(trees), config.preprocessing, shards_root=tmp_path / "shards", target=target
    )
    with pytest.raises(LeakageError, match=r"ds000017/sub-11.* is sealed"):
        run_ladder(ShardSet.open(whole.shards), target, config.folds, config.sequences, seal=seal)

    plant_copy(trees)
    match = r"ds000002/sub-03.*run-02, which is not sealed, has the image of ds000017/sub-11"
    with pytest.raises(LeakageError, match=match):
        begin(tmp_path, trees, name="other")
    with pytest.raises(LeakageError, match=match):
        begin(tmp_path, trees, resume=True, num_trials=2)
    with pytest.raises(LeakageError, match=match):
        train_single(config, trees, out=tmp_path / "again", **alone)
    assert not (tmp_path / "again").exists()
    with pytest.raises(LeakageError, match=match):
        unseal(tmp_path, trees)
    assert not (study / OPENINGS_NAME).exists()
    assert not (tmp_path / "studies/other/trials").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_search_that_seals_each_data_set_goes_on_where_it_stopped_and_is_opened_as_one(
    tmp_path: Path, trees: Trees
) -> None:
    """The first study stops after one of two trials, before the second has begun."""
    joint, shards = tmp_path / "studies/joint", tmp_path / "shards"
    space = tiny_space(sealed="each", rerun={"top": 0})
    write_each(plan_each(joint, space, trees))
    group = plan_each(joint, space, trees)
    studies = {name: group.space_of(name, space) for name in group.study_of}
    first, second = studies
    begin(tmp_path, trees, space=studies[first], name=group.study_of[first], num_trials=1)
    with pytest.raises(SearchError, match=f"joint-{second} holds no study"):
        unseal_each(group, trees, shards_root=shards)

    told = [
        begin(
            tmp_path,
            trees,
            space=one,
            name=group.study_of[name],
            num_trials=2 if name == first else 1,
            resume=name == first,
        ).to_json()
        for name, one in studies.items()
    ]
    assert [one["num_trials"] for one in told] == [2, 1]
    assert f"spectrum unseal {joint} BIDS_ROOT" in each_text(joint, told)
    for name in studies:
        runs = view_study(group.study(name)).manifest["data"]["runs"]
        assert all(run.split("/")[0] != name for run in runs)

    line = unseal_each(group, trees, shards_root=shards)
    people = {f"ds000002/sub-0{s}" for s in (1, 2, 3)} | {"ds000017/sub-11", "ds000017/sub-12"}
    assert set(line["sealed"]) == people == set(line["score"]["by_group"])
    assert (line["look"], line["num_trials"]) == (1, 3)
    with pytest.raises(SearchError, match="The seals were opened on"):
        unseal_each(group, trees, shards_root=shards)
