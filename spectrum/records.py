"""What travels up: plain frozen values that the loop, a trial and an audit yield.

The loop knows no logger, no Ray and no clock; adapters carry these values to Tune, to Train, to
Aim and to disk. Numbers are Python floats, so that every record is JSON as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["EpochRecord", "FoldRecord", "Prediction", "ScoreRecord", "TrialEpochRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of one scored unit: a run, or an event of a run.

    ``unit`` is the run's name, with ``#<event index>`` after it for an event. ``pair`` names the
    early/late pair (subject, task, session) of a paired target, "" otherwise. ``probabilities``
    are the mean over the unit's sequences, in the order of the target's classes. ``person`` is ""
    unless the subject is known under another name too. ``sequence_answers`` are the sequences of
    the unit that were taken for each class, () where they were not counted.
    """

    dataset: str
    subject: str
    session: str
    task: str
    run: str
    unit: str
    pair: str
    true_class: str
    probabilities: tuple[float, ...]
    fold: str
    person: str = ""
    sequence_answers: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the prediction that was written as JSON."""
        listed = ("probabilities", "sequence_answers")
        return cls(**{**value, **{name: tuple(value[name]) for name in listed if name in value}})

    @property
    def group(self) -> str:
        """The person, under the first of its names: data set and subject."""
        return self.person or f"{self.dataset}/sub-{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """A score with its interval, and what it would be without looking.

    ``value`` and ``ci95`` lie in [0, 1]; ``chance`` is the expected value under guessing;
    ``num_units`` counts what was scored (pairs, runs or events), ``num_groups`` the independent
    groups that were resampled; ``p`` is one-sided against chance.
    """

    value: float
    ci95: tuple[float, float]
    chance: float
    p: float
    num_units: int
    num_groups: int
    test: str
    by_group: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch of one fold.

    ``epoch`` counts from 0. Losses are nats per sequence; ``validation`` metrics are those of the
    fold's held-out side. ``metrics`` holds further scalars by name (gradient norm).

    ``measured`` is what the epoch took here, which is no part of what equal records share:
    ``seconds`` with evaluation, the training ``sequences_per_s`` over these, and on a GPU the peak
    ``device_memory_bytes`` of the first worker. It is empty for an epoch told again after a stop.
    """

    fold: str
    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    lr: float
    num_sequences: int
    metrics: dict[str, float] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    measured: dict[str, float] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON without ``measured``, and predictions, which travel once a fold."""
        record = asdict(self)
        del record["predictions"], record["measured"]
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRecord:
    """One finished fold: what the kept checkpoint says of the held-out side."""

    fold: str
    held_out: str
    epoch: int
    num_training: int
    num_validation: int
    score: float
    loss: float
    checkpoint: str
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was asked for and could not be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEpochRecord:
    """A trial after one more epoch of its folds: what a pruner is told.

    ``epoch`` counts a trial's records from 0; epoch by epoch it is the epoch of all folds, fold
    by fold it goes on from fold to fold. ``folds`` are the last epochs of the folds begun so far,
    and ``score`` is pooled over their validation predictions: those of the kept epoch for the
    folds named in ``ended_folds``, in the order they ended, those of the last epoch for others.
    """

    epoch: int
    score: ScoreRecord
    folds: tuple[EpochRecord, ...]
    finished: bool
    ended_folds: tuple[str, ...] = ()

    @property
    def ends_fold(self) -> bool:
        """Whether all folds begun so far have ended: ``score.by_group`` is final for them."""
        return len(self.ended_folds) == len(self.folds)
