"""Dissociations on planted answers: learning, the clock, and the data set's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, wilcoxon

from spectrum.entities import RunKey
from spectrum.errors import DataError
from spectrum.evaluation.dissociation import (
    Contrast,
    Dissociation,
    RunAnswer,
    agreement,
    judge_dissociation,
)
from spectrum.evaluation.dissociation_tasks import (
    INTERLEAVED,
    LEARNT,
    PAIRED_TASKS,
    STOP,
    TASKS,
    Skipped,
    evaluate_task,
    read_order,
)

Signal = Callable[[str, str, int, float], float]
SUBJECTS = [f"{number:02}" for number in range(1, 10)]

TIMES = {
    "reversal": [("", "weatherprediction"), ("", "reversalweatherprediction")],
    "relearning": [("timepoint1", LEARNT), ("timepoint2", LEARNT)],
    "stop-signal": [("timepoint1", STOP), ("timepoint2", STOP)],
    "counterbalance": [("", task) for task in PAIRED_TASKS],
    "interleave": [("", task) for task in INTERLEAVED],
}
ORDERED = {"counterbalance": PAIRED_TASKS, "interleave": INTERLEAVED}


def orders(name: str) -> dict[str, tuple[str, ...]]:
    """Let every other subject begin with the other task."""
    dataset, tasks = TASKS[name].dataset, ORDERED.get(name, ())
    return {f"{dataset}/sub-{s}": tasks[:: 1 - 2 * (int(s) % 2)] for s in SUBJECTS}


def hour(name: str, session: str, task: str, run: int, order: tuple[str, ...]) -> float:
    """Return when in its session a run was scanned."""
    if name == "reversal":
        return run + 2.0 * (task == "reversalweatherprediction")
    if name == "counterbalance":
        return run + 2.0 * order.index(task)
    if name == "interleave":
        return 2.0 * run + order.index(task)
    return float(run)


def learning(name: str, task: str, run: int, when: float) -> float:
    return 0.0 if name == "stop-signal" else float(run)


def clock(name: str, task: str, run: int, when: float) -> float:
    return when


def dataset_name(name: str, task: str, run: int, when: float) -> float:
    return 3.0


def answers(name: str, signal: Signal, rng: np.random.Generator) -> list[RunAnswer]:
    told = []
    for subject in SUBJECTS:
        order = orders(name)[f"{TASKS[name].dataset}/sub-{subject}"]
        for session, task in TIMES[name]:
            for run in (1, 2):
                when = hour(name, session, task, run, order)
                value = signal(name, task, run, when) + 0.05 * rng.normal()
                key = RunKey(
                    dataset=TASKS[name].dataset,
                    subject=subject,
                    session=session,
                    task=task,
                    run=f"{run}",
                )
                told.append(RunAnswer(key=key, late=float(1 / (1 + np.exp(-value)))))
    return told


def found(name: str, signal: Signal, rng: np.random.Generator) -> Dissociation:
    told = evaluate_task(name, answers(name, signal, rng), order=orders(name))
    assert isinstance(told, Dissociation)
    return told


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("word", "signal"), [("learning", learning), ("clock", clock)], ids=["learning", "clock"]
)
def test_each_signal_gives_what_was_stated_before(
    name: str, word: str, signal: Signal, rng: np.random.Generator
) -> None:
    told = found(name, signal, rng)
    expected = getattr(told.expectation, word)
    if expected != "chance":
        assert told.found == expected
        assert word in told.fits
        assert told.share == (1.0 if expected == "above" else 0.0)
    assert told.num_subjects == len(SUBJECTS)


@pytest.mark.parametrize("name", TASKS)
def test_a_signal_of_the_data_set_alone_shows_no_order(name: str) -> None:
    """Ten draws of noise alone: each side is shown no more often than 5 % has it."""
    sides = [found(name, dataset_name, np.random.default_rng(seed)).found for seed in range(40)]
    assert sum(side != "chance" for side in sides) <= 9


def gaps_of(gaps: Sequence[float]) -> Dissociation:
    """Judge subjects whose runs differ by these gaps of the logit."""
    contrasts = [Contrast(group=f"d/sub-{i}", gap=gap) for i, gap in enumerate(gaps)]
    return judge_dissociation("reversal", TASKS["reversal"].expectation, contrasts)


@pytest.mark.parametrize("seed", range(5))
def test_the_p_of_a_task_is_the_exact_one_of_signed_ranks(seed: int) -> None:
    gaps = np.random.default_rng(seed).normal(0.5, 1.0, size=13)
    told = gaps_of(gaps.tolist())
    assert told.p_above == pytest.approx(wilcoxon(gaps, alternative="greater").pvalue)
    assert told.p_below == pytest.approx(wilcoxon(gaps, alternative="less").pvalue)
    assert gaps_of((-gaps).tolist()).p_below == pytest.approx(told.p_above)
    assert gaps_of((np.sign(gaps) * gaps**2).tolist()).p_above == pytest.approx(told.p_above)


def test_a_side_is_shown_on_even_runs_no_more_often_than_allowed() -> None:
    rng = np.random.default_rng(11)
    sides = [gaps_of(rng.standard_t(2, size=13).tolist()).found for _ in range(400)]
    for side in ("above", "below"):
        assert sides.count(side) <= binom.ppf(0.999, 400, 0.05)


def test_one_subject_that_a_network_is_sure_of_does_not_decide() -> None:
    assert gaps_of([50.0, *[-0.1] * 12]).found == "below"
    assert gaps_of([0.0] * 9).p_above == 1.0


def test_no_side_is_told_against_the_share_of_subjects() -> None:
    told = gaps_of([-0.1 - i / 100 for i in range(7)] + [1.0 + i for i in range(6)])
    assert told.share < 0.5
    assert told.found == "chance"
    assert told.p_above < 0.2


def test_a_drift_alone_takes_no_side_between_alternating_runs() -> None:
    shares = [found("interleave", clock, np.random.default_rng(seed)).share for seed in range(30)]
    assert abs(np.mean(shares) - 0.5) < 0.1


def test_agreement_needs_learning_shown_and_no_clock(rng: np.random.Generator) -> None:
    for_learning, for_clock = (found("reversal", signal, rng) for signal in (learning, clock))
    control = found("stop-signal", clock, rng)
    assert agreement([for_learning]) is True
    assert agreement([for_clock]) is False
    assert agreement([for_learning, control]) is False
    assert agreement([found("relearning", learning, rng)]) is None
    assert agreement([]) is None


def test_too_few_subjects_are_told_with_the_verdict(rng: np.random.Generator) -> None:
    few = [a for a in answers("reversal", learning, rng) if a.key.subject in ("01", "02", "03")]
    told = evaluate_task("reversal", few)
    assert isinstance(told, Dissociation)
    assert told.share == 1.0
    assert "p is 0.12 at best" in told.verdict
    assert agreement([told]) is None


@pytest.mark.parametrize("name", ORDERED)
def test_without_an_order_the_task_is_skipped_by_name(name: str, rng: np.random.Generator) -> None:
    told = evaluate_task(name, answers(name, learning, rng))
    assert isinstance(told, Skipped)
    assert "Give --order order.tsv" in told.reason


def test_an_absent_data_set_is_told(rng: np.random.Generator) -> None:
    told = evaluate_task("reversal", answers("stop-signal", learning, rng))
    assert isinstance(told, Skipped)
    assert "ds000052" in told.reason


def test_subjects_without_an_order_are_left_out_by_name(rng: np.random.Generator) -> None:
    order = orders("counterbalance")
    del order["ds000002/sub-03"]
    told = evaluate_task("counterbalance", answers("counterbalance", learning, rng), order=order)
    assert isinstance(told, Dissociation)
    assert told.num_subjects == len(SUBJECTS) - 1
    assert "none was fitted anew" in told.notes[0]
    assert "ds000002/sub-03" in told.notes[1]


def test_an_order_is_read_by_position(tmp_path: Path) -> None:
    path = tmp_path / "order.tsv"
    path.write_text(
        "dataset\tparticipant_id\tposition\ttask\n"
        "ds000002\tsub-01\t2\tdeterministicclassification\n"
        "ds000002\tsub-01\t1\tprobabilisticclassification\n"
    )
    assert read_order(path) == {"ds000002/sub-01": PAIRED_TASKS[::-1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset\tposition\ttask\nd\t1\tx\n", "no column 'participant_id'"),
        ("dataset\tparticipant_id\tposition\ttask\nd\tsub-1\tfirst\tx\n", "'first' of d/sub-1"),
        (
            "dataset\tparticipant_id\tposition\ttask\nd\tsub-1\t1\tx\nd\tsub-1\t1\ty\n",
            "in line 3",
        ),
    ],
)
def test_a_bad_order_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "order.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_order(path)
