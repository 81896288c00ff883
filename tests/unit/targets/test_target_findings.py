from __future__ import annotations

import re

import pytest

from spectrum.entities import RunKey
from spectrum.targets import (
    EventRule,
    ExclusionRule,
    RunRule,
    Target,
    num_excluded,
    target_findings,
)


def key(task: str = "learn", run: str = "01", dataset: str = "dsA", subject: str = "1") -> RunKey:
    return RunKey(dataset=dataset, subject=subject, task=task, run=run)


def halves(
    *,
    dataset: str = "dsA",
    task: str = "learn",
    runs: tuple[int, int] = (1, 2),
    rest: str = "rest",
) -> Target:
    return Target(
        name="halves",
        classes=("early", "late"),
        rules=tuple(
            RunRule(dataset=dataset, task=task, run=run, class_name=name, source="planted")
            for run, name in zip(runs, ("early", "late"), strict=True)
        ),
        excluded=(ExclusionRule(dataset=dataset, task=rest, reason="no task", source="planted"),),
    )


def seen(tasks: tuple[str, ...] = ("seeing",)) -> Target:
    return Target(
        name="seen",
        classes=("face", "house"),
        event=EventRule(trial_types={"face": "face", "house": "house"}, tasks=tasks),
    )


KEYS = (key(run="01"), key(run="02"), key("rest", run=""))


def codes(target: Target, keys: tuple[RunKey, ...] = KEYS, **types: object) -> list[str]:
    return [finding.code for finding in target_findings(target, keys, **types)]  # type: ignore[arg-type]


def test_a_target_that_fits_gives_no_finding() -> None:
    assert target_findings(halves(), KEYS) == ()
    assert num_excluded(halves(), KEYS) == 1


def test_a_mistyped_task_is_answered_with_the_one_that_occurs() -> None:
    found = target_findings(halves(task="Learn"), KEYS)
    assert [f.code for f in found] == [
        "row-without-run",
        "row-without-run",
        "run-without-row",
        "class-without-run",
        "class-without-run",
    ]
    assert found[0].message == (
        "Row 1 of rules: no run of dsA here has the task 'Learn'. The nearest is 'learn'."
    )
    assert "2 runs of dsA, task learn, are neither labelled nor excluded" in found[2].message
    assert "The nearest is 'Learn'." in found[2].message


def test_a_task_like_no_other_gets_no_false_hint() -> None:
    assert "nearest" not in target_findings(halves(rest="zzz"), KEYS)[0].message


def test_a_run_number_that_does_not_occur_is_told_with_those_that_do() -> None:
    found = target_findings(halves(runs=(1, 3)), KEYS)
    assert found[0].message == (
        "Row 2 of rules: no run of dsA, task learn, is its run 3 (here: 01, 02)."
    )
    assert [f.code for f in found[1:]] == ["run-without-row", "class-without-run"]


def test_an_exclusion_that_matches_nothing_is_named_as_one() -> None:
    found = target_findings(halves(rest="rests"), KEYS)
    assert found[0].message.startswith(
        "Row 1 of excluded: no run of dsA here has the task 'rests'"
    )
    assert "The nearest is 'rest'." in found[0].message


def test_rows_of_data_sets_that_are_not_here_are_no_finding() -> None:
    target = halves()
    both = Target(
        name="both",
        classes=target.classes,
        rules=(*target.rules, *halves(dataset="dsB").rules),
        excluded=target.excluded,
    )
    assert target_findings(both, KEYS) == ()


def test_a_mistyped_data_set_is_found_from_the_runs_without_row() -> None:
    found = target_findings(halves(dataset="ds_A"), KEYS)
    codes = ["row-without-run"] * 3 + ["run-without-row"] * 2 + ["class-without-run"] * 2
    assert [f.code for f in found] == codes
    assert "Row 1 of rules: there is no data set 'ds_A' here. The nearest is" in found[0].message
    assert "The nearest is 'ds_A'." in found[3].message


def test_accessions_that_are_not_here_are_no_mistake() -> None:
    keys = (key("seeing", dataset="ds000002"),)
    rows = [f.message for f in target_findings(halves(dataset="ds000011"), keys)]
    assert not any("there is no data set" in message for message in rows)


def test_classes_are_told_when_no_run_here_has_them() -> None:
    (found,) = [f for f in target_findings(halves(), KEYS[1:]) if f.code == "class-without-run"]
    assert "'early'" in found.message


def test_trial_types_that_never_occur_are_answered_with_the_one_that_does() -> None:
    keys = (key("seeing"),)
    found = target_findings(seen(), keys, {keys[0]: {"face", "House", "n/a"}})
    assert [f.code for f in found] == ["trial-type-absent", "class-without-event"]
    assert found[0].message == (
        "No event here has the trial type 'house'. The nearest is 'House'."
    )
    assert codes(seen(), keys, trial_types_of={keys[0]: {"face", "house"}}) == []


def test_trial_types_of_other_tasks_do_not_count() -> None:
    keys = (key("seeing"), key("resting"))
    types = {keys[0]: {"face"}, keys[1]: {"house"}}
    assert codes(seen(), keys, trial_types_of=types) == [
        "trial-type-absent",
        "class-without-event",
    ]
    assert codes(seen(tasks=()), keys, trial_types_of=types) == []


def test_a_task_of_events_that_never_occurs_is_named() -> None:
    (found,) = target_findings(seen(tasks=("seing",)), (key("seeing"),), {})
    assert found.code == "task-absent"
    assert re.search(r"No run .*'seing'.*nearest is 'seeing'", found.message)


@pytest.mark.parametrize("target", [halves(), seen()])
def test_no_run_at_all_is_no_error(target: Target) -> None:
    expected = {"run": "class-without-run", "event": "task-absent"}[target.kind]
    assert {f.code for f in target_findings(target, (), {})} == {expected}
