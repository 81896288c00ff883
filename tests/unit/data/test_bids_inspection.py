import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.bids import index_bids, inspect_table, read_events
from spectrum.data.runs import Event
from spectrum.errors import SidecarError
from spectrum.targets import EventRule, RunRule, Target, read_target
from tests.realdata import FOUR, needs_trees
from tests.unit.data.planted_trees import SHAPE, write_bold, write_events

GO = Target(
    name="go",
    classes=("go", "stop"),
    event=EventRule(trial_types={"go": "go", "stop - late": "stop"}, tasks=("x",)),
)
HALVES = Target(
    name="halves",
    classes=("early", "late"),
    paired=True,
    rules=tuple(
        RunRule(dataset="dsA", task="x", run=run, class_name=name, source="planted")
        for run, name in ((1, "early"), (2, "late"))
    ),
)


def planted(root: Path) -> Path:
    """Write 2 + 1 runs of task x and 1 of task y; the last run of x has no image."""
    for subject, run, rows in (
        ("1", "1", "0\t1\tgo\n2\tn/a\tstop - late\n4\t1\tn/a\n"),
        ("1", "2", "0\t1\tgo\n5.5\t1\tgo\n"),
        ("2", "1", "0\t1\tgo\n"),
    ):
        stem = f"sub-{subject}/func/sub-{subject}_task-x_run-{run}"
        write_events(root / f"{stem}_events.tsv", rows)
        if subject == "1":
            write_bold(root / f"{stem}_bold.nii.gz")
    write_bold(root / "sub-2/func/sub-2_task-y_bold.nii.gz")
    write_events(root / "sub-2/func/sub-2_task-y_events.tsv", "0\t1\tgo\n12\t1\tgo\n")
    return root


def test_runs_are_counted_by_class(tmp_path: Path) -> None:
    found = inspect_table(index_bids([planted(tmp_path / "dsA")]), HALVES)
    assert (found["num_runs"], found["num_usable"]) == (4, 3)
    assert found["datasets"] == {"dsA": 4}
    assert found["classes"] == {"early": 2, "late": 1}
    assert (found["unlabelled"], found["num_pairs"], found["num_subjects"]) == (1, 1, 2)
    assert [(row["task"], row["num_runs"], row["unlabelled"]) for row in found["table"]] == [
        ("x", 3, 0),
        ("y", 1, 1),
    ]


def test_events_are_counted_by_class(tmp_path: Path) -> None:
    found = inspect_table(index_bids([planted(tmp_path / "dsA")]), GO)
    assert found["classes"] == {"go": 4, "stop": 1}
    assert found["unlabelled"] == 3
    assert found["unit"] == "event"
    assert sum(row["unlabelled"] for row in found["table"]) == found["unlabelled"]


