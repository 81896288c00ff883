"""A whole study on a tiny tree: begin, resume, refuse, and what its folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spectrum.cli import app
from spectrum.data.bids import index_bids
from spectrum.errors import SearchError, SpectrumError
from spectrum.evaluation.dissociation_tasks import TASKS
from spectrum.evaluation.ladder import LINEAR
from spectrum.search.exporting import export_model
from spectrum.search.ladders import LADDER_NAME
from spectrum.search.single import train_single
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.study import StudyResult, plan_study, run_study
from spectrum.search.trial_source import config_of_trial
from spectrum.search.view import view_study
from spectrum.training.predicting import predict_table
from tests.tiny_bids import TASK
from tests.unit.search.fakes import ListTracker

RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3) for r in (1, 2)}


def tiny_space(**study: Any) -> SearchSpace:
    return space_from_mapping(
        {
            "name": "tiny",
            "base": {
                "folds": {"scheme": "leave-one-subject-out"},
                "preprocessing": {"voxel_mm": 20.0, "high_pass_hz": 0.0},
                "sequences": {"num_volumes": 3, "stride": 5},
                "model": {"embed_dim": 8, "depth": 1, "num_heads": 2, "attention_heads": 2},
                "training": {"num_epochs": 2, "batch_size": 8, "min_steps_per_epoch": 2},
            },
            "study": {"num_trials": 3, "rerun": {"top": 1, "seeds": 2}, **study},
            "parameters": {
                "preprocessing.fwhm_mm": {"choice": [0, 6]},
                "model.embed_dim": {"choice": [8, 12]},
            },
        }
    )


def search(
    tmp_path: Path, root: Path, space: SearchSpace, *, name: str = "tiny", **options: Any
) -> tuple[StudyResult, ListTracker]:
    tracker = ListTracker()
    result = run_study(
        space,
        roots=[root],
        shards_root=tmp_path / "shards",
        folder=tmp_path / "studies" / name,
        make_tracker=lambda: tracker,
        **options,
    )
    return result, tracker


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_study_goes_from_bids_to_a_best_trial_and_is_continued_exactly(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root, space = tiny_bids(runs=RUNS), tiny_space()
    plan = plan_study(space, roots=[root], shards_root=tmp_path / "shards")
    assert (plan["num_runs"], plan["shard_sets"], plan["shard_sets_ready"]) == (6, 2, 0)
    result, tracker = search(tmp_path, root, space)
    told = result.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["num_trials"], told["num_failed"]) == (3, 0)
    assert sum("training.feeding: node" in note for note in told["notes"]) == 1
    assert told["best"]["floor"] == told["floor"]["score"]
    assert set(told["default"]) == {"score", "ci95", "rerun"}
    assert len(told["best"]["rerun"]["scores"]) == len(told["default"]["rerun"]["scores"]) == 2
    assert told["selection"]["winner"] == told["best"]["trial"]
    assert {end[0] for end in tracker.ends} == {0, 1, 2}
    _check_folder(tmp_path / "studies/tiny", told["best"]["trial"])
    _check_models(tmp_path, root, told)

    with pytest.raises(SearchError, match=r"exists already\. Continue it with --resume"):
        search(tmp_path, root, space)
    _check_finished(tmp_path, root, told["ladder"])
    with pytest.raises(SearchError, match=r"space\.study\.seed was 0 and is 1.* --fork"):
        search(tmp_path, root, tiny_space(seed=1), resume=True, num_trials=4)
    _check_fork(tmp_path, root)
    _check_name_is_kept(tmp_path, root)

    more, tracker = search(tmp_path, root, space, resume=True, num_trials=4)
    assert [number for number in tracker.starts if number < 100] == [3]
    assert sorted(more.lines) == [0, 1, 2, 3]
    (root / "sub-01/func" / f"sub-01_task-{TASK}_run-02_bold.nii.gz").unlink()
    with pytest.raises(SearchError, match="was begun with other inputs"):
        search(tmp_path, root, space, resume=True, num_trials=5)


def _check_finished(tmp_path: Path, root: Path, ladder: dict[str, Any]) -> None:
    """A study that is over is not run again, but gets the ladder that it lacks."""
    (tmp_path / "studies/tiny" / LADDER_NAME).unlink()
    again, silent = search(tmp_path, root, tiny_space(), resume=True)
    assert len(again.notes) == 1
    assert again.notes[0].startswith(
        "All 3 trials are done; nothing was run, nor the data compared"
    )
    assert silent.starts == []
    assert again.to_json()["ladder"] == ladder


def _check_stated(study: Path, told: dict[str, Any]) -> None:
    """What the search told of floor and ladder stands in the statement of the study."""
    ended = CliRunner().invoke(app, ["evaluate", str(study), "--json"])
    assert ended.exit_code == 0, ended.output
    stated = json.loads((study / "statement.json").read_text())
    assert json.loads(ended.stdout)["score"] == stated["score"] == told["best"]["score"]
    assert stated["floor"]["score"] == told["floor"]["score"]
    rungs = {rung["name"]: rung["score"] for rung in stated["ladder"]["rungs"]}
    assert rungs["floor"] == pytest.approx(told["floor"]["score"])
    assert {name: score for name, score in rungs.items() if name in LINEAR[2:]} == (
        told["best"]["ladder"]
    )
    missing = {name for name in LINEAR if f"The rung {name} is missing" in str(told["notes"])}
    assert set(rungs) | missing == set(LINEAR)
    assert not set(rungs) & missing
    assert {name: list(one) for name, one in stated["tasks"].items()} == {
        name: ["skipped"] for name in TASKS
    }
    page = (study / "statement.html").read_text()
    assert all(f"<td>{name}</td><td>{score:.3f}</td>" in page for name, score in rungs.items())


def _check_models(tmp_path: Path, root: Path, told: dict[str, Any]) -> None:
    _check_stated(tmp_path / "studies/tiny", told)
    _check_exported(tmp_path, root)
    _check_trained_alone(tmp_path, root)


def _check_exported(tmp_path: Path, root: Path) -> None:
    """The model of the selected trial says of the study's runs what its folds said."""
    study = view_study(tmp_path / "studies/tiny")
    assert study.best is not None
    model = export_model(study.path, tmp_path / "model")
    assert model.header.score.selected
    assert "selected: highest mean over 2 new seeds" in model.header.score.told
    table = index_bids([root], model.header.config.data)
    told = predict_table(model, table, shards_root=tmp_path / "shards").predictions
    before = {p.unit: p for p in study.predictions_of(study.best["number"])}
    assert len(told) == len(before) == 6
    for again in told:
        probabilities = before[again.unit.name].probabilities
        assert list(again.probabilities.values()) == pytest.approx(probabilities, abs=1e-6)
        assert again.folds == (before[again.unit.name].fold,)


