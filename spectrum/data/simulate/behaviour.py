"""Events as the tables of each data set write them, with what the subject answered.

Answers are drawn from one level of skill in every run: the tables never tell early from late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from spectrum.data.runs import Event
from spectrum.entities import RunKey

__all__ = ["BASELINE", "LAYOUTS", "Layout", "events_text"]

BASELINE: Final = "n/a"
"""Trial type of rows that are no event of interest."""

CORRECT_FRACTION: Final = 0.7
SILENT_FRACTION: Final = 0.03
"""Shares of trials answered rightly, and not at all; levels as in ds000002's tables."""

VALID_CUE_FRACTION: Final = 0.8
"""How often feedback follows the better answer in the probabilistic task."""

NUM_STIMULI: Final = 14

Further = Callable[[Sequence[Event], RunKey, np.random.Generator], list[tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Columns beyond onset, duration and trial type, and how numbers are rounded.

    ``decimals`` is None where the real files hold unrounded floats.
    """

    columns: tuple[str, ...]
    further: Further
    decimals: int | None


def events_text(
    events: Sequence[Event], layout: Layout, *, key: RunKey, rng: np.random.Generator
) -> str:
    """Return the run's events as the text of its ``events.tsv``."""
    lines = ["\t".join(("onset", "duration", "trial_type", *layout.columns))]
    for event, cells in zip(events, layout.further(events, key, rng), strict=True):
        lines.append("\t".join((*_timing(event, layout.decimals), event.trial_type, *cells)))
    return "\n".join(lines) + "\n"


def _timing(event: Event, decimals: int | None) -> tuple[str, str]:
    duration = "n/a" if event.trial_type == BASELINE else _number(event.duration_s, decimals)
    return _number(event.onset_s, decimals), duration


def _number(value: float, decimals: int | None) -> str:
    return repr(float(value)) if decimals is None else f"{value:.{decimals}f}"


def _nothing(
    events: Sequence[Event], key: RunKey, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    return [() for _ in events]


def _condition(
    events: Sequence[Event], key: RunKey, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    return [("cond001" if event.trial_type == "positive" else "cond002",) for event in events]


def _feedback(
    events: Sequence[Event], key: RunKey, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Return the columns of ds000002's learning tasks; feedback is centred over the run."""
    is_probabilistic = key.task.startswith("probabilistic")
    answers = [_answer(rng, is_probabilistic=is_probabilistic) for _ in events]
    signs = [1.0 if answer.response == answer.outcome else -1.0 for answer in answers]
    is_trial = [event.trial_type != BASELINE for event in events]
    center = float(np.mean([sign for sign, is_in in zip(signs, is_trial, strict=True) if is_in]))
    condition = "1" if is_probabilistic else "2"
    return [
        answer.trial(number, condition, f"{sign - center:.3f}")
        if is_in
        else answer.baseline(number, condition)
        for number, (answer, sign, is_in) in enumerate(
            zip(answers, signs, is_trial, strict=True), 1
        )
    ]


def _probe(
    events: Sequence[Event], key: RunKey, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Return the columns of ds000002's probe, where every number has three decimals."""
    rows: list[tuple[str, ...]] = []
    for index, event in enumerate(events):
        answer = _answer(rng, is_probabilistic=False)
        condition = 1 if event.trial_type.endswith("probabilistic") else 2
        numbers = (f"{2 * index + 1:.3f}", f"{condition:.3f}", f"{answer.stimulus:.3f}")
        correct = f"{answer.correct:.3f}"
        rows.append((*numbers, answer.response, f"{answer.response_s:.3f}", correct))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What was shown, answered and told in one trial; ``correct`` is -1 without an answer."""

    stimulus: int
    response: str
    response_s: float
    correct: int
    outcome: str

    def trial(self, number: int, condition: str, feedback: str) -> tuple[str, ...]:
        """Return the cells of a trial with feedback."""
        shown = (feedback, str(number), condition, str(self.stimulus))
        return (*shown, self.response, f"{self.response_s:.3f}", str(self.correct), self.outcome)

    def baseline(self, number: int, condition: str) -> tuple[str, ...]:
        """Return the cells of a baseline trial, which has neither stimulus nor feedback."""
        shown = ("n/a", str(number), condition, "0")
        return (*shown, self.response, f"{self.response_s:.3f}", "-", "-")


def _answer(rng: np.random.Generator, *, is_probabilistic: bool) -> _Answer:
    stimulus = int(rng.integers(1, NUM_STIMULI + 1))
    better, worse = ("L", "R") if stimulus % 2 else ("R", "L")
    is_silent = rng.random() < SILENT_FRACTION
    is_correct = rng.random() < CORRECT_FRACTION
    is_valid = rng.random() < VALID_CUE_FRACTION or not is_probabilistic
    response_s = float(np.clip(rng.lognormal(-0.25, 0.3), 0.3, 3.0))
    return _Answer(
        stimulus=stimulus,
        response="-" if is_silent else better if is_correct else worse,
        response_s=0.0 if is_silent else response_s,
        correct=-1 if is_silent else int(is_correct),
        outcome=better if is_valid else worse,
    )


_PROBE_COLUMNS: Final = (
    "TrialNum",
    "StimCond",
    "StimulusNum",
    "Response",
    "response_time",
    "Correct",
)

LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {
        "plain": Layout(columns=(), further=_nothing, decimals=3),
        "unrounded": Layout(columns=(), further=_nothing, decimals=None),
        "condition": Layout(columns=("cond",), further=_condition, decimals=None),
        "probe": Layout(columns=_PROBE_COLUMNS, further=_probe, decimals=3),
        "feedback": Layout(
            columns=("feedback", *_PROBE_COLUMNS, "Feedback"), further=_feedback, decimals=3
        ),
    }
)
"""How each data set writes its events: columns after the three that all have, and decimals."""
