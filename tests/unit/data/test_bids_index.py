import gzip
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.config import DataConfig
from spectrum.data.bids import index_bids
from spectrum.data.runs import Run, RunTable
from spectrum.errors import DataError
from tests.realdata import FOUR, REALDATA, needs_bold, needs_trees
from tests.unit.data.planted_trees import SHAPE, VOXEL_MM, write_bold, write_events, write_json

FUNC = "sub-01/func/sub-01_task-rest"


def planted(root: Path) -> Path:
    """Write one run that has nothing wrong with it."""
    write_bold(root / f"{FUNC}_run-1_bold.nii.gz")
    write_events(root / f"{FUNC}_run-1_events.tsv")
    write_json(root / "task-rest_bold.json", {"RepetitionTime": 2.0})
    return root


def only_run(root: Path) -> Run:
    [run] = index_bids([root]).runs
    return run


def codes(table: RunTable) -> list[str]:
    return [problem.code for problem in table.problems]


def test_a_whole_run_is_found_without_a_problem(tmp_path: Path) -> None:
    run = only_run(planted(tmp_path / "dsA"))
    assert str(run.key) == "dsA/sub-01_task-rest_run-1"
    assert (run.shape, run.voxel_mm, run.tr_s) == (SHAPE, VOXEL_MM, 2.0)
    assert run.events_path == tmp_path / "dsA" / f"{FUNC}_run-1_events.tsv"
    assert run.is_usable
    assert not run.is_derivative
    assert run.problems == ()


