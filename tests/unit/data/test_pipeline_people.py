"""Shard sets of images that stand under two names, and of runs with several echoes."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from spectrum.config import DataConfig, FoldsConfig, PreprocessingConfig, SequencesConfig
from spectrum.data.bids import index_bids
from spectrum.data.echoes import combine_echoes
from spectrum.data.folds import plan_folds
from spectrum.data.images import read_bold
from spectrum.data.pipeline import prepare
from spectrum.data.recipe import apply_recipe
from spectrum.data.sequences import build_table
from spectrum.data.shards import ShardSet
from spectrum.targets import RunRule, Target
from tests.tiny_bids import TASK, tiny_data, write_nifti, write_run, write_tiny_bids

pytestmark = pytest.mark.ray

RECIPE = PreprocessingConfig(grid="matrix", matrix=(5, 6, 4), high_pass_hz=0.0)


@pytest.fixture(autouse=True)
def _started(ray_session: None) -> None:
    """Every test here needs Ray."""


def two_data_sets(tmp_path: Path) -> list[Path]:
    """Write dsA and dsB, whose subject 02 has run 01 of dsA's subject 01, compressed anew."""
    roots = [write_tiny_bids(tmp_path / name) for name in ("dsA", "dsB")]
    for subject in ("01", "02"):
        for run in ("01", "02"):
            write_run(roots[1], (subject, TASK, run), 12, seed=int(subject + run))
    name = f"sub-{{0}}/func/sub-{{0}}_task-{TASK}_run-01_bold.nii.gz"
    raw = gzip.decompress((roots[0] / name.format("01")).read_bytes())
    (roots[1] / name.format("02")).write_bytes(gzip.compress(raw, 1, mtime=7))
    return roots


def test_a_copied_image_is_refused_and_its_people_are_one(tmp_path: Path) -> None:
    roots = two_data_sets(tmp_path)
    result = prepare(index_bids(roots), RECIPE, shards_root=tmp_path / "shards")
    assert result.num_runs == 7
    [refused] = result.refused
    assert (refused.code, refused.refuses) == ("duplicate-image", True)
    assert "dsB/sub-02" in refused.path
    assert any("dsA/sub-01, dsB/sub-02 share an image" in note for note in result.notes)
    people = {run.key.group: run.person for run in ShardSet.open(result.shards).manifest.runs}
    assert people == {
        "dsA/sub-01": "dsA/sub-01",
        "dsA/sub-02": "",
        "dsB/sub-01": "",
        "dsB/sub-02": "dsA/sub-01",
    }


def test_a_set_that_takes_runs_over_finds_the_copies_again(tmp_path: Path) -> None:
    roots = two_data_sets(tmp_path)
    for root in roots:
        alone = prepare(index_bids([root]), RECIPE, shards_root=tmp_path / "shards")
        assert alone.refused == ()
    both = prepare(index_bids(roots), RECIPE, shards_root=tmp_path / "shards")
    assert [problem.code for problem in both.refused] == ["duplicate-image"]


def test_one_image_under_two_runs_of_a_subject_is_used_as_neither(tmp_path: Path) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    name = f"sub-01/func/sub-01_task-{TASK}_run-{{}}_bold.nii.gz"
    shutil.copy(root / name.format("01"), root / name.format("02"))
    result = prepare(index_bids([root]), RECIPE, shards_root=tmp_path / "shards")
    assert [problem.code for problem in result.refused] == ["duplicate-image"] * 2
    assert result.num_runs == 2


LEARNING = Target(
    name="learning",
    classes=("early", "late"),
    paired=True,
    rules=tuple(
        RunRule(dataset="dsA", task=TASK, run=run, class_name=name, source="planted")
        for run, name in ((1, "early"), (2, "late"))
    ),
)


def with_shared_rest(tmp_path: Path) -> Path:
    """Write three subjects with two learning runs, of whom 01 and 02 share an image of rest."""
    root = three_subjects(tmp_path)
    for subject in ("01", "02"):
        write_run(root, (subject, "rest", "01"), 14, seed=77)
    return root


def three_subjects(tmp_path: Path) -> Path:
    runs = [(subject, TASK, run) for subject in ("01", "02", "03") for run in ("01", "02")]
    root = write_tiny_bids(tmp_path / "dsA", dict.fromkeys(runs, 12))
    for seed, run in enumerate(runs):
        write_run(root, run, 12, seed=seed)
    return root


def groups_on_both_sides(tmp_path: Path, root: Path, recipe: PreprocessingConfig) -> set[str]:
    result = prepare(index_bids([root]), recipe, shards_root=tmp_path / "s", target=LEARNING)
    runs = ShardSet.open(result.shards).manifest.runs
    table = build_table(runs, LEARNING, SequencesConfig(num_volumes=4))
    scheme = FoldsConfig(scheme="leave-one-subject-out")
    folds = plan_folds(table, scheme, paired=True).folds
    one = {"dsA/sub-01", "dsA/sub-02"}
    return {
        fold.name
        for fold in folds
        for training in fold.training
        for validation in fold.validation
        if {table.units[training].key.group, table.units[validation].key.group} == one
    }


@pytest.mark.parametrize("grid", ["matrix", "native"])
def test_an_image_that_no_target_labels_tells_who_is_one_person(tmp_path: Path, grid: str) -> None:
    root = with_shared_rest(tmp_path)
    matrix = (5, 6, 4) if grid == "matrix" else None
    recipe = PreprocessingConfig(grid=grid, matrix=matrix, high_pass_hz=0.0)  # type: ignore[arg-type]
    assert groups_on_both_sides(tmp_path, root, recipe) == set()


def test_a_copy_that_the_recipe_refuses_still_tells_who_is_one_person(tmp_path: Path) -> None:
    root = three_subjects(tmp_path)
    for subject in ("01", "02"):
        write_run(root, (subject, TASK, "03"), 14, seed=77, shape=(7, 8, 6))
    native = PreprocessingConfig(grid="native", high_pass_hz=0.0)
    assert groups_on_both_sides(tmp_path, root, native) == set()


def test_what_was_looked_at_is_not_looked_at_again(tmp_path: Path) -> None:
    root = with_shared_rest(tmp_path)
    table = index_bids([root])
    first = prepare(table, RECIPE, shards_root=tmp_path / "s", target=LEARNING)
    assert len(json.loads((tmp_path / "s" / "voxels.json").read_text())) == 7
    again = prepare(table, RECIPE, shards_root=tmp_path / "s", target=LEARNING)
    assert (again.reused, again.shards) == (True, first.shards)


def test_echoes_are_combined_before_the_recipe(tmp_path: Path) -> None:
    root = tmp_path / "dsE"
    paths = []
    for echo, time_s in ((1, 0.013), (2, 0.033)):
        stem = root / f"sub-01/func/sub-01_task-x_echo-{echo}"
        paths.append(write_nifti(Path(f"{stem}_bold.nii.gz"), tiny_data(11, seed=echo)))
        Path(f"{stem}_bold.json").write_text(
            json.dumps({"EchoTime": time_s, "RepetitionTime": 2.0}), encoding="utf-8"
        )
    table = index_bids([root], DataConfig(multi_echo="combine"))
    result = prepare(table, RECIPE, shards_root=tmp_path / "shards")
    shards = ShardSet.open(result.shards)
    [run] = shards.manifest.runs
    combined = combine_echoes([read_bold(path) for path in paths], [0.013, 0.033])
    expected = apply_recipe(combined, tr_s=2.0, config=RECIPE)
    assert (shards.read_run(run) == expected).all()
    assert prepare(table, RECIPE, shards_root=tmp_path / "shards").reused
