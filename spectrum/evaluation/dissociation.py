"""What a dissociation says of a decoder of early and late: that it follows learning, or the clock.

A task compares runs of a subject in which the two disagree, and states beforehand what a learning
signal, a clock signal and a data-set signal would each give. Every subject has one point: 1 where
its runs are ordered as the task asks, 0 where the other way round, 1/2 for a tie; several
comparisons of a subject are averaged. Not here: which runs a task compares
(``dissociation_tasks``), and the models that are asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np

from spectrum.entities import RunKey
from spectrum.evaluation.statistics import ALPHA
from spectrum.scores.resampling import bootstrap_interval, sign_flip_p

__all__ = [
    "Contrast",
    "Direction",
    "Dissociation",
    "Expectation",
    "RunAnswer",
    "agreement",
    "judge_dissociation",
    "logit",
]

Direction = Literal["above", "below", "chance"]

TIE: Final = 1e-12
SMALLEST: Final = 1e-12
"""Probabilities nearer to 0 or 1 than this count as this, so that their logit is finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """What models that never trained on its subject say of a run: the probability of "late"."""

    key: RunKey
    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One comparison within a subject: positive where the runs are ordered as the task asks."""

    group: str
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What each signal would give, in words and as the side of one half; stated beforehand."""

    question: str
    learning: Direction
    clock: Direction
    dataset: Direction
    reasons: Mapping[str, str]
    separates: bool
    """Whether learning and the clock of a session are expected on different sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dissociation:
    """What was found.

    ``share`` is the mean point over subjects with its bootstrap interval; ``p_above`` and
    ``p_below`` are of sign flips over subjects, ``smallest_p`` what so many can reach at best.
    ``found`` is the side that p < 0.05 shows; ``fits`` names the signals that expect that side.
    """

    task: str
    expectation: Expectation
    share: float
    ci95: tuple[float, float]
    p_above: float
    p_below: float
    smallest_p: float
    num_subjects: int
    num_contrasts: int
    found: Direction
    fits: tuple[str, ...]
    verdict: str
    by_subject: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def logit(probability: float) -> float:
    """Return log(p / (1 - p)), finite also at 0 and 1."""
    clipped = min(max(probability, SMALLEST), 1 - SMALLEST)
    return float(np.log(clipped / (1 - clipped)))


def judge_dissociation(
    task: str,
    expectation: Expectation,
    contrasts: Iterable[Contrast],
    *,
    notes: Sequence[str] = (),
    num_resamples: int = 2000,
    seed: int = 0,
) -> Dissociation:
    """Score the contrasts of a task, subject by subject, against what was expected.

    Parameters
    ----------
    task : its name
    expectation : stated before
    contrasts : at least one
    notes : what to know besides
    num_resamples, seed : of the bootstrap, and of the test where an exact one is too large
    """
    points: defaultdict[str, list[Fraction]] = defaultdict(list)
    for contrast in contrasts:
        points[contrast.group].append(_point(contrast.gap))
    means = {group: sum(p, Fraction(0)) / len(p) for group, p in sorted(points.items())}
    above = [mean - Fraction(1, 2) for mean in means.values()]
    values = np.array([float(mean) for mean in means.values()])
    ps = [
        sign_flip_p(signed, num_resamples=num_resamples, seed=seed)[0]
        for signed in (above, [-value for value in above])
    ]
    found: Direction = "above" if ps[0] < ALPHA else "below" if ps[1] < ALPHA else "chance"
    fits = tuple(
        name for name in ("learning", "clock", "dataset") if getattr(expectation, name) == found
    )
    smallest = 2.0 ** -len(means)
    return Dissociation(
        task=task,
        expectation=expectation,
        share=float(values.mean()),
        ci95=bootstrap_interval(
            values.size,
            lambda counts: counts @ values / values.size,
            num_resamples=num_resamples,
            seed=seed,
        ),
        p_above=ps[0],
        p_below=ps[1],
        smallest_p=smallest,
        num_subjects=len(means),
        num_contrasts=sum(len(p) for p in points.values()),
        found=found,
        fits=fits,
        verdict=_verdict(found, fits, expectation, smallest),
        by_subject={group: float(mean) for group, mean in means.items()},
        notes=tuple(notes),
    )


def _point(gap: float) -> Fraction:
    return Fraction(1, 2) if abs(gap) <= TIE else Fraction(int(gap > 0))


def _verdict(
    found: Direction, fits: Sequence[str], expectation: Expectation, smallest: float
) -> str:
    if found == "chance":
        few = f" (with so few subjects p is {smallest:.2g} at best)" if smallest >= ALPHA else ""
        if expectation.learning == "chance":
            return f"no order was shown, as learning has it, which proves little{few}"
        return f"undecided: neither side of one half was shown{few}"
    signals = " and ".join("a data-set" if name == "dataset" else f"a {name}" for name in fits)
    if not fits:
        return f"{found} one half, which none of the three signals expects"
    return f"{found} one half, as {signals} signal would have it"


def agreement(found: Sequence[Dissociation]) -> bool | None:
    """Say whether the dissociations speak for learning and none against it.

    Returns
    -------
    agrees : None where none could decide: it does not part learning from the clock, or has too few
        subjects for any p < 0.05
        True where at least one shows the side that learning alone expects and none the side of
        the clock; False in all other cases, undecided ones among them.
    """
    decisive = [one for one in found if one.expectation.separates and one.smallest_p < ALPHA]
    if not decisive:
        return None
    for_learning = any(
        one.found != "chance" and one.found == one.expectation.learning for one in decisive
    )
    against = any(
        one.found != "chance" and one.found != one.expectation.learning for one in decisive
    )
    return for_learning and not against
