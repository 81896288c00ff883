from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import DataConfig
from spectrum.data.bids import index_bids
from spectrum.data.repetition import TR_RANGE_S, TR_TOLERANCE_S, decide_tr
from tests.unit.data.planted_trees import write_bold, write_events, write_json

TrFrom = Literal["agreed", "header", "sidecar"]
IMAGE = Path("sub-1_task-x_bold.nii.gz")

told = st.floats(*TR_RANGE_S)


@given(told, told)
def test_where_header_and_sidecar_differ_the_user_must_decide(
    header: float, sidecar: float
) -> None:
    answers = {
        choice: decide_tr(IMAGE, in_header_s=header, in_sidecar_s=sidecar, tr_from=choice)
        for choice in get_args(TrFrom)
    }
    if abs(header - sidecar) <= TR_TOLERANCE_S:
        assert set(answers.values()) == {(sidecar, None)}
        return
    assert answers["header"] == (header, None)
    assert answers["sidecar"] == (sidecar, None)
    tr_s, problem = answers["agreed"]
    assert tr_s is None
    assert problem is not None
    assert (problem.code, problem.refuses) == ("tr-mismatch", True)
    assert "--tr-from header or --tr-from sidecar" in problem.message


@given(told, st.sampled_from(get_args(TrFrom)), st.booleans())
def test_what_one_of_them_tells_is_taken_whoever_was_preferred(
    tr_s: float, choice: TrFrom, is_header: bool
) -> None:
    header, sidecar = (tr_s, None) if is_header else (None, tr_s)
    found = decide_tr(IMAGE, in_header_s=header, in_sidecar_s=sidecar, tr_from=choice)
    assert found == (tr_s, None)


@pytest.mark.parametrize("tr_s", [0.001, 0.049, 30.1, 2000.0])
@pytest.mark.parametrize("choice", get_args(TrFrom))
def test_what_is_no_repetition_time_is_refused(tr_s: float, choice: TrFrom) -> None:
    found, problem = decide_tr(IMAGE, in_header_s=None, in_sidecar_s=tr_s, tr_from=choice)
    assert found is None
    assert problem is not None
    assert (problem.code, problem.refuses) == ("odd-tr", True)
    assert f"a TR of {tr_s:g} s" in problem.message


def planted(root: Path) -> Path:
    """Write a run whose header says 2 s and whose sidecar says 1.5 s."""
    write_bold(root / "sub-1/func/sub-1_task-x_bold.nii.gz", tr=2.0)
    write_events(root / "sub-1/func/sub-1_task-x_events.tsv")
    write_json(root / "task-x_bold.json", {"RepetitionTime": 1.5})
    return root


def test_a_run_with_two_trs_is_not_usable_until_one_is_chosen(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    [run] = index_bids([root]).runs
    assert (run.tr_s, run.is_usable) == (None, False)
    assert [problem.code for problem in run.problems] == ["tr-mismatch"]
    assert "2 s in its header and 1.5 s in its sidecar" in run.problems[0].message


@pytest.mark.parametrize(("choice", "tr_s"), [("header", 2.0), ("sidecar", 1.5)])
def test_the_choice_makes_it_usable(tmp_path: Path, choice: TrFrom, tr_s: float) -> None:
    [run] = index_bids([planted(tmp_path / "dsA")], DataConfig(tr_from=choice)).runs
    assert (run.tr_s, run.is_usable, run.problems) == (tr_s, True, ())


def test_rounding_of_a_header_is_no_other_tr(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    write_json(root / "task-x_bold.json", {"RepetitionTime": 2.0004})
    [run] = index_bids([root]).runs
    assert (run.tr_s, run.problems) == (2.0004, ())
