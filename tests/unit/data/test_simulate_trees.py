from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from spectrum.config.reading import config_from_mapping
from spectrum.data.bids import index_bids
from spectrum.data.simulate import SimulationConfig, planned_runs, simulate
from spectrum.data.simulate.datasets import PLANS
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, DataError
from tests.realdata import FOUR, needs_trees

GEOMETRY = {
    "ds000002": ({25, 30}, 5.0, (175, 237)),
    "ds000011": ({30}, 5.0, (103, 240)),
    "ds000017": ({33}, 4.0, (179, 182)),
    "ds000052": ({21}, 6.0, (222, 225)),
}


@pytest.fixture(scope="module")
def config() -> SimulationConfig:
    return SimulationConfig(truth="effect", num_subjects=4, matrix=8, seed=3)


@pytest.fixture(scope="module")
def roots(config: SimulationConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return simulate(tmp_path_factory.mktemp("simulated"), config)


def _digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _images(root: Path) -> list[Path]:
    return sorted(root.rglob("*_bold.nii.gz"))


def _cells(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text("utf-8").splitlines(), delimiter="\t"))


def test_geometry_tr_and_length_are_those_of_the_real_images(roots: tuple[Path, ...]) -> None:
    for root in roots:
        slices, slice_mm, (shortest, longest) = GEOMETRY[root.name]
        images = [nib.load(path) for path in _images(root)]
        assert {image.shape[2] for image in images} == slices
        for image in images:
            assert image.get_data_dtype() == np.int16
            assert image.header.get_zooms() == pytest.approx((25.0, 25.0, slice_mm, 2.0))
            assert image.header.get_xyzt_units() == ("mm", "sec")
            assert shortest <= image.shape[3] <= longest
            np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform())
            assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1


def test_what_is_written_is_what_was_simulated(
    roots: tuple[Path, ...], config: SimulationConfig
) -> None:
    for root in roots:
        keys = {
            RunKey.from_file_name(path.name, dataset=root.name): path for path in _images(root)
        }
        assert set(keys) == {key for key in planned_runs(config) if key.dataset == root.name}
        for key, path in keys.items():
            data = np.asanyarray(nib.load(path).dataobj)
            assert data.max() > 400
            assert data.min() >= 0
            folder = (
                f"sub-{key.subject}/" + (f"ses-{key.session}/" if key.session else "") + "func"
            )
            assert path.parent == root / folder
            assert path.with_name(path.name.replace("_bold.nii.gz", "_events.tsv")).is_file()


def test_the_index_finds_every_run_and_nothing_wrong(
    roots: tuple[Path, ...], config: SimulationConfig
) -> None:
    table = index_bids(roots)
    assert [run.key for run in table.runs] == sorted(planned_runs(config))
    assert table.problems == ()
    assert {run.tr_s for run in table.runs} == {2.0}


def test_the_same_seed_writes_the_same_bytes(
    roots: tuple[Path, ...], config: SimulationConfig, tmp_path: Path
) -> None:
    alone = config.model_copy(update={"datasets": ("ds000052",)})
    (root,) = simulate(tmp_path, alone)
    assert _digests(root) == _digests(roots[3])


def test_another_seed_or_truth_writes_other_images(
    tmp_path: Path, config: SimulationConfig
) -> None:
    one = config.model_copy(update={"datasets": ("ds000052",), "num_subjects": 1})
    trees = [
        simulate(tmp_path / name, one.model_copy(update=change))[0]
        for name, change in (("a", {}), ("b", {"seed": 4}), ("c", {"truth": "null"}))
    ]
    first, reseeded, null = (
        {n: d for n, d in _digests(t).items() if "bold.nii" in n} for t in trees
    )
    assert not set(first.values()) & set(reseeded.values())
    assert set(first.values()) != set(null.values())


def test_subjects_have_images_of_their_own(roots: tuple[Path, ...]) -> None:
    for root in roots:
        digests = [digest for name, digest in _digests(root).items() if "bold.nii" in name]
        assert len(set(digests)) == len(digests) > 0


def test_further_subjects_leave_the_first_ones_as_they_were(
    tmp_path: Path, config: SimulationConfig
) -> None:
    small, large = (
        simulate(
            tmp_path / str(n),
            config.model_copy(update={"datasets": ("ds000052",), "num_subjects": n}),
        )[0]
        for n in (1, 2)
    )
    of_small, of_large = _digests(small / "sub-01"), _digests(large / "sub-01")
    assert of_small == of_large


def test_gzip_members_carry_no_time_and_a_right_checksum(roots: tuple[Path, ...]) -> None:
    path = _images(roots[3])[0]
    assert path.read_bytes()[4:8] == b"\0\0\0\0"
    with gzip.open(path) as stream:
        assert len(stream.read()) > 352


def test_names_and_sidecars_say_that_nobody_was_scanned(roots: tuple[Path, ...]) -> None:
    for root in roots:
        description = json.loads((root / "dataset_description.json").read_text("utf-8"))
        assert description["Name"].endswith("(simulated)")
        assert description["Simulation"]["truth"] == "effect"
        for task in PLANS[root.name].tasks:
            sidecar = json.loads((root / f"task-{task.name}_bold.json").read_text("utf-8"))
            assert sidecar["RepetitionTime"] == 2.0
            assert sidecar["TaskName"]
    assert [(root / "participants.tsv").is_file() for root in roots] == [True, True, True, False]


