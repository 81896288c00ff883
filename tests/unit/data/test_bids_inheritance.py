from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.bids import dataset_name, index_bids
from spectrum.data.inheritance import BidsFile
from tests.unit.data.planted_trees import write_bold, write_events, write_json

IMAGE = "sub-1/ses-a/func/sub-1_ses-a_task-x_acq-hi_run-02_bold.nii.gz"

LEVELS = (
    "task-x_bold.json",
    "task-x_acq-hi_bold.json",
    "sub-1/sub-1_task-x_bold.json",
    "sub-1/ses-a/sub-1_ses-a_task-x_bold.json",
    "sub-1/ses-a/func/sub-1_ses-a_task-x_acq-hi_bold.json",
    "sub-1/ses-a/func/sub-1_ses-a_task-x_acq-hi_run-2_bold.json",
)
"""From the most general sidecar to the most special one."""

FOREIGN = (
    "task-xx_bold.json",
    "task-x_sbref.json",
    "task-x_acq-lo_bold.json",
    "task-x_dir-AP_bold.json",
    "sub-1/sub-1_task-x_run-12_bold.json",
    "sub-1/ses-b/func/sub-1_ses-b_task-x_bold.json",
    "sub-2/sub-2_task-x_bold.json",
    "sub-1/ses-a/anat/sub-1_ses-a_task-x_bold.json",
)


@pytest.mark.parametrize("present", [LEVELS[: i + 1] for i in range(len(LEVELS))])
def test_the_most_special_sidecar_wins(tmp_path: Path, present: tuple[str, ...]) -> None:
    root = tmp_path / "dsA"
    write_bold(root / IMAGE, tr=None)
    for index, name in enumerate(present):
        write_json(root / name, {"RepetitionTime": 1.0 + index})
    [run] = index_bids([root]).runs
    assert run.tr_s == len(present)


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_alone_speaks_for_the_image(tmp_path: Path, name: str) -> None:
    write_bold(tmp_path / "dsA" / IMAGE, tr=None)
    write_json(tmp_path / "dsA" / name, {"RepetitionTime": 0.7})
    [run] = index_bids([tmp_path / "dsA"]).runs
    assert run.tr_s == 0.7


@pytest.mark.parametrize("name", FOREIGN)
def test_sidecars_of_other_images_do_not_speak(tmp_path: Path, name: str) -> None:
    write_bold(tmp_path / "dsA" / IMAGE, tr=9.0)
    write_json(tmp_path / "dsA" / name, {"RepetitionTime": 0.7})
    [run] = index_bids([tmp_path / "dsA"]).runs
    assert run.tr_s == 9.0


def test_a_special_sidecar_without_tr_leaves_the_general_one(tmp_path: Path) -> None:
    write_bold(tmp_path / "dsA" / IMAGE, tr=None)
    write_json(tmp_path / "dsA" / LEVELS[0], {"RepetitionTime": 0.7})
    write_json(tmp_path / "dsA" / LEVELS[-1], {"FlipAngle": 90})
    [run] = index_bids([tmp_path / "dsA"]).runs
    assert run.tr_s == 0.7


def test_inherited_events_speak_for_several_runs_and_are_no_run(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    for run in ("1", "2"):
        write_bold(root / f"sub-1/func/sub-1_task-x_run-{run}_bold.nii.gz")
    general = write_events(root / "task-x_events.tsv")
    special = write_events(root / "sub-1/func/sub-1_task-x_run-02_events.tsv")
    table = index_bids([root])
    assert [run.events_path for run in table.runs] == [general, special]
    assert table.problems == ()


entities = st.dictionaries(
    st.sampled_from(["sub", "ses", "task", "acq", "run"]), st.sampled_from(["1", "2", "02"])
)


@given(entities, entities)
def test_speaking_for_is_being_part_of(one: dict[str, str], other: dict[str, str]) -> None:
    def file(values: dict[str, str]) -> BidsFile:
        return BidsFile(Path("_".join([*(f"{k}-{v}" for k, v in values.items()), "bold.nii"])))

    both = file({**one, **other})
    assert file(other).speaks_for(both)
    assert file(one).speaks_for(file(one))
    if file(one).speaks_for(file(other)) and file(other).speaks_for(file(one)):
        assert file(one).entities == file(other).entities


MNI = "space-MNI152NLin2009cAsym"


def planted_fmriprep(root: Path) -> Path:
    stem = root / "sub-1/func/sub-1_task-x_run-1"
    write_bold(Path(f"{stem}_{MNI}_res-2_desc-preproc_bold.nii.gz"))
    write_json(Path(f"{stem}_{MNI}_res-2_desc-preproc_bold.json"), {"RepetitionTime": 2.0})
    for name in (
        f"_{MNI}_res-2_desc-brain_mask.nii.gz",
        f"_{MNI}_res-1_desc-brain_mask.nii.gz",
        "_space-T1w_desc-brain_mask.nii.gz",
        "_desc-brain_mask.nii.gz",
        "_desc-confounds_timeseries.tsv",
        f"_{MNI}_res-2_boldref.nii.gz",
    ):
        Path(f"{stem}{name}").write_bytes(b"")
    Path(str(stem).replace("run-1", "run-2") + "_desc-confounds_timeseries.tsv").write_bytes(b"")
    return root


def test_outputs_of_fmriprep_come_with_mask_and_confounds(tmp_path: Path) -> None:
    root = planted_fmriprep(tmp_path / "dsA-fmriprep")
    [run] = index_bids([root]).runs
    stem = "sub-1_task-x_run-1"
    assert run.is_derivative
    assert run.key.dataset == "dsA"
    assert run.key.acquisition == f"{MNI}_res-2_desc-preproc"
    assert run.brain_mask_path is not None
    assert run.brain_mask_path.name == f"{stem}_{MNI}_res-2_desc-brain_mask.nii.gz"
    assert run.confounds_path is not None
    assert run.confounds_path.name == f"{stem}_desc-confounds_timeseries.tsv"


def test_events_of_derivatives_come_from_the_raw_tree_above(tmp_path: Path) -> None:
    raw = tmp_path / "dsA"
    events = write_events(raw / "sub-1/func/sub-1_task-x_run-01_events.tsv")
    planted_fmriprep(raw / "derivatives" / "fmriprep")
    table = index_bids([raw / "derivatives" / "fmriprep"])
    assert [run.events_path for run in table.runs] == [events]
    assert [run.key.dataset for run in table.runs] == ["dsA"]
    assert table.problems == ()


def test_raw_and_derivatives_of_one_data_set_are_the_same_people(tmp_path: Path) -> None:
    assert dataset_name(tmp_path / "dsA" / "derivatives" / "anything") == "dsA"
    assert dataset_name(tmp_path / "dsA-fmriprep") == dataset_name(tmp_path / "dsA") == "dsA"


def test_the_tr_of_derivatives_without_sidecar_is_that_of_the_raw_tree(tmp_path: Path) -> None:
    raw = tmp_path / "dsA"
    root = raw / "derivatives" / "fmriprep"
    write_json(raw / "task-x_bold.json", {"RepetitionTime": 1.7})
    write_bold(root / f"sub-1/func/sub-1_task-x_{MNI}_desc-preproc_bold.nii.gz", tr=None)
    [run] = index_bids([root]).runs
    assert run.tr_s == 1.7
