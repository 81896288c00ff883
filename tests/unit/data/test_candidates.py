from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import DataConfig
from spectrum.data.bids import index_bids
from spectrum.data.candidates import find_candidates
from spectrum.data.inheritance import find_files
from spectrum.data.runs import RunTable
from spectrum.errors import DataError
from tests.unit.data.planted_trees import write_bold, write_events, write_json

COMBINE = DataConfig(multi_echo="combine")
MNI = "space-MNI152NLin2009cAsym"


def codes(table: RunTable) -> list[str]:
    return [problem.code for problem in table.problems]


def planted_echoes(root: Path, *, times_s: tuple[float, ...] = (0.014, 0.031, 0.048)) -> Path:
    for echo, time_s in enumerate(times_s, start=1):
        stem = root / f"sub-1/func/sub-1_task-x_echo-{echo}"
        write_bold(Path(f"{stem}_bold.nii.gz"))
        write_json(Path(f"{stem}_bold.json"), {"EchoTime": time_s})
    write_events(root / "sub-1/func/sub-1_task-x_events.tsv")
    return root


def test_a_run_with_several_echoes_is_one_run_and_refused_by_name(tmp_path: Path) -> None:
    table = index_bids([planted_echoes(tmp_path / "dsA")])
    [run] = table.runs
    assert (str(run.key), run.is_usable) == ("dsA/sub-1_task-x", False)
    assert codes(table) == ["multi-echo"]
    assert "has 3 echoes" in table.problems[0].message
    assert "--multi-echo combine" in table.problems[0].message


def test_echoes_that_are_to_be_combined_come_with_their_times(tmp_path: Path) -> None:
    [run] = index_bids([planted_echoes(tmp_path / "dsA")], COMBINE).runs
    assert run.is_usable
    assert run.echo_times_s == (0.014, 0.031, 0.048)
    assert [path.name for path in run.echo_paths] == [
        f"sub-1_task-x_echo-{echo}_bold.nii.gz" for echo in (1, 2, 3)
    ]
    assert run.events_path is not None


def test_the_tenth_echo_comes_after_the_second(tmp_path: Path) -> None:
    times_s = tuple(0.01 * echo for echo in range(1, 12))
    [run] = index_bids([planted_echoes(tmp_path / "dsA", times_s=times_s)], COMBINE).runs
    assert run.echo_times_s == times_s


def test_an_echo_without_its_time_refuses_the_run(tmp_path: Path) -> None:
    root = planted_echoes(tmp_path / "dsA")
    (root / "sub-1/func/sub-1_task-x_echo-2_bold.json").unlink()
    [run] = index_bids([root], COMBINE).runs
    assert not run.is_usable
    assert [problem.code for problem in run.problems] == ["no-echo-time"]
    assert "echo-2" in run.problems[0].path


def test_echoes_of_several_shapes_refuse_the_run(tmp_path: Path) -> None:
    root = planted_echoes(tmp_path / "dsA")
    write_bold(root / "sub-1/func/sub-1_task-x_echo-2_bold.nii.gz", shape=(3, 4, 5, 7))
    [run] = index_bids([root], COMBINE).runs
    assert [problem.code for problem in run.problems] == ["unequal-echoes"]


def test_echoes_of_several_repetition_times_refuse_the_run(tmp_path: Path) -> None:
    root = planted_echoes(tmp_path / "dsA")
    sidecar = {"EchoTime": 0.031, "RepetitionTime": 3.0}
    write_json(root / "sub-1/func/sub-1_task-x_echo-2_bold.json", sidecar)
    [run] = index_bids([root], DataConfig(multi_echo="combine", tr_from="sidecar")).runs
    assert "unequal-echoes" in [problem.code for problem in run.problems]
    assert not run.is_usable


@pytest.mark.parametrize("times_s", [(0.03, 0.03), (0.048, 0.014), (0.013, 33.0)])
def test_echo_times_that_do_not_rise_within_half_a_second_refuse_the_run(
    tmp_path: Path, times_s: tuple[float, ...]
) -> None:
    [run] = index_bids([planted_echoes(tmp_path / "dsA", times_s=times_s)], COMBINE).runs
    assert [problem.code for problem in run.problems] == ["odd-echo-times"]


@pytest.mark.parametrize("space", ["", "_space-T1w", f"_{MNI}"])
@pytest.mark.parametrize("choices", [DataConfig(), COMBINE])
def test_of_echoes_and_their_combination_the_combination_is_the_run(
    tmp_path: Path, space: str, choices: DataConfig
) -> None:
    root = tmp_path / "dsA-fmriprep"
    for echo in (1, 2):
        write_bold(root / f"sub-1/func/sub-1_task-x_echo-{echo}_desc-preproc_bold.nii.gz")
    write_bold(root / f"sub-1/func/sub-1_task-x{space}_desc-preproc_bold.nii.gz")
    table = index_bids([root], choices)
    [run] = table.runs
    assert (run.is_usable, run.echo_paths) == (True, ())
    assert codes(table).count("other-output") == 2


def test_a_single_echo_is_an_ordinary_run(tmp_path: Path) -> None:
    [run] = index_bids([planted_echoes(tmp_path / "dsA", times_s=(0.03,))]).runs
    assert run.is_usable
    assert (run.key.acquisition, run.echo_paths) == ("echo-1", ())


@pytest.mark.parametrize("part", ["phase", "real", "imag"])
def test_parts_that_are_no_magnitude_are_left_out_by_name(tmp_path: Path, part: str) -> None:
    for each in ("mag", part):
        write_bold(tmp_path / "dsA" / f"sub-1/func/sub-1_task-x_part-{each}_bold.nii.gz")
    table = index_bids([tmp_path / "dsA"])
    assert [run.key.acquisition for run in table.runs] == ["part-mag"]
    assert "not-magnitude" in codes(table)


