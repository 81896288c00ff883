"""Shard sets of images that stand under two names, and of runs with several echoes."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from spectrum.config import DataConfig, PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.echoes import combine_echoes
from spectrum.data.images import read_bold
from spectrum.data.pipeline import prepare
from spectrum.data.recipe import apply_recipe
from spectrum.data.shards import ShardSet
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
