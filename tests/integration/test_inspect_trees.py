"""`spectrum inspect` over trees as they are found in the wild: right counts, never a traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.cli import main
from tests.unit.data.planted_trees import SHAPE, write_bold, write_events, write_json

FUNC = "sub-1/func/sub-1_task-x"
AFFINE = np.diag([2.0, 3.0, 4.5, 1.0])


def _with_units(image: nib.Nifti1Pair) -> nib.Nifti1Pair:
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    return image


def _sessions(root: Path) -> None:
    for session in ("a", "b2"):
        write_bold(root / f"sub-1/ses-{session}/func/sub-1_ses-{session}_task-x_bold.nii.gz")


def _widths(root: Path) -> None:
    for subject in ("1", "02", "00000003"):
        write_bold(root / f"sub-{subject}/func/sub-{subject}_task-x_run-01_bold.nii.gz")


def _directions(root: Path) -> None:
    for direction in ("AP", "PA"):
        write_bold(root / f"{FUNC}_acq-mb4_dir-{direction}_bold.nii.gz")


def _echoes(root: Path) -> None:
    for echo in (1, 2, 3):
        write_bold(root / f"{FUNC}_echo-{echo}_bold.nii.gz")
    write_bold(root / "sub-2/func/sub-2_task-x_bold.nii.gz")


def _zeros(root: Path) -> None:
    for run in ("1", "01", "2"):
        write_bold(root / f"{FUNC}_run-{run}_bold.nii.gz")


def _plain(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii")


def _pair(root: Path) -> None:
    path = root / f"{FUNC}_bold.img"
    path.parent.mkdir(parents=True)
    nib.save(_with_units(nib.Nifti1Pair(np.ones(SHAPE, dtype=np.int16), AFFINE)), path)


def _nifti2(root: Path) -> None:
    path = root / f"{FUNC}_bold.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(_with_units(nib.Nifti2Image(np.ones(SHAPE, dtype=np.float32), AFFINE)), path)


def _derivatives(root: Path) -> None:
    for space in ("", "_space-T1w", "_space-MNI152NLin6Asym_res-2"):
        write_bold(root / f"{FUNC}{space}_desc-preproc_bold.nii.gz")
    (root / f"{FUNC}_desc-confounds_timeseries.tsv").write_text("framewise_displacement\n")


def _two_trs(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz", tr=2.0)
    write_json(root / "sub-1/sub-1_task-x_bold.json", {"RepetitionTime": 3.0})


def _milliseconds(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz", tr=None)
    write_json(root / "task-x_bold.json", {"RepetitionTime": 2000})


def _odd_events(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz")
    write_events(root / f"{FUNC}_events.tsv", "50\tn/a\tn/a\n-1\t2\tgo\n")


def _broken_events(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz")
    (root / f"{FUNC}_events.tsv").write_bytes(b"onset\tduration\n1,5\t2\n")


def _names(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz")
    for name in (
        b"sub-1_task-x\xff_bold.nii.gz",
        b"sub-1_bold.nii.gz",
        b"sub-2_task-x_bold.nii.gz",
    ):
        (root / "sub-1" / "func" / os.fsdecode(name)).touch()


def _links(root: Path) -> None:
    write_bold(root / f"{FUNC}_bold.nii.gz")
    (root / "sub-2").symlink_to(root / "nowhere")
    (root / "sub-1" / "func" / "again").symlink_to(root / "sub-1")
    (root / f"{FUNC}_run-2_bold.nii.gz").symlink_to("../../.git/annex/objects/x.nii.gz")


def _folder_as_image(root: Path) -> None:
    write_bold(root / f"{FUNC}_run-1_bold.nii.gz")
    (root / f"{FUNC}_run-2_bold.nii.gz").mkdir()
    os.mkfifo(root / f"{FUNC}_run-3_bold.nii.gz")


TREES: dict[Callable[[Path], None], tuple[int, int, set[str]]] = {
    _sessions: (2, 2, {"no-events"}),
    _widths: (3, 3, {"no-events"}),
    _directions: (2, 2, {"no-events"}),
    _echoes: (2, 1, {"no-events", "multi-echo"}),
    _zeros: (2, 2, {"no-events", "duplicate-run"}),
    _plain: (1, 1, {"no-events"}),
    _pair: (1, 1, {"no-events"}),
    _nifti2: (1, 1, {"no-events"}),
    _derivatives: (1, 1, {"no-events", "other-space"}),
    _two_trs: (1, 0, {"no-events", "tr-mismatch"}),
    _milliseconds: (1, 0, {"no-events", "odd-tr"}),
    _odd_events: (1, 1, {"late-events", "early-events", "unsorted-events"}),
    _broken_events: (1, 0, {"bad-events"}),
    _names: (1, 1, {"no-events", "bad-name"}),
    _links: (2, 1, {"no-events", "missing-image", "unreadable-folder"}),
    _folder_as_image: (3, 1, {"no-events", "not-a-file"}),
}
"""Who writes a tree -> its runs, those that are usable, and the codes of its problems."""

USED_ALL_THE_SAME = {
    "no-events",
    "other-space",
    "late-events",
    "early-events",
    "unsorted-events",
}


@pytest.mark.parametrize("write", TREES, ids=lambda write: write.__name__.strip("_"))
def test_odd_trees_are_counted_and_every_problem_is_named(
    write: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "dsA"
    root.mkdir()
    write(root)
    num_runs, num_usable, codes = TREES[write]
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(root), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["num_runs"], told["num_usable"]) == (num_runs, num_usable)
    found = {problem["code"] for problem in told["problems"]}
    assert found == codes
    assert ended.value.code == (3 if codes - USED_ALL_THE_SAME else 0)
    with pytest.raises(SystemExit):
        main(["inspect", str(root)])
    assert f"{num_runs} runs, {num_usable} of them usable" in capsys.readouterr().out
