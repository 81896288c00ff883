from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spectrum.entities import RunKey
from spectrum.targets import EventRule, ExclusionRule, RunRule, Target
from tests.unit.targets.planted import EVERY_KEY, exclusions, keys, rules


def target_of(
    rows: list[RunRule], excluded: list[ExclusionRule], *, paired: bool = False
) -> Target:
    classes = tuple(sorted({row.class_name for row in rows}))
    return Target(
        name="t", classes=classes, paired=paired, rules=tuple(rows), excluded=tuple(excluded)
    )


def rule(name: str = "a", **selection: object) -> RunRule:
    return RunRule(**{"dataset": "d", "task": "t", **selection}, class_name=name, source="planted")


def exclusion(**selection: object) -> ExclusionRule:
    return ExclusionRule(
        **{"dataset": "d", "task": "t", **selection}, reason="planted", source="planted"
    )


@given(
    st.lists(rules, min_size=2, max_size=6).filter(
        lambda rows: len({r.class_name for r in rows}) > 1
    ),
    st.lists(exclusions, max_size=4),
)
def test_a_run_has_one_class_at_most_and_is_never_excluded_too(
    rows: list[RunRule], excluded: list[ExclusionRule]
) -> None:
    everything = [*rows, *excluded]
    if any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[:i]):
        with pytest.raises(ValidationError, match=r"rows? \d+ .*cover the same runs"):
            target_of(rows, excluded)
        return
    target = target_of(rows, excluded)
    for key in EVERY_KEY:
        covering = [row.class_name for row in rows if row.covers(key)]
        assert [target.class_of(key)] == (covering or [None])
        assert target.class_of(key) is None or target.exclusion_of(key) is None
        assert (target.exclusion_of(key) is None) == (not any(r.covers(key) for r in excluded))


@given(rules, exclusions | rules)
def test_rows_overlap_exactly_where_they_cover_one_run(
    left: RunRule, right: RunRule | ExclusionRule
) -> None:
    both = any(left.covers(key) and right.covers(key) for key in EVERY_KEY)
    assert left.overlaps(right) == right.overlaps(left) == both


@given(rules, keys)
def test_a_run_is_the_same_with_and_without_zeros_and_never_ten(row: RunRule, key: RunKey) -> None:
    written = {
        run: RunKey(
            dataset=key.dataset,
            subject=key.subject,
            session=key.session,
            task=key.task,
            run=run,
        )
        for run in ("1", "01", "001", "10")
    }
    assert row.covers(written["1"]) == row.covers(written["01"]) == row.covers(written["001"])
    if row.run is not None:
        assert not (row.covers(written["1"]) and row.covers(written["10"]))


def test_a_row_may_speak_of_one_subject_as_the_file_names_write_it() -> None:
    row = rule(subject="01")
    written = [RunKey(dataset="d", subject=s, task="t", run="1") for s in ("01", "1", "010", "02")]
    assert [row.covers(key) for key in written] == [True, False, False, False]


def test_rows_of_two_subjects_do_not_overlap_but_one_of_all_subjects_does() -> None:
    assert not rule(subject="01").overlaps(rule(subject="02"))
    assert not rule(subject="01").overlaps(rule(subject="1"))
    assert rule(subject="01").overlaps(rule())
    assert rule(subject="01", run=1).overlaps(rule(run=1))
    assert not rule(subject="01", run=1).overlaps(rule(run=2))
    assert rule(subject="01", run=1).overlaps(rule(subject="01", session="x"))


def test_a_subject_that_was_counterbalanced_may_have_its_own_classes() -> None:
    rows = [
        rule(name, run=run, subject=subject)
        for subject, order in (("01", "ab"), ("02", "ba"))
        for run, name in enumerate(order, start=1)
    ]
    target = target_of(rows, [], paired=True)
    found = [
        target.class_of(RunKey(dataset="d", subject=s, task="t", run=r))
        for s in ("01", "02", "03")
        for r in ("1", "02")
    ]
    assert found == ["a", "b", "b", "a", None, None]


@pytest.mark.parametrize("field", ["subject", "session", "task"])
@pytest.mark.parametrize("text", ["sub-01", "a b", "a_b", "täsk", "a/b"])
def test_what_no_file_name_can_hold_is_refused(field: str, text: str) -> None:
    with pytest.raises(ValidationError, match=field):
        rule(**{field: text})


@pytest.mark.parametrize("run", [True, "1", 1.5, -1])
def test_a_run_is_a_whole_number_and_nothing_that_resembles_one(run: object) -> None:
    with pytest.raises(ValidationError, match="run"):
        rule(run=run)


def test_a_rule_and_an_exclusion_of_the_same_runs_are_both_named() -> None:
    with pytest.raises(ValidationError, match="row 2 of rules and row 1 of excluded cover"):
        target_of([rule("a", run=1), rule("b", run=2)], [exclusion(run=2)])


def test_two_exclusions_of_the_same_runs_are_both_named() -> None:
    with pytest.raises(ValidationError, match="rows 1 and 2 of excluded cover"):
        target_of([rule("a", run=1), rule("b", run=2)], [exclusion(run=3), exclusion(run=3)])


def test_events_of_an_excluded_run_have_no_class() -> None:
    target = Target(
        name="t",
        classes=("a", "b"),
        event=EventRule(trial_types={"x": "a", "y": "b"}, tasks=("t",)),
        excluded=(exclusion(run=2),),
    )
    first, second, other = (
        RunKey(dataset="d", subject="1", task=task, run=run)
        for task, run in (("t", "1"), ("t", "2"), ("tt", "1"))
    )
    assert [target.class_of_event(key, "x") for key in (first, second, other)] == ["a", None, None]
    assert [target.counts_events_of(key) for key in (first, second, other)] == [True, False, False]


@given(
    st.floats(-10, 500),
    st.floats(0, 60),
    st.floats(0, 30),
    st.none() | st.floats(0.1, 600),
)
def test_a_window_begins_after_the_delay_and_lasts_as_long_as_it_is_told(
    onset_s: float, event_s: float, delay_s: float, duration_s: float | None
) -> None:
    rule = EventRule(trial_types={"x": "a"}, hrf_delay_s=delay_s, duration_s=duration_s)
    start_s, end_s = rule.window_s(onset_s, event_s)
    assert start_s == onset_s + delay_s
    assert end_s - start_s == pytest.approx(event_s if duration_s is None else duration_s)


@pytest.mark.parametrize("duration_s", [0, -1, 601, "8", True, float("inf")])
def test_a_window_of_no_or_endless_length_is_refused(duration_s: object) -> None:
    with pytest.raises(ValidationError, match="duration_s"):
        EventRule(trial_types={"x": "a"}, duration_s=duration_s)  # type: ignore[arg-type]


def test_a_task_of_events_is_named_once() -> None:
    with pytest.raises(ValidationError, match="Name each task once"):
        Target(
            name="t",
            classes=("a", "b"),
            event=EventRule(trial_types={"x": "a", "y": "b"}, tasks=("t", "t")),
        )