def _check_trained_alone(tmp_path: Path, root: Path) -> None:
    """A trial trained alone, from its study's word, has the score it had there."""
    study = view_study(tmp_path / "studies/tiny")
    for line in (study.complete[-1], study.reruns[0]):
        number = str(line["number"])
        again = train_single(
            config_of_trial(study.path / number),
            [root],
            shards_root=tmp_path / "shards",
            out=tmp_path / "alone" / number,
            on_epoch=lambda record: None,
        )
        assert json.loads(json.dumps(again.score.to_json())) == line["score"]


def _check_fork(tmp_path: Path, root: Path) -> None:
    """A fork of another seed begins with the parent's trials told, and says whose they are."""
    forked, _ = search(
        tmp_path,
        root,
        tiny_space(seed=1, rerun={"top": 0}),
        name="forked",
        num_trials=1,
        fork=tmp_path / "studies/tiny",
    )
    num_complete = sum(
        line["state"] == "complete" for line in view_study(tmp_path / "studies/tiny").lines
    )
    assert any(note.startswith(f"{num_complete} finished trials of") for note in forked.notes)
    parent = view_study(tmp_path / "studies/forked").manifest["parent"]
    assert parent["name"] == "tiny"
    assert "space.study.seed was 0 and is 1" in parent["differences"]


