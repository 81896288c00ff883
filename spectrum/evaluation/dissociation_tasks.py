"""The five dissociations that the four data sets allow: which runs, and what each signal gives.

All ask a decoder of early and late runs about runs that part learning from time, and none trains
anything. Not here: how contrasts are scored (``dissociation``), and who answers.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.entities import RunKey
from spectrum.errors import DataError
from spectrum.evaluation.dissociation import (
    Contrast,
    Dissociation,
    Expectation,
    RunAnswer,
    judge_dissociation,
    logit,
)

__all__ = ["TASKS", "Order", "Skipped", "TaskRule", "evaluate_task", "read_order", "task_runs"]

Order = Mapping[str, tuple[str, ...]]
"""Tasks of each subject (``dataset/sub-id``) in the order in which they were begun."""

Answers = Mapping[tuple[str, str, int], float]
"""Logit of late by session, task and run number, of one subject."""

Contrasts = Callable[[Answers, tuple[str, ...]], Iterator[float]]

COLUMNS: Final = ("dataset", "participant_id", "position", "task")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRule:
    """One dissociation: the runs it needs, how it compares them, what it expects."""

    name: str
    dataset: str
    tasks: tuple[str, ...]
    needs_order: bool
    expectation: Expectation
    contrasts: Contrasts
    note: str = ""
    """What to know of every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A dissociation that could not be run, and why."""

    task: str
    reason: str


LEARNT = "probabilisticclassification"
STOP = "selectivestopsignaltask"
FIRST, SECOND = "timepoint1", "timepoint2"
PAIRED_TASKS = ("deterministicclassification", "probabilisticclassification")
INTERLEAVED = ("Singletaskweatherprediction", "Dualtaskweatherprediction")


def _reversal(answers: Answers, order: tuple[str, ...]) -> Iterator[float]:
    del order
    late = answers.get(("", "weatherprediction", 2))
    anew = answers.get(("", "reversalweatherprediction", 1))
    if late is not None and anew is not None:
        yield late - anew


def _relearning(answers: Answers, order: tuple[str, ...]) -> Iterator[float]:
    del order
    late, anew = answers.get((FIRST, LEARNT, 2)), answers.get((SECOND, LEARNT, 1))
    if late is not None and anew is not None:
        yield late - anew


def _stop_signal(answers: Answers, order: tuple[str, ...]) -> Iterator[float]:
    del order
    for session in sorted({session for session, task, _ in answers if task == STOP}):
        first, second = answers.get((session, STOP, 1)), answers.get((session, STOP, 2))
        if first is not None and second is not None:
            yield second - first


def _counterbalance(answers: Answers, order: tuple[str, ...]) -> Iterator[float]:
    first, second = order
    late, anew = answers.get(("", first, 2)), answers.get(("", second, 1))
    if late is not None and anew is not None:
        yield late - anew


def _interleave(answers: Answers, order: tuple[str, ...]) -> Iterator[float]:
    first, second = order
    places = [answers.get(("", task, run)) for run in (1, 2) for task in (first, second)]
    one, two, three, four = places
    if one is None or two is None or three is None or four is None:
        return
    yield (three - two) - ((two - one) + (four - three)) / 2


ONE_SUBJECT: Final = "both runs are of one data set and subject"

TASKS: Final = {
    rule.name: rule
    for rule in (
        TaskRule(
            name="reversal",
            dataset="ds000052",
            tasks=("weatherprediction", "reversalweatherprediction"),
            needs_order=False,
            contrasts=_reversal,
            expectation=Expectation(
                question="Is reversal run 1 called earlier than weather-prediction run 2, the run "
                "before it?",
                learning="above",
                clock="below",
                dataset="chance",
                reasons={
                    "learning": "the rule is reversed, and learning begins anew",
                    "clock": "reversal run 1 comes later in the session",
                    "dataset": ONE_SUBJECT,
                },
                separates=True,
            ),
        ),
        TaskRule(
            name="relearning",
            dataset="ds000017",
            tasks=(LEARNT,),
            needs_order=False,
            contrasts=_relearning,
            expectation=Expectation(
                question="Is run 1 of session 2, a year later with new stimuli, called earlier "
                "than run 2 of session 1?",
                learning="above",
                clock="above",
                dataset="chance",
                reasons={
                    "learning": "new stimuli are learnt anew",
                    "clock": "run 1 is early in its session too, so that the clock of a session "
                    "says the same; only what lasts over the year, such as being used to the "
                    "scanner, says the opposite",
                    "dataset": ONE_SUBJECT,
                },
                separates=False,
            ),
        ),
        TaskRule(
            name="stop-signal",
            dataset="ds000017",
            tasks=(STOP,),
            needs_order=False,
            contrasts=_stop_signal,
            expectation=Expectation(
                question="Is stop-signal run 2 called later than run 1 of its session, although "
                "no category is learnt?",
                learning="chance",
                clock="above",
                dataset="chance",
                reasons={
                    "learning": "no category is learnt in this task",
                    "clock": "run 2 comes later in the session",
                    "dataset": ONE_SUBJECT,
                },
                separates=True,
            ),
        ),
        TaskRule(
            name="counterbalance",
            dataset="ds000002",
            tasks=PAIRED_TASKS,
            needs_order=True,
            contrasts=_counterbalance,
            note="The models learnt early and late from both tasks of other subjects: none was "
            "fitted anew to the task that was learnt first alone, as a stricter test would.",
            expectation=Expectation(
                question="Is run 1 of the task learnt second called earlier than run 2 of the "
                "task learnt first?",
                learning="above",
                clock="below",
                dataset="chance",
                reasons={
                    "learning": "the second task is learnt anew",
                    "clock": "the second task comes later in the session",
                    "dataset": ONE_SUBJECT,
                },
                separates=True,
            ),
        ),
        TaskRule(
            name="interleave",
            dataset="ds000011",
            tasks=INTERLEAVED,
            needs_order=True,
            contrasts=_interleave,
            expectation=Expectation(
                question="Does the answer step from the second to the third of four alternating "
                "runs, where the stage changes, by more than from the first to the second and "
                "from the third to the fourth?",
                learning="above",
                clock="chance",
                dataset="chance",
                reasons={
                    "learning": "the first two runs are early in learning, the last two late",
                    "clock": "a steady drift makes all three steps alike",
                    "dataset": "all four runs are of one data set and subject",
                },
                separates=True,
            ),
        ),
    )
}
"""By name, in the order in which they are told."""


def task_runs(names: Sequence[str], keys: Sequence[RunKey]) -> dict[str, tuple[RunKey, ...]]:
    """Return the runs that each task may ask about."""
    return {
        name: tuple(
            key
            for key in keys
            if key.dataset == TASKS[name].dataset and key.task in TASKS[name].tasks
        )
        for name in names
    }


def evaluate_task(
    name: str, answers: Sequence[RunAnswer], *, order: Order | None = None
) -> Dissociation | Skipped:
    """Run one dissociation on the answers for its runs.

    Parameters
    ----------
    name : of ``TASKS``
    answers : of held-out models; those for other runs are left out
    order : of each subject's tasks, where a user gave it
    """
    rule = TASKS[name]
    if rule.needs_order and order is None:
        return Skipped(
            task=name,
            reason=f"The order of tasks is not in the public files of {rule.dataset}. "
            "Give --order order.tsv.",
        )
    logits: defaultdict[str, dict[tuple[str, str, int], float]] = defaultdict(dict)
    for answer in answers:
        key = answer.key
        if key.dataset == rule.dataset and key.task in rule.tasks and key.run_number is not None:
            logits[key.group][key.session, key.task, key.run_number] = logit(answer.late)
    contrasts, without = [], []
    for group, of_subject in sorted(logits.items()):
        of_order = (order or {}).get(group, ())
        if rule.needs_order and set(of_order) != set(rule.tasks):
            without.append(group)
            continue
        gaps = rule.contrasts(of_subject, of_order)
        contrasts += [Contrast(group=group, gap=gap) for gap in gaps]
    if not contrasts:
        return Skipped(task=name, reason=_nothing(rule, num_subjects=len(logits)))
    return judge_dissociation(
        name, rule.expectation, contrasts, notes=tuple(_notes(rule, contrasts, without, order))
    )


def _nothing(rule: TaskRule, *, num_subjects: int) -> str:
    tasks = " and ".join(rule.tasks)
    if not num_subjects:
        return f"No run of {tasks} of {rule.dataset} was given that a held-out model could judge."
    return (
        f"None of {num_subjects} subject(s) of {rule.dataset} has all runs of {tasks}"
        f"{' and an order of them' if rule.needs_order else ''}."
    )


def _notes(
    rule: TaskRule, contrasts: Sequence[Contrast], without: Sequence[str], order: Order | None
) -> Iterator[str]:
    if rule.note:
        yield rule.note
    if without:
        yield f"{len(without)} subject(s) have no order of both tasks: {', '.join(without[:5])}."
    if rule.needs_order and order is not None:
        firsts = Counter(order[group][0] for group in {c.group for c in contrasts})
        told = ", ".join(f"{count} began with {task}" for task, count in sorted(firsts.items()))
        yield f"{told}; only where both are as many do differences of the tasks cancel."


def read_order(path: Path) -> Order:
    """Read the order of tasks of each subject from a table with tabs.

    Its columns are ``dataset``, ``participant_id`` (``sub-01``), ``position`` (1 for what was
    begun first) and ``task``; one row for each task of a subject.

    Raises
    ------
    DataError
        Where the file cannot be read, lacks a column, or a position is no number or given twice.
    """
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, UnicodeDecodeError) as err:
        raise _bad(path, f"cannot be read ({err})") from err
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise _bad(path, f"has no column {missing[0]!r}, or no row")
    places: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for number, row in enumerate(rows, start=2):
        position = (row["position"] or "").strip()
        group = f"{row['dataset']}/sub-{(row['participant_id'] or '').removeprefix('sub-')}"
        if not position.isdecimal() or int(position) in places[group]:
            raise _bad(path, f"has the position {position!r} of {group} in line {number}")
        places[group][int(position)] = (row["task"] or "").strip()
    return {
        group: tuple(task for _, task in sorted(found.items())) for group, found in places.items()
    }


def _bad(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} {what}. Expected a table with tabs and the columns {', '.join(COLUMNS)}, one row "
        "for each task of a subject, positions counted from 1.",
        code="bad-order",
        path=str(path),
    )
