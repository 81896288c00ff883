"""What a dissociation says of a decoder of early and late: that it follows learning, or the clock.

A task compares runs of a subject in which the two disagree, and states beforehand what a learning
signal, a clock signal and a data-set signal would each give. Every subject has one point: 1 where
its runs are ordered as the task asks, 0 where the other way round, 1/2 for a tie; several
comparisons of a subject are averaged. The share of points says what was found, and the exact
signed-rank test over subjects (Wilcoxon 1945) whether it may be chance: a data set has some 13
subjects, in whom a test of the points alone would miss every third signal
(``tests/benchmarks/power.md``). Ranks keep a network that is too sure of one subject from deciding
for all. Not here: which runs a task compares (``dissociation_tasks``), and the models that are
asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from scipy.stats import rankdata

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
    ``p_below`` are of the signed-rank test, ``smallest_p`` what so many subjects can reach at
    best. ``found`` is the side of one half on which ``share`` lies, where p < 0.05 shows it too;
    ``fits`` names the signals that expect that side.
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
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    for contrast in contrasts:
        gaps[contrast.group].append(contrast.gap)
    means = {group: float(np.mean([_point(gap) for gap in g])) for group, g in gaps.items()}
    means = dict(sorted(means.items()))
    values = np.array(list(means.values()))
    ranks = _signed_ranks([float(np.mean(gaps[group])) for group in means])
    ps = [
        sign_flip_p(signed, num_resamples=num_resamples, seed=seed)[0]
        for signed in (ranks, [-rank for rank in ranks])
    ]
    found = _side(float(values.mean()), *ps)
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
        num_contrasts=sum(len(g) for g in gaps.values()),
        found=found,
        fits=fits,
        verdict=_verdict(found, fits, expectation, smallest),
        by_subject=means,
        notes=tuple(notes),
    )


def _point(gap: float) -> float:
    return 0.5 if abs(gap) <= TIE else float(gap > 0)


def _signed_ranks(gaps: Sequence[float]) -> list[Fraction]:
    """Return the rank of each gap's size with the gap's sign; ties have none."""
    sizes = np.array([abs(gap) if abs(gap) > TIE else 0.0 for gap in gaps])
    ranks = np.zeros(sizes.size)
    ranks[sizes > 0] = rankdata(sizes[sizes > 0])
    return [Fraction(rank) for rank in (ranks * np.sign(gaps)).tolist()]


def _side(share: float, p_above: float, p_below: float) -> Direction:
    if p_above < ALPHA and share > 0.5:
        return "above"
    return "below" if p_below < ALPHA and share < 0.5 else "chance"


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