def test_events_are_ordered_and_end_about_when_the_run_does(roots: tuple[Path, ...]) -> None:
    for root in roots:
        for path in root.rglob("*_events.tsv"):
            image = nib.load(str(path).replace("_events.tsv", "_bold.nii.gz"))
            header, *rows = _cells(path)
            assert {len(row) for row in rows} == {len(header)}
            onsets_s = [float(row[0]) for row in rows]
            assert onsets_s == sorted(onsets_s)
            assert onsets_s[0] >= 0
            assert -5 < image.shape[3] * 2.0 - onsets_s[-1] < 30


def test_progress_counts_every_run_once(tmp_path: Path, config: SimulationConfig) -> None:
    calls: list[tuple[int, int]] = []
    one = config.model_copy(update={"datasets": ("ds000011",), "num_subjects": 2})
    simulate(tmp_path, one, on_run_done=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 12) for number in range(1, 13)]


def test_the_same_simulation_may_be_written_again_but_nothing_else(
    tmp_path: Path, config: SimulationConfig
) -> None:
    one = config.model_copy(update={"datasets": ("ds000052",), "num_subjects": 1})
    (root,) = simulate(tmp_path, one)
    before = _digests(root)
    simulate(tmp_path, one)
    assert _digests(root) == before
    with pytest.raises(DataError, match=r"ds000052 holds other files.*remove it") as caught:
        simulate(tmp_path, one.model_copy(update={"seed": 99}))
    assert caught.value.code == "not-empty"
    assert _digests(root) == before


def test_a_foreign_folder_is_left_alone(tmp_path: Path, config: SimulationConfig) -> None:
    foreign = tmp_path / "ds000002" / "notes.txt"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        simulate(tmp_path, config)
    assert [path.name for path in tmp_path.rglob("*")] == ["ds000002", "notes.txt"]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"truth": "maybe"}, "truth"),
        ({"truth": "null", "num_subjects": 0}, "num_subjects"),
        ({"truth": "null", "datasets": ["ds000003"]}, "ds000003"),
        ({"truth": "null", "datasets": []}, "at least one"),
        ({"truth": "null", "datasets": ["ds000011", "ds000011"]}, "each one once"),
        ({"truth": "null", "matrix": 4}, "matrix"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        config_from_mapping(SimulationConfig, settings)


def test_a_configuration_cannot_be_changed(config: SimulationConfig) -> None:
    with pytest.raises(ValidationError):
        config.seed = 1


def test_subjects_beyond_the_real_ones_are_counted_on() -> None:
    assert PLANS["ds000052"].subjects(14)[-4:] == ("12", "13", "14", "15")
    assert PLANS["ds000017"].subjects(10)[-1] == "10"


@needs_trees
@pytest.mark.parametrize("real_root", FOUR, ids=lambda root: root.name)
def test_run_names_are_exactly_those_of_the_real_tree(real_root: Path) -> None:
    plan = PLANS[real_root.name]
    real = {
        RunKey.from_file_name(path.name, dataset=plan.name)
        for path in real_root.rglob("*_events.tsv")
    }
    subjects = sorted({key.subject for key in real}, key=int)
    assert plan.subjects(len(subjects)) == tuple(subjects)
    assert {key for subject in subjects for key in plan.runs_of(subject)} == real


@needs_trees
@pytest.mark.parametrize("real_root", FOUR, ids=lambda root: root.name)
def test_slices_and_lengths_are_exactly_those_of_the_real_images(real_root: Path) -> None:
    plan = PLANS[real_root.name]
    header, *rows = _cells(real_root / "images.tsv")
    for row in (dict(zip(header, cells, strict=True)) for cells in rows):
        key = RunKey.from_file_name(Path(row["path"]).name, dataset=plan.name)
        assert plan.slices_of(key.subject) == int(row["nz"])
        assert plan.slice_mm == float(row["dz_mm"])
        assert int(row["nt"]) in plan.task_of(key).files_of_length


@needs_trees
@pytest.mark.parametrize("real_root", FOUR, ids=lambda root: root.name)
def test_events_have_the_real_columns_types_and_pace(
    real_root: Path, roots: tuple[Path, ...]
) -> None:
    simulated_root = next(root for root in roots if root.name == real_root.name)
    for simulated in simulated_root.rglob("*_events.tsv"):
        real = real_root / simulated.relative_to(simulated_root)
        (header, *rows), (real_header, *real_rows) = _cells(simulated), _cells(real)
        assert header == real_header
        assert abs(len(rows) - len(real_rows)) <= 2
        types, real_types = ({row[2] for row in table} for table in (rows, real_rows))
        assert types <= real_types | {"junk"} or real_types <= types
        gaps_s, real_gaps_s = (
            np.diff([float(row[0]) for row in table]) for table in (rows, real_rows)
        )
        assert np.median(gaps_s) == pytest.approx(np.median(real_gaps_s), rel=0.25)
        assert float(rows[-1][0]) == pytest.approx(float(real_rows[-1][0]), abs=16.0)
