"""The truths: which components each one plants, and what it promises of a score.

Everything else of a run (head, task response, noise, motion, length, events) is the same under
every truth. Not here: how large a component is (``planting``, ``session_clock``) and which runs
get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["TRUTHS", "Learning", "MarkOf", "Truth", "TruthName"]

TruthName = Literal["effect", "null", "leak", "clock", "site", "reversal"]

Learning = Literal["stage", "coin", "none"]
"""What the deep response follows: the stage of the run, one coin for both runs of a subject,
session and task, or nothing, as it is not there."""

MarkOf = Literal["nobody", "subject", "dataset"]
"""Whose mark all images bear: a smooth pattern in the mean image and in the event response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The components of a truth; ``promise`` says what they must do to a score."""

    promise: str
    learning: Learning
    has_clock: bool = False
    mark_of: MarkOf = "nobody"


TRUTHS: Final[Mapping[TruthName, Truth]] = MappingProxyType(
    {
        "effect": Truth(
            promise=(
                "early_late is decodable from the event response and not from acquisition numbers"
            ),
            learning="stage",
        ),
        "null": Truth(promise="early_late is at chance", learning="coin"),
        "leak": Truth(
            promise=(
                "the classes of leak.yaml are decodable when folds part subjects by run, and at "
                "chance when subjects stay whole"
            ),
            learning="none",
            mark_of="subject",
        ),
        "clock": Truth(
            promise=(
                "early_late is decodable, by acquisition numbers too, and a decoder of it calls "
                "reversal run 1 later than the run before it"
            ),
            learning="coin",
            has_clock=True,
        ),
        "site": Truth(
            promise="stage is decodable, and acquisition numbers decode it as well",
            learning="none",
            mark_of="dataset",
        ),
        "reversal": Truth(
            promise=(
                "in reversal run 1 a decoder of the event response says early and a decoder of "
                "the clock says late"
            ),
            learning="stage",
            has_clock=True,
        ),
    }
)
