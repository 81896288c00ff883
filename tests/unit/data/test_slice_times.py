from pathlib import Path

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.runs import Run
from tests.unit.data.planted_trees import SHAPE, write_bold, write_events, write_json

NUM_SLICES = SHAPE[2]
TIMES_S = [0.0, 0.8, 0.4, 1.2, 1.6]


def run_with(root: Path, sidecar: dict[str, object]) -> Run:
    write_bold(root / "sub-1/func/sub-1_task-x_bold.nii.gz", tr=2.0)
    write_events(root / "sub-1/func/sub-1_task-x_events.tsv")
    write_json(root / "task-x_bold.json", {"RepetitionTime": 2.0, **sidecar})
    [run] = index_bids([root]).runs
    return run


def test_a_run_without_slice_timing_has_none(tmp_path: Path) -> None:
    run = run_with(tmp_path / "dsA", {})
    assert (run.slice_times_s, run.problems) == (None, ())


@pytest.mark.parametrize("direction", [None, "k", "k-"])
def test_times_run_along_the_third_axis(tmp_path: Path, direction: str | None) -> None:
    further = {} if direction is None else {"SliceEncodingDirection": direction}
    run = run_with(tmp_path / "dsA", {"SliceTiming": TIMES_S, **further})
    expected = TIMES_S[::-1] if direction == "k-" else TIMES_S
    assert run.slice_times_s == tuple(expected)
    assert run.problems == ()


@pytest.mark.parametrize("times_s", [TIMES_S[:-1], [*TIMES_S, 0.1], [0, 400, 800, 1200, 1600]])
def test_times_that_are_not_the_images_are_told_and_not_taken(
    tmp_path: Path, times_s: list[float]
) -> None:
    run = run_with(tmp_path / "dsA", {"SliceTiming": times_s})
    assert run.is_usable
    assert run.slice_times_s is None
    [problem] = run.problems
    assert problem.code == "slice-times"
    assert f"{len(times_s)} times" in problem.message


@pytest.mark.parametrize("value", ["ascending", [], [0.0, "x"], [-1.0, 0.5], [True, 0.1], 3])
def test_what_is_no_list_of_seconds_is_a_bad_sidecar(tmp_path: Path, value: object) -> None:
    run = run_with(tmp_path / "dsA", {"SliceTiming": value})
    assert (run.is_usable, run.slice_times_s) == (True, None)
    assert [problem.code for problem in run.problems] == ["bad-sidecar"]


def test_slices_along_another_axis_are_told(tmp_path: Path) -> None:
    run = run_with(tmp_path / "dsA", {"SliceTiming": TIMES_S, "SliceEncodingDirection": "j"})
    assert run.slice_times_s is None
    assert [problem.code for problem in run.problems] == ["other-slice-axis"]


def test_a_sidecar_that_is_no_json_is_told_once(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    run_with(root, {})
    (root / "task-x_bold.json").write_text("{")
    [run] = index_bids([root]).runs
    assert [problem.code for problem in run.problems] == ["bad-sidecar"]
