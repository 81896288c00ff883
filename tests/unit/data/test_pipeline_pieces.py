"""What a worker does with one run, without Ray: masks, confounds, refusals, remembered digests."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.confounds import MOTION_NAMES
from spectrum.data.digests import DigestCache
from spectrum.data.images import digest_file
from spectrum.data.pieces import RunJob, finish_run, piece_path, run_job
from spectrum.data.runs import Run
from spectrum.data.shards import ShardSet, read_piece
from spectrum.entities import RunKey
from tests.tiny_bids import SHAPE, tiny_affine, tiny_data, write_nifti

RECIPE = PreprocessingConfig(grid="native", drop_initial_volumes=2, fwhm_mm=0.0)
KEY = RunKey(dataset="ds1", subject="01", task="rest", acquisition="space-MNI152NLin2009cAsym")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run as fMRIPrep leaves it: image, mask and confounds."""
    image = write_nifti(tmp_path / "bold.nii.gz", tiny_data(11, seed=1))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:6, 3:6] = 1
    write_nifti(tmp_path / "mask.nii.gz", mask)
    rows = ["framewise_displacement\tcsf", "n/a\t1", *(f"0.{i}\t1" for i in range(10))]
    (tmp_path / "confounds.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Run(
        key=KEY,
        path=image,
        tr_s=2.0,
        shape=(*SHAPE, 11),
        voxel_mm=(5.0, 6.0, 7.0),
        confounds_path=tmp_path / "confounds.tsv",
        brain_mask_path=tmp_path / "mask.nii.gz",
        is_derivative=True,
    )


def _job(run: Run, **settings: object) -> RunJob:
    folder = run.path.parent / "pieces"
    folder.mkdir(exist_ok=True)
    return run_job(run, (), RECIPE.model_copy(update=settings), folder)


def test_the_mask_and_the_displacement_of_a_derivative_are_used(run: Run) -> None:
    job = _job(run)
    found = finish_run(job).run
    assert found is not None
    path = piece_path(Path(job.folder), KEY, found.fingerprint)
    assert read_piece(path) == found
    at = found.model_copy(update={"shard": path.name})
    shards = ShardSet(path=path.parent, manifest=None)  # type: ignore[arg-type]
    inside = (shards.read_run(at) != 0).any(axis=0)
    expected = np.zeros(SHAPE, bool)
    expected[2:5, 2:6, 3:6] = True
    np.testing.assert_array_equal(inside, expected.T)
    np.testing.assert_allclose(
        shards.read_volume_quality(at)["fd"], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    )
    assert found.quality["fd_mean"] == pytest.approx(0.45)


def test_every_input_decides_the_fingerprint(run: Run) -> None:
    def of(changed: Run) -> str:
        found = finish_run(_job(changed)).run
        assert found is not None
        return found.fingerprint

    prints = [
        of(run),
        of(replace(run, brain_mask_path=None)),
        of(replace(run, confounds_path=None)),
        of(replace(run, is_derivative=False)),
        of(replace(run, tr_s=2.5)),
    ]
    assert len(set(prints)) == len(prints)
    assert of(run) == prints[0]


def test_digests_of_all_inputs_come_back_with_their_files_states(run: Run) -> None:
    outcome = finish_run(_job(run))
    job = _job(run)
    assert list(outcome.digests) == [str(path) for path in job.input_paths]
    for path in job.input_paths:
        size, mtime_ns, sha256 = outcome.digests[str(path)]
        assert (size, mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
        assert sha256 == digest_file(path)
    assert outcome.run is not None
    sha256s = tuple(entry[2] for entry in outcome.digests.values())
    assert job.fingerprint_for(sha256s) == outcome.run.fingerprint


def test_a_mask_of_another_grid_is_refused_with_its_path(run: Run) -> None:
    moved = tiny_affine()
    moved[0, 3] += 1.0
    mask_path = run.brain_mask_path
    assert mask_path is not None
    write_nifti(mask_path, np.ones(SHAPE, np.uint8), affine=moved)
    refusal = finish_run(_job(run)).refusal
    assert refusal is not None
    assert (refusal.code, refusal.path) == ("bad-mask", str(mask_path))


def test_confounds_of_another_run_are_refused_with_their_path(run: Run) -> None:
    path = run.confounds_path
    assert path is not None
    path.write_text("framewise_displacement\n0.1\n", encoding="utf-8")
    outcome = finish_run(_job(run))
    assert outcome.run is None
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.path) == ("bad-confounds", str(path))
    assert len(outcome.digests) == 3


