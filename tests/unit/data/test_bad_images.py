"""Every kind of bad image is refused by its code, in bounded memory; no sound one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum.data.images import OVERHEAD_BYTES, image_files, read_bold, read_image_header
from spectrum.data.simulate import SimulationConfig, simulate
from tests.bad_images import BAD, ODD, BadImage
from tests.bit_flips import flip_outcomes
from tests.clean_images import CLEAN, CleanImage
from tests.image_bytes import good_data, gz, nifti_bytes
from tests.reading_worker import PEAK_CAP_BYTES, read_in_worker

IMAGES = {image.kind: image for image in (*BAD, *ODD, *CLEAN)}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All kinds, read in one worker under a limit of memory: what it told of each."""
    folder = tmp_path_factory.mktemp("images")
    paths = {}
    for index, (kind, image) in enumerate(IMAGES.items()):
        (folder / str(index)).mkdir()
        paths[kind] = image.write(folder / str(index))
    result = read_in_worker(list(paths.values()))
    by_kind = dict(zip(paths, result["results"], strict=True))
    return {**by_kind, "peak_bytes": result["peak_bytes"], "paths": paths}


def test_the_kinds_are_many_and_have_names_of_their_own() -> None:
    assert len(BAD) >= 40
    assert len(IMAGES) == len(BAD) + len(ODD) + len(CLEAN)


@pytest.mark.parametrize("image", BAD, ids=lambda image: image.kind)
def test_a_bad_image_is_refused_by_its_code_and_its_name(
    image: BadImage, told: dict[str, Any]
) -> None:
    result = told[image.kind]
    assert (result["outcome"], result["code"]) == ("refused", image.code)
    files = image_files(told["paths"][image.kind])
    assert any(str(file) in result["message"] for file in files)
    assert result["message"].rstrip().endswith(".")
    assert result["message"].count(". ") >= 1


@pytest.mark.parametrize("image", ODD, ids=lambda image: image.kind)
def test_what_is_odd_is_read_and_told(image: BadImage, told: dict[str, Any]) -> None:
    assert told[image.kind]["outcome"] == "told"
    assert image.code in told[image.kind]["findings"]


@pytest.mark.parametrize("image", CLEAN, ids=lambda image: image.kind)
def test_a_sound_image_raises_no_alarm(image: CleanImage, told: dict[str, Any]) -> None:
    assert told[image.kind]["outcome"] == "read", told[image.kind]


def test_no_image_costs_more_memory_than_the_cap(told: dict[str, Any]) -> None:
    assert 0 < told["peak_bytes"] < PEAK_CAP_BYTES


def test_an_image_that_does_not_fit_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    large = IMAGES["bomb below the limit"].write(tmp_path)
    small = tmp_path / "small_bold.nii.gz"
    small.write_bytes(gz(nifti_bytes(good_data())))
    told = read_in_worker([large, small], cap_bytes=100 * 1024**2)
    assert [result["code"] for result in told["results"]] == ["out-of-memory", ""]


@pytest.mark.parametrize(("slope", "num_copies"), [(1.0, 1), (0.5, 3)])
def test_a_run_takes_its_voxels_as_stored_and_as_returned_and_little_more(
    tmp_path: Path, slope: float, num_copies: int
) -> None:
    data = np.random.default_rng(4).integers(0, 999, (64, 64, 32, 150)).astype(np.int16)
    path = tmp_path / "large_bold.nii.gz"
    path.write_bytes(gz(nifti_bytes(data, scl_slope=slope), level=1))
    told = read_in_worker([path])
    assert told["results"][0]["outcome"] == "read"
    assert told["peak_bytes"] < num_copies * data.nbytes + OVERHEAD_BYTES


def test_of_1000_flipped_bits_each_is_refused_or_has_no_effect(tmp_path: Path) -> None:
    outcomes = flip_outcomes(tmp_path, num_flips=1000, seed=3)
    assert outcomes.total() == 1000
    assert outcomes["changed"] == outcomes["unnamed"] == 0
    assert 0 < outcomes["equal"] < 50
    assert outcomes["bad-gzip"] > 900


def test_simulated_runs_raise_no_alarm(tmp_path: Path) -> None:
    config = SimulationConfig(truth="effect", num_subjects=1, matrix=12)
    for root in simulate(tmp_path / "bids", config):
        for path in root.rglob("*_bold.nii.gz"):
            assert read_bold(path).findings == ()


def test_real_images_raise_no_alarm(realdata: Path) -> None:
    paths = sorted((realdata / "bold").rglob("*.nii*"))
    runs = [path for path in paths if len(read_image_header(path).shape) == 4]
    assert len(runs) > 20
    for path in runs:
        assert read_bold(path).findings == ()
