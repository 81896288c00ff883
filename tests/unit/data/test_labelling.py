from pathlib import Path

from spectrum.data.bids import index_bids
from spectrum.data.labelling import label_table
from spectrum.targets import EventRule, ExclusionRule, RunRule, Target, read_target
from tests.realdata import FOUR, needs_trees
from tests.unit.data.planted_trees import write_events

HALVES = Target(
    name="halves",
    classes=("early", "late"),
    rules=tuple(
        RunRule(dataset="dsA", task="x", run=run, class_name=name, source="planted")
        for run, name in ((1, "early"), (2, "late"))
    ),
    excluded=(ExclusionRule(dataset="dsA", task="y", reason="rest", source="planted"),),
)
GO = Target(
    name="go", classes=("go", "stop"), event=EventRule(trial_types={"go": "go", "stop": "stop"})
)


def planted(root: Path) -> Path:
    for subject, task, run, rows in (
        ("1", "x", "_run-1", "0\t1\tgo\n2\t1\tStop\n"),
        ("1", "x", "_run-2", "0\t1\tgo\n"),
        ("2", "x", "_run-1", "0\t1\tgo\n"),
        ("2", "x", "_run-3", "0\t1\tgo\n"),
        ("2", "y", "", "0\t1\tn/a\n"),
    ):
        write_events(root / f"sub-{subject}/func/sub-{subject}_task-{task}{run}_events.tsv", rows)
    return root


def test_runs_are_counted_by_data_set_and_task_with_those_left_out(tmp_path: Path) -> None:
    found = label_table(index_bids([planted(tmp_path / "dsA")]), HALVES)
    assert (found["unit"], found["num_runs"]) == ("run", 5)
    assert found["classes"] == {"early": 2, "late": 1}
    assert (found["unlabelled"], found["excluded"]) == (2, 1)
    rows = [(r["task"], r["num_runs"], r["unlabelled"], r["excluded"]) for r in found["table"]]
    assert rows == [("x", 4, 1, 0), ("y", 1, 1, 1)]
    assert [f["code"] for f in found["findings"]] == ["run-without-row"]
    assert found["refused"] == []


def test_events_are_counted_and_a_trial_type_that_never_occurs_is_named(tmp_path: Path) -> None:
    found = label_table(index_bids([planted(tmp_path / "dsA")]), GO)
    assert found["classes"] == {"go": 4, "stop": 0}
    assert [f["code"] for f in found["findings"]] == ["trial-type-absent", "class-without-event"]
    assert "'stop'. The nearest is 'Stop'." in found["findings"][0]["message"]


def test_an_events_table_that_cannot_be_read_is_refused_for_events_alone(tmp_path: Path) -> None:
    root = planted(tmp_path / "dsA")
    broken = root / "sub-2/func/sub-2_task-x_run-1_events.tsv"
    broken.write_text("nothing here", encoding="utf-8")
    table = index_bids([root])
    assert [r["path"] for r in label_table(table, GO)["refused"]] == [str(broken)]
    assert label_table(table, HALVES)["refused"] == []


@needs_trees
def test_the_four_data_sets_give_90_pairs_and_132_runs_left_out() -> None:
    found = label_table(index_bids(FOUR), read_target("early_late"))
    assert found["classes"] == {"early": 90, "late": 90}
    assert (found["unlabelled"], found["excluded"], found["findings"]) == (132, 132, [])
    assert sum(row["excluded"] for row in found["table"]) == 132