def test_the_table_of_a_derivative_gives_its_motion(run: Run) -> None:
    path = run.confounds_path
    assert path is not None
    refusal = finish_run(_job(run, confounds="motion6")).refusal
    assert refusal is not None
    assert (refusal.code, refusal.path) == ("no-motion", str(path))
    motion = np.random.default_rng(1).normal(size=(11, 6))
    rows = ["\t".join(MOTION_NAMES), *("\t".join(map(repr, row)) for row in motion.tolist())]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    plain, fitted = (
        finish_run(_job(run, confounds=confounds, detrend=False)).run
        for confounds in ("none", "motion6")
    )
    assert plain is not None
    assert fitted is not None
    assert plain.content_sha256 != fitted.content_sha256


def test_a_run_without_a_table_is_refused_where_the_recipe_needs_one(run: Run) -> None:
    bare = replace(run, confounds_path=None)
    for settings, code in (
        ({"confounds": "motion24"}, "no-motion"),
        ({"tissue_signals": True}, "no-confounds"),
    ):
        refusal = finish_run(_job(bare, **settings)).refusal
        assert refusal is not None
        assert (refusal.code, refusal.path) == (code, str(run.path))


def test_the_tables_sidecar_decides_the_fingerprint_only_where_it_is_read(run: Run) -> None:
    path = run.confounds_path
    assert path is not None
    path.with_suffix(".json").write_text("{}", encoding="utf-8")
    assert len(_job(run).input_paths) == 3
    job = _job(run, compcor_components=2)
    assert job.input_paths[-1] == path.with_suffix(".json")
    prints = {job.fingerprint_for(("a", "b", "c", digest)) for digest in "de"}
    assert len(prints) == 2


def test_a_refusal_by_the_recipe_names_the_run_and_its_image(run: Run) -> None:
    refusal = finish_run(_job(run, drop_initial_volumes=11)).refusal
    assert refusal is not None
    assert refusal.code == "too-short"
    assert refusal.path == str(run.path)
    assert refusal.message.startswith(f"{KEY}: the run has 0 volumes")


def test_an_image_that_is_gone_is_refused_without_a_digest(run: Run) -> None:
    job = _job(run)
    run.path.unlink()
    outcome = finish_run(job)
    assert outcome.refusal is not None
    assert outcome.refusal.code == "missing-image"
    assert str(run.path) not in outcome.digests


def test_a_digest_is_known_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    cache = DigestCache.read(tmp_path / "digests.json")
    assert cache.find(path) is None
    first = cache.measure(path)
    cache.write_new()
    again = DigestCache.read(tmp_path / "digests.json")
    assert again.find(path) == first == digest_file(path)
    before = (tmp_path / "digests.json").stat().st_mtime_ns
    again.write_new()
    assert (tmp_path / "digests.json").stat().st_mtime_ns == before
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert again.find(path) is None
    assert again.measure(path) == digest_file(path) != first


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_damaged_cache_knows_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "digests.json").write_text(text, encoding="utf-8")
    assert not DigestCache.read(tmp_path / "digests.json").entries


def test_two_writers_of_the_cache_lose_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    one, two = (DigestCache.read(tmp_path / "digests.json") for _ in range(2))
    one.measure(tmp_path / "a")
    two.measure(tmp_path / "b")
    one.write_new()
    two.write_new()
    assert len(DigestCache.read(tmp_path / "digests.json").entries) == 2


def test_a_run_that_does_not_fit_into_memory_is_refused_and_not_raised(run: Run) -> None:
    """The grid takes more bytes than a process can address."""
    outcome = finish_run(_job(run, grid="matrix", matrix=(10**5, 10**5, 10**5), brain_mask=False))
    assert outcome.run is None
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.path) == ("out-of-memory", str(run.path))
    assert str(KEY) in outcome.refusal.message
    assert str(run.path) in outcome.digests