def _check_name_is_kept(tmp_path: Path, root: Path) -> None:
    """A fork that cannot be begun says why, and its name can be used again."""
    space = tiny_space(seed=2, objectives=["score", "seconds"])
    with pytest.raises(SearchError, match=r"^--fork .* did not measure seconds"):
        search(tmp_path, root, space, name="kept", fork=tmp_path / "studies/tiny")
    assert not (tmp_path / "studies/kept/study.json").exists()
    (tmp_path / "studies/kept/.floor.json.123").touch()
    result, _ = search(tmp_path, root, space, name="kept", num_trials=1)
    assert len(result.lines) == 1


def _check_folder(folder: Path, best: int) -> None:
    manifest = json.loads((folder / "study.json").read_text())
    assert len(manifest["data"]["runs"]) == 6
    assert manifest["space"]["parameters"]["model.embed_dim"] == {"choice": [8, 12]}
    folds = json.loads((folder / "folds.json").read_text())["folds"]
    assert len(folds) == 3
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["state"] in ("complete", "pruned"), line["error"]
    default = json.loads((folder / "default.json").read_text())
    assert default["score"] == next(line["score"] for line in lines if line["number"] == 0)
    predictions = json.loads((folder / f"trials/{best}/predictions.json").read_text())
    assert len({p["unit"] for p in predictions}) == len(predictions) == 6
    assert json.loads((folder / "best/trial.json").read_text())["number"] == best
    checkpoints = {p.parent.name for p in folder.glob("best/checkpoints/*/*.safetensors")}
    assert len(checkpoints) == 3 or len(list(folder.glob("best/**/*.safetensors"))) == 3
    assert not list(folder.glob("trials/**/*.pkl"))


def test_a_study_that_was_never_begun_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="There is no study at"):
        search(tmp_path, tmp_path / "bids", tiny_space(), resume=True)
    assert not (tmp_path / "studies").exists()


def test_a_study_to_begin_from_that_is_none_costs_no_name(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"^study\.warm_start .*nowhere"):
        search(tmp_path, tmp_path / "bids", tiny_space(warm_start=[str(tmp_path / "nowhere")]))
    assert not (tmp_path / "studies").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("name", "is_free"),
    [
        ("folds.json", True),
        (".folds.json.part", True),
        (".floor.json.4711", True),
        (".study.json.4711", True),
        ("notes.txt", False),
        ("trials.jsonl", False),
    ],
)
def test_what_a_killed_start_leaves_does_not_block_the_folder(
    tmp_path: Path, name: str, is_free: bool
) -> None:
    (tmp_path / "studies/tiny").mkdir(parents=True)
    (tmp_path / "studies/tiny" / name).touch()
    with pytest.raises(SpectrumError) as caught:
        search(tmp_path, tmp_path / "no tree", tiny_space())
    assert ("exists already" not in str(caught.value)) is is_free


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_study_is_continued_on_the_disk_that_its_trials_left_need(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root, shards = tiny_bids(runs=RUNS), tmp_path / "shards"

    def grids(**study: Any) -> SearchSpace:
        mapping = tiny_space(rerun={"top": 0}, **study).model_dump(mode="python")
        mapping["parameters"] = {"preprocessing.voxel_mm": {"choice": [18.0, 20.0]}}
        return space_from_mapping(mapping)

    plan = plan_study(grids(), roots=[root], shards_root=shards)
    disk = {"disk_gib": 0.75 * plan["disk"]["spatial_bytes"] / 1024**3}
    search(tmp_path, root, grids(), num_trials=1)
    with pytest.raises(SearchError, match="2 spatial products"):
        search(tmp_path, root, grids(**disk), resume=True, num_trials=3)
    more, _ = search(tmp_path, root, grids(**disk), resume=True, num_trials=2)
    assert sorted(more.lines) == [0, 1]