def test_problems_of_runs_and_events_are_listed(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    (root / "sub-2/func/sub-2_task-x_run-1_events.tsv").write_text("start\n1\n")
    found = inspect_table(index_bids([root]), GO)
    assert sorted(problem["code"] for problem in found["problems"]) == [
        "bad-events",
        "late-events",
        "missing-image",
    ]
    assert all(set(p) >= {"code", "path", "message"} and p["path"] for p in found["problems"])
    late = next(p for p in found["problems"] if p["code"] == "late-events")
    assert f"{root / 'sub-2/func/sub-2_task-y_events.tsv'}: 1 events begin" in late["message"]
    assert f"{SHAPE[3] * 2} s" in late["message"]


def test_an_inspection_is_json(tmp_path: Path) -> None:
    found = inspect_table(index_bids([planted(tmp_path / "dsA")]), HALVES)
    assert json.loads(json.dumps(found)) == found


@needs_trees
def test_the_four_trees_under_early_late() -> None:
    found = inspect_table(index_bids(FOUR), read_target("early_late"))
    assert found["classes"] == {"early": 90, "late": 90}
    assert (found["num_pairs"], found["num_subjects"]) == (90, 52)
    assert (found["num_runs"], found["unlabelled"], found["num_usable"]) == (312, 132, 0)
    assert len(found["table"]) == 11


@needs_trees
def test_every_real_events_table_is_read_and_keeps_its_counts() -> None:
    tables = [read_events(p) for root in FOUR[:2] for p in root.glob("sub-*/func/*_events.tsv")]
    types = [event.trial_type for table in tables for event in table]
    assert types.count("feedback") == 3400
    assert types.count("classification-probabilistic") == 1700
    assert types.count("tone counting probe") == 112
    assert types.count("n/a") == 1021 + 1023 + 15


seconds = st.floats(0, 1e4).map(lambda value: round(value, 3))
events = st.builds(
    Event,
    onset_s=st.floats(-10, 1e4).map(lambda value: round(value, 3)),
    duration_s=seconds,
    trial_type=st.sampled_from(["go", "failed stop - noncritical", "n/a", "1"]),
)


@given(st.lists(events, max_size=5), st.permutations(["onset", "duration", "trial_type"]))
def test_events_read_back_whatever_the_order_of_columns(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Event], columns: list[str]
) -> None:
    names = {"onset": "onset_s", "duration": "duration_s", "trial_type": "trial_type"}
    lines = ["\t".join([*columns, "Feedback", "feedback"])]
    lines += ["\t".join([*(str(getattr(r, names[c])) for c in columns), "R", "n/a"]) for r in rows]
    path = tmp_path_factory.mktemp("events") / "events.tsv"
    path.write_text("\r\n".join(lines) + "\n\n")
    assert read_events(path) == tuple(rows)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("onset\tduration\n1.5\tn/a\n", Event(onset_s=1.5, duration_s=0.0, trial_type="n/a")),
        ("onset\n1.5\n", Event(onset_s=1.5, duration_s=0.0, trial_type="n/a")),
        ("\ufeffonset\tduration\n1\t2\n", Event(onset_s=1.0, duration_s=2.0, trial_type="n/a")),
        ("trial_type\tonset\na\t1\n", Event(onset_s=1.0, duration_s=0.0, trial_type="a")),
        ("onset\tduration\n +1.5e1\t.5 \n", Event(onset_s=15, duration_s=0.5, trial_type="n/a")),
    ],
)
def test_what_is_left_out_of_a_table_has_a_meaning(
    tmp_path: Path, text: str, event: Event
) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(text, encoding="utf-8")
    assert read_events(path) == (event,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column onset among no columns"),
        ("onset,duration\n1,2\n", "no column onset among onset,duration"),
        ("Onset\n1\n", "no column onset"),
        ("onset\nn/a\n", "'n/a' for seconds in row 1"),
        ("onset\tduration\n1\t2\n1\tlong\n", "'long' for seconds in row 2"),
        ("onset\nnan\n", "'nan' for seconds in row 1"),
        ("onset\tduration\n1\t-2\n", "duration of -2 s in row 1"),
        ("duration\tonset\n1\n", "1 cells in row 1 under 2 columns"),
        ("onset\tduration\n1\t2\t3\n", "3 cells in row 1 under 2 columns"),
        ("onset\tduration\tonset\n1\t2\t3\n", "the column onset twice"),
        ("onset\tduration\n1,5\t2\n", "'1,5' for seconds in row 1"),
        ("onset\tduration\n1\t2\0\n", "zero bytes"),
        ("onset\tduration\n1\tinf\n", "'inf' for seconds in row 1"),
        ("onset\n1_0\n", "'1_0' for seconds in row 1"),
        ("onset\n\u0661\n", "'\u0661' for seconds in row 1"),
    ],
)
def test_a_table_that_cannot_be_placed_in_time_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SidecarError, match=message) as caught:
        read_events(path)
    assert (caught.value.code, caught.value.path) == ("bad-events", str(path))


def test_columns_that_differ_in_case_only_are_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_text("onset\tOnset\tTrial_type\ttrial_type\n1\t9\tA\ta\n")
    assert read_events(path) == (Event(onset_s=1.0, duration_s=0.0, trial_type="a"),)


def test_a_table_larger_than_any_real_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    with path.open("wb") as file:
        file.truncate(17 * 1024**2)
    with pytest.raises(SidecarError, match="more than 16777216"):
        read_events(path)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("0\t1\tgo\n2\t1\tgo\n", set()),
        ("2\t1\tgo\n2\t1\tstop\n0\t1\tgo\n", {"unsorted-events"}),
        ("2\t1\tgo\n2\t1\tgo\n", {"repeated-events"}),
        ("11\t1.5\tgo\n", {"cut-events"}),
        ("", {"empty-events"}),
        ("-1\t1\tgo\n2\t1\tgo\n", {"early-events"}),
        ("1\t1\tgo\n12\t1\tgo\n", {"late-events"}),
        ("12\t1\tgo\n-1\t1\tgo\n", {"late-events", "early-events", "unsorted-events"}),
    ],
)
def test_what_is_odd_about_events_is_told_and_refuses_nothing(
    tmp_path: Path, rows: str, expected: set[str]
) -> None:
    root = tmp_path / "dsA"
    write_bold(root / "sub-2/func/sub-2_task-y_bold.nii.gz")
    write_events(root / "sub-2/func/sub-2_task-y_events.tsv", rows)
    found = inspect_table(index_bids([root]), GO)
    assert {problem["code"] for problem in found["problems"]} == expected
    assert not any(problem["refuses"] for problem in found["problems"])


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    with pytest.raises(SidecarError, match="There is no events table") as caught:
        read_events(path)
    assert caught.value.code == "no-events"
    path.write_bytes(b"onset\n\xff\xfe\n")
    with pytest.raises(SidecarError, match="not readable as UTF-8"):
        read_events(path)