def test_acquisitions_directions_and_reconstructions_are_runs_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    for middle in ("", "acq-hi_", "dir-AP_", "dir-PA_", "rec-norm_"):
        write_bold(root / f"sub-1/func/sub-1_task-x_{middle}run-1_bold.nii.gz")
    runs = index_bids([root]).runs
    assert {run.key.acquisition for run in runs} == {"", "acq-hi", "dir-AP", "dir-PA", "rec-norm"}


@pytest.mark.parametrize("subject", ["1", "01", "007", "1234567", "patientA3"])
@pytest.mark.parametrize("run", ["", "run-1_", "run-01_", "run-10_"])
def test_subjects_of_any_width_and_runs_with_or_without_number_are_found(
    tmp_path: Path, subject: str, run: str
) -> None:
    write_bold(tmp_path / "dsA" / f"sub-{subject}/func/sub-{subject}_task-x_{run}bold.nii.gz")
    [found] = index_bids([tmp_path / "dsA"]).runs
    assert found.key.subject == subject
    assert found.key.run_number == (int(run[4:-1]) if run else None)


def test_a_compressed_and_a_plain_image_of_one_run_are_one_run(tmp_path: Path) -> None:
    for extension in (".nii", ".nii.gz"):
        write_bold(tmp_path / "dsA" / f"sub-1/func/sub-1_task-x_bold{extension}")
    table = index_bids([tmp_path / "dsA"])
    assert len(table.runs) == 1
    assert "duplicate-run" in codes(table)


def test_an_image_in_the_folder_of_another_session_is_named(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    write_bold(root / "sub-1/ses-a/func/sub-1_ses-a_task-x_bold.nii.gz")
    write_bold(root / "sub-1/ses-a/func/sub-1_ses-b_task-x_bold.nii.gz")
    table = index_bids([root])
    assert [run.key.session for run in table.runs] == ["a"]
    [problem] = [p for p in table.problems if p.code == "bad-name"]
    assert "lies in the folder of ses-a" in problem.message


def planted_spaces(root: Path, *, runs: tuple[str, ...] = ("1", "2")) -> Path:
    for run in runs:
        for space in ("", f"{MNI}_", f"{MNI}_res-2_", "space-T1w_"):
            name = f"sub-1_task-x_run-{run}_{space}desc-preproc_bold.nii.gz"
            write_bold(root / f"sub-1/func/{name}")
    return root


def test_of_several_spaces_one_is_taken_and_the_others_are_told_once(tmp_path: Path) -> None:
    table = index_bids([planted_spaces(tmp_path / "dsA-fmriprep")])
    assert [run.key.acquisition for run in table.runs] == [f"{MNI}_desc-preproc"] * 2
    [problem] = [p for p in table.problems if p.code == "other-space"]
    assert problem.message.startswith("6 images are other outputs")
    assert "MNI152NLin2009cAsym (2), T1w (2), native (2)" in problem.message


@pytest.mark.parametrize(
    ("space", "acquisition"), [("T1w", "space-T1w_desc-preproc"), ("native", "desc-preproc")]
)
def test_the_space_asked_for_is_taken(tmp_path: Path, space: str, acquisition: str) -> None:
    root = planted_spaces(tmp_path / "dsA-fmriprep")
    runs = index_bids([root], DataConfig(space=space)).runs
    assert [run.key.acquisition for run in runs] == [acquisition] * 2


def test_a_run_without_the_space_asked_for_is_refused_by_name(tmp_path: Path) -> None:
    root = planted_spaces(tmp_path / "dsA-fmriprep")
    (root / "sub-1/func/sub-1_task-x_run-2_space-T1w_desc-preproc_bold.nii.gz").unlink()
    table = index_bids([root], DataConfig(space="T1w"))
    assert [run.key.run for run in table.runs] == ["1"]
    [problem] = [p for p in table.problems if p.code == "no-such-space"]
    assert problem.refuses
    assert "run-2" in problem.path


def test_a_space_that_no_run_has_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    root = planted_spaces(tmp_path / "dsA-fmriprep")
    with pytest.raises(DataError, match="the nearest is T1w"):
        index_bids([root], DataConfig(space="T1"))


def test_a_space_asked_for_means_nothing_to_raw_data(tmp_path: Path) -> None:
    write_bold(tmp_path / "dsA" / "sub-1/func/sub-1_task-x_bold.nii.gz")
    assert len(index_bids([tmp_path / "dsA"], DataConfig(space="T1w")).runs) == 1


names = st.lists(
    st.builds(
        "sub-{}_task-{}{}{}{}_bold.nii.gz".format,
        st.sampled_from(["1", "01"]),
        st.sampled_from(["x", "X"]),
        st.sampled_from(["", "_run-1", "_run-01", "_run-2"]),
        st.sampled_from(["", "_echo-1", "_echo-2"]),
        st.sampled_from(["", "_part-phase", f"_{MNI}", f"_{MNI}_desc-preproc", "_desc-odd"]),
    ),
    min_size=1,
    unique=True,
)


@given(names)
def test_every_image_is_of_one_run_or_named_as_left_out(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        path = root / name.split("_")[0] / "func" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    candidates, problems = find_candidates(find_files(root), "dsA", DataConfig())
    taken = [file.path.name for candidate in candidates for file in candidate.files]
    left_out = [Path(p.path).name for p in problems if p.code != "other-space"]
    others = sum(int(p.message.split()[0]) for p in problems if p.code == "other-space")
    assert len(taken) == len(set(taken))
    assert not set(taken) & set(left_out)
    assert len(taken) + len(left_out) + others == len(names)
    assert len({candidate.key for candidate in candidates}) == len(candidates)
