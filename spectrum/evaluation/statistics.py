"""Is one model better than another on the same subjects, and when is a score a finding.

Subjects are what is exchangeable: what differs within one never counts as several pieces of
evidence. With one subject its runs take that place, and of one run its units. Not here: the score
and its own interval (``scores``), tests against permuted labels (``permutation``), and when a
study may look (``search``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import DataError
from spectrum.records import Prediction
from spectrum.scores.checking import classes_of_fold, stack_probabilities, true_classes
from spectrum.scores.resampling import bootstrap_interval, sign_flip_p, within

__all__ = [
    "ALPHA",
    "Comparison",
    "Finding",
    "answers_of",
    "compare_by_group",
    "compare_predictions",
    "correct_for_looks",
    "exchangeable_groups",
    "iter_pairs",
    "judge_finding",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHA: Final = 0.05
TIE: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much better one model is than another on the same units.

    ``difference`` is of the pooled scores, in [-1, 1], its interval a bootstrap over groups; ``p``
    is one-sided, that of a random swap of the two models within each group.
    """

    difference: float
    ci95: tuple[float, float]
    p: float
    num_groups: int
    test: str

    @property
    def is_superior(self) -> bool:
        """Whether the first model is better at p < 0.05."""
        return self.p < ALPHA


def compare_predictions(
    ours: Sequence[Prediction],
    theirs: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models, or a model and the floor, subject by subject.

    Parameters
    ----------
    ours, theirs : out-of-fold predictions of the same units in the same folds, in any order
    classes : in the order of the probabilities
    paired : whether the score compares the units of pairs
    num_resamples, seed : of the bootstrap, and of the test where an exact one is too large

    Raises
    ------
    DataError
        ``bad-prediction`` where the two do not speak of the same units.
    """
    ours = sorted(ours, key=lambda p: p.unit)
    theirs = sorted(theirs, key=lambda p: p.unit)
    if [(p.unit, p.fold) for p in ours] != [(p.unit, p.fold) for p in theirs]:
        raise DataError(
            f"Two models are compared on {len(ours)} and {len(theirs)} units that are not the "
            "same. Expected predictions of the same units in the same folds.",
            code="bad-prediction",
        )
    groups = within(exchangeable_groups(ours))
    scored = [_points(p, classes, groups, paired=paired) for p in (ours, theirs)]
    weights_GK = scored[0].totals_GK
    change_GK = scored[0].points_GK - scored[1].points_GK
    per_group = (change_GK / np.maximum(weights_GK.sum(0), 1)).sum(1) / max(
        1, int((weights_GK.sum(0) > 0).sum())
    )
    p, is_exact = sign_flip_p(
        [Fraction(float(d)).limit_denominator(10_000) for d in per_group],
        num_resamples=num_resamples,
        seed=seed,
    )
    low, high = bootstrap_interval(
        len(weights_GK),
        lambda counts: _mean_share(counts @ change_GK, counts @ weights_GK),
        num_resamples=num_resamples,
        seed=seed,
    )
    return Comparison(
        difference=float(per_group.sum()),
        ci95=(low, high) if len(weights_GK) > 1 else (-1.0, 1.0),
        p=p,
        num_groups=len(weights_GK),
        test=f"{'exact' if is_exact else 'Monte Carlo'} swap of the two models within "
        f"{len(weights_GK)} groups",
    )


def compare_by_group(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by the scores of each subject alone, where that is all that was kept.

    For pairs it is ``compare_predictions``; for other targets every subject weighs the same here,
    and the difference is of the mean of the subjects' scores.

    Parameters
    ----------
    ours, theirs : score of each group, of the same groups
    num_resamples, seed : as in ``compare_predictions``

    Raises
    ------
    DataError
        ``bad-prediction`` where the groups are not the same.
    """
    if ours.keys() != theirs.keys() or not ours:
        raise DataError(
            f"Two models are compared on {len(ours)} and {len(theirs)} subjects that are not the "
            "same. Expected scores of the same subjects.",
            code="bad-prediction",
        )
    change = np.array([ours[group] - theirs[group] for group in sorted(ours)])
    p, is_exact = sign_flip_p(
        [Fraction(float(value)).limit_denominator(10_000) for value in change],
        num_resamples=num_resamples,
        seed=seed,
    )
    low, high = bootstrap_interval(
        change.size,
        lambda counts: counts @ change / change.size,
        num_resamples=num_resamples,
        seed=seed,
    )
    return Comparison(
        difference=float(change.mean()),
        ci95=(low, high) if change.size > 1 else (-1.0, 1.0),
        p=p,
        num_groups=change.size,
        test=f"{'exact' if is_exact else 'Monte Carlo'} swap of the two models within "
        f"{change.size} groups, each group's score",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """Points and units of each group (G) and column (K): class, or one column for pairs."""

    points_GK: Floats
    totals_GK: Floats


def _points(
    predictions: Sequence[Prediction], classes: tuple[str, ...], groups: Ints, *, paired: bool
) -> _Points:
    num_groups = int(groups.max()) + 1
    if paired:
        return _pair_points(predictions, classes, groups, num_groups)
    truth = true_classes(predictions, classes)
    right = truth == answers_of(predictions, classes)
    points, totals = np.zeros((num_groups, len(classes))), np.zeros((num_groups, len(classes)))
    np.add.at(totals, (groups, truth), 1.0)
    np.add.at(points, (groups, truth), right.astype(float))
    return _Points(points_GK=points, totals_GK=totals)


def _pair_points(
    predictions: Sequence[Prediction], classes: tuple[str, ...], groups: Ints, num_groups: int
) -> _Points:
    """Return the mean point of each group; every group weighs one, as in the score."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for group, (earlier, later) in iter_pairs(predictions, classes, groups):
        gap = later.probabilities[1] - earlier.probabilities[1]
        found[group].append(0.5 if abs(gap) <= TIE else float(gap > 0))
    points, totals = np.zeros((num_groups, 1)), np.zeros((num_groups, 1))
    for group, values in found.items():
        points[group], totals[group] = np.mean(values), 1.0
    return _Points(points_GK=points, totals_GK=totals)


def iter_pairs(
    predictions: Sequence[Prediction], classes: tuple[str, ...], groups: Ints
) -> Iterator[tuple[int, tuple[Prediction, Prediction]]]:
    """Yield the group and the earlier and later unit of each complete pair."""
    members: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for index, prediction in enumerate(predictions):
        members[prediction.pair or prediction.unit][prediction.true_class] = index
    for rows in members.values():
        if len(rows) == 2:
            earlier, later = (rows[name] for name in classes)
            yield int(groups[later]), (predictions[earlier], predictions[later])


def answers_of(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> Ints:
    """Return the likeliest class of each unit, among the classes of its fold, (N,)."""
    open_in = classes_of_fold(predictions)
    is_open = np.array([[name in open_in[p.fold] for name in classes] for p in predictions])
    shares = np.where(is_open, stack_probabilities(predictions), -np.inf)
    return np.asarray(shares.argmax(axis=1), dtype=np.int64)


def _mean_share(points: Floats, totals: Floats) -> Floats:
    share = points / np.maximum(totals, 1)
    return np.asarray(share.sum(-1) / np.maximum((totals > 0).sum(-1), 1))


def exchangeable_groups(predictions: Sequence[Prediction]) -> list[str]:
    """Return what is exchangeable: subjects; runs of one subject, or its pairs; units of a run."""
    subjects = [p.group for p in predictions]
    if len(set(subjects)) > 1:
        return subjects
    runs = [p.pair or f"{p.session}/{p.task}/{p.run}" for p in predictions]
    return runs if len(set(runs)) > 1 else [p.unit for p in predictions]


def correct_for_looks(p: float, num_looks: int) -> float:
    """Return p for data that were looked at several times: times the number of looks, at most 1.

    Bonferroni's correction, which holds however the looks depend on each other.
    """
    return min(1.0, p * max(1, num_looks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a score is a positive finding, and a sentence for each condition."""

    is_positive: bool
    reasons: tuple[str, ...]


def judge_finding(
    permutation_p: float,
    against_floor: Comparison,
    *,
    num_looks: int = 1,
    agrees_with_dissociation: bool | None = None,
) -> Finding:
    """Say whether a score is a positive finding.

    Positive: the permutation test says p < 0.05, corrected for the number of looks; the model is
    better than the floor on the same subjects, at p < 0.05 in the paired test, corrected too; and
    the dissociation agrees, where one could be run (None where not).

    Parameters
    ----------
    permutation_p : of ``permute_labels`` or ``permute_sequentially``
    against_floor : of ``compare_predictions``, model first
    num_looks : times that the data were scored, the present one among them
    agrees_with_dissociation : what it says, None where none can be run
    """
    p = correct_for_looks(permutation_p, num_looks)
    floor_p = correct_for_looks(against_floor.p, num_looks)
    looks = f" after {num_looks} looks" if num_looks > 1 else ""
    verdicts = [
        (p < ALPHA, f"permutation p = {p:.4f}{looks}"),
        (
            against_floor.is_superior and floor_p < ALPHA,
            f"{against_floor.difference:+.3f} above the floor, paired p = {floor_p:.4f}{looks}",
        ),
    ]
    if agrees_with_dissociation is not None:
        said = "agrees" if agrees_with_dissociation else "does not agree"
        verdicts.append((agrees_with_dissociation, f"the dissociation {said}"))
    return Finding(
        is_positive=all(holds for holds, _ in verdicts),
        reasons=tuple(
            f"{'holds' if holds else 'fails'}: {sentence}" for holds, sentence in verdicts
        ),
    )