def test_voxels_are_not_looked_at(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    path = write_bold(root / f"{FUNC}_run-1_bold.nii.gz", shape=(40, 50, 41, 42))
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    run = only_run(root)
    assert (run.shape, run.problems) == ((40, 50, 41, 42), ())


def test_runs_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    for name in ("dsB", "dsA"):
        for subject in ("2", "1"):
            write_bold(tmp_path / name / f"sub-{subject}/func/sub-{subject}_task-x_bold.nii")
    runs = index_bids([tmp_path / "dsB", tmp_path / "dsA"]).runs
    assert [run.key for run in runs] == sorted(run.key for run in runs)
    assert runs[0].key.group == "dsA/sub-1"
    assert len(runs) == 4


@pytest.mark.parametrize("folder", ["derivatives/x", "sourcedata", "code", ".git", "sub-01/.old"])
def test_other_folders_are_not_entered(tmp_path: Path, folder: str) -> None:
    root = planted(tmp_path / "dsA")
    write_bold(root / folder / "sub-09/func/sub-09_task-rest_bold.nii.gz")
    assert [run.key.subject for run in index_bids([root]).runs] == ["01"]


def test_what_is_no_bold_is_not_a_run(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    for name in ("sbref.nii.gz", "bold.dtseries.nii", "T1w.nii.gz", "boldref.nii.gz", "bold.tsv"):
        (root / f"{FUNC}_run-2_{name}").write_bytes(b"x")
    assert len(index_bids([root]).runs) == 1


def test_a_link_to_a_subject_is_followed_and_a_circle_ends(tmp_path: Path) -> None:
    whole = planted(tmp_path / "elsewhere")
    root = tmp_path / "dsA"
    root.mkdir()
    (root / "sub-01").symlink_to(whole / "sub-01")
    (whole / "sub-01" / "func" / "circle").symlink_to(whole / "sub-01")
    assert [str(run.key) for run in index_bids([root]).runs] == ["dsA/sub-01_task-rest_run-1"]


@pytest.mark.parametrize(
    ("tr", "unit", "tr_s"), [(2.5, "sec", 2.5), (2500.0, "msec", 2.5), (0.8, "unknown", 0.8)]
)
def test_without_a_sidecar_the_header_tells_the_tr(
    tmp_path: Path, tr: float, unit: str, tr_s: float
) -> None:
    write_bold(tmp_path / "dsA" / f"{FUNC}_bold.nii.gz", tr=tr, unit=unit)
    write_events(tmp_path / "dsA" / f"{FUNC}_events.tsv")
    run = only_run(tmp_path / "dsA")
    assert run.tr_s == pytest.approx(tr_s, abs=1e-6)
    assert not any(problem.refuses for problem in run.problems)
    assert bool(run.problems) == (unit == "unknown")


def test_without_any_tr_a_run_is_not_usable(tmp_path: Path) -> None:
    write_bold(tmp_path / "dsA" / f"{FUNC}_bold.nii.gz", tr=None)
    write_events(tmp_path / "dsA" / f"{FUNC}_events.tsv")
    run = only_run(tmp_path / "dsA")
    assert (run.tr_s, run.is_usable) == (None, False)
    assert [problem.code for problem in run.problems] == ["no-tr"]


@pytest.mark.parametrize("value", ["2.0", 0, -2.0, True, [2.0], 1e999])
def test_a_tr_that_is_no_positive_number_is_a_bad_sidecar(tmp_path: Path, value: object) -> None:
    root = planted(tmp_path / "dsA")
    write_json(root / "task-rest_bold.json", {"RepetitionTime": value})
    run = only_run(root)
    assert (run.tr_s, run.is_usable) == (None, False)
    assert [problem.code for problem in run.problems] == ["bad-sidecar"]
    assert run.problems[0].path.endswith("task-rest_bold.json")


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xff", b"", b"[" * 100_000])
def test_a_sidecar_that_is_no_json_object_refuses_unless_the_header_counts(
    tmp_path: Path, content: bytes
) -> None:
    root = planted(tmp_path / "dsA")
    (root / "task-rest_bold.json").write_bytes(content)
    run = only_run(root)
    assert [problem.code for problem in run.problems] == ["bad-sidecar"]
    assert not run.is_usable
    [trusting] = index_bids([root], DataConfig(tr_from="header")).runs
    assert (trusting.tr_s, trusting.is_usable) == (2.0, True)
    assert [problem.code for problem in trusting.problems] == ["bad-sidecar"]


def test_a_sidecar_that_was_corrected_is_read_again(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    write_json(root / "task-rest_bold.json", {"RepetitionTime": 3.0})
    assert only_run(root).tr_s is None
    write_json(root / "task-rest_bold.json", {"RepetitionTime": 2.0, "TaskName": "rest"})
    assert only_run(root).tr_s == 2.0


def test_an_events_table_without_image_is_a_run_with_a_missing_image(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    write_events(root / f"{FUNC}_run-2_events.tsv")
    table = index_bids([root])
    assert [run.shape for run in table.runs] == [SHAPE, None]
    [problem] = table.problems
    assert problem.code == "missing-image"
    assert problem.path == str(root / f"{FUNC}_run-2_bold.nii.gz")
    assert table.runs[1].tr_s == 2.0
    assert not table.runs[1].is_usable


def test_a_dangling_annex_link_is_a_missing_image(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    image = root / f"{FUNC}_run-1_bold.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/MD5E-s3--abc.nii.gz")
    run = only_run(root)
    assert [problem.code for problem in run.problems] == ["missing-image"]
    assert "datalad get" in run.problems[0].message
    assert run.events_path is not None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"no image at all", "not-gzip"),
        (gzip.compress(b"x" * 400), "not-nifti"),
    ],
)
def test_an_unreadable_header_is_named(tmp_path: Path, content: bytes, code: str) -> None:
    root = planted(tmp_path / "dsA")
    (root / f"{FUNC}_run-1_bold.nii.gz").write_bytes(content)
    run = only_run(root)
    assert [problem.code for problem in run.problems] == [code]
    assert run.shape is None
    assert run.problems[0].path in run.problems[0].message


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 1, 2)])
def test_an_image_without_four_dimensions_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    root = planted(tmp_path / "dsA")
    write_bold(root / f"{FUNC}_run-1_bold.nii.gz", shape=shape)
    assert [problem.code for problem in only_run(root).problems] == ["not-4d"]


def test_a_run_without_events_is_usable_and_says_so(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    (root / f"{FUNC}_run-1_events.tsv").unlink()
    run = only_run(root)
    assert run.is_usable
    assert [problem.code for problem in run.problems] == ["no-events"]


def test_the_same_run_twice_is_taken_once_and_named(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    write_bold(root / f"{FUNC}_run-01_bold.nii.gz")
    table = index_bids([root])
    assert len(table.runs) == 1
    assert codes(table) == ["duplicate-run"]


def test_a_name_without_task_and_a_file_in_anothers_folder_are_named(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    write_bold(root / "sub-01/func/sub-01_bold.nii.gz")
    write_bold(root / "sub-01/func/sub-02_task-rest_bold.nii.gz")
    table = index_bids([root])
    assert [str(run.key) for run in table.runs] == ["dsA/sub-01_task-rest_run-1"]
    assert codes(table) == ["bad-name", "bad-name"]
    assert {Path(problem.path).name for problem in table.problems} == {
        "sub-01_bold.nii.gz",
        "sub-02_task-rest_bold.nii.gz",
    }


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent is no folder\. Give the root of a BIDS") as err:
        index_bids([tmp_path / "absent"])
    assert err.value.code == "no-root"


def test_a_root_without_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no BOLD run\. Expected sub-") as err:
        index_bids([tmp_path])
    assert (err.value.code, err.value.path) == ("no-runs", str(tmp_path))


def test_a_folder_of_data_sets_is_answered_with_their_names(tmp_path: Path) -> None:
    planted(tmp_path / "dsA")
    write_json(tmp_path / "dsA" / "dataset_description.json", {"Name": "A"})
    with pytest.raises(DataError, match="It holds data sets: give dsA instead"):
        index_bids([tmp_path])


def test_one_data_set_cannot_be_given_twice(tmp_path: Path) -> None:
    planted(tmp_path / "one" / "dsA")
    planted(tmp_path / "two" / "dsA")
    with pytest.raises(DataError, match="2 roots are the data set dsA"):
        index_bids([tmp_path / "one" / "dsA", tmp_path / "two" / "dsA"])


def test_big_endian_and_nifti2_headers_are_read(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    voxels = np.zeros(SHAPE, dtype=">f4")
    write_bold(root / f"{FUNC}_run-1_bold.nii")
    big = nib.Nifti1Image(voxels, np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big, root / f"{FUNC}_run-2_bold.nii")
    nib.save(nib.Nifti2Image(voxels.astype("<f4"), np.eye(4)), root / f"{FUNC}_run-3_bold.nii")
    assert [run.shape for run in index_bids([root]).runs] == [SHAPE] * 3


@needs_trees
def test_the_four_trees_have_102_84_74_and_52_runs_and_each_missing_image_is_named() -> None:
    table = index_bids(FOUR)
    counts = Counter(run.key.dataset for run in table.runs)
    assert counts == {"ds000002": 102, "ds000011": 84, "ds000017": 74, "ds000052": 52}
    assert Counter(codes(table)) == {"missing-image": 312}
    paths = {problem.path for problem in table.problems}
    for root in FOUR:
        lines = (root / "images.tsv").read_text().splitlines()[1:]
        assert {str(root / line.split("\t")[0]) for line in lines} <= paths
    assert len(paths) == 312
    assert {run.tr_s for run in table.runs} == {2.0}


@needs_bold
def test_real_labelled_images_have_no_problem() -> None:
    names = ("haxby2001-1slice", "haxby2001-25mm", "studyforrest-oneback")
    table = index_bids([REALDATA / "bold" / name for name in names])
    assert table.problems == ()
    shapes = Counter((run.key.dataset, run.shape, run.tr_s) for run in table.runs)
    assert shapes == {
        ("haxby2001-1slice", (40, 20, 1, 121), 2.5): 8,
        ("haxby2001-25mm", (6, 10, 10, 121), 2.5): 8,
        ("studyforrest-oneback", (80, 80, 35, 78), 2.0): 1,
    }
