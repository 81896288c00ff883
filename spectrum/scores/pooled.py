"""The score, pooled over all validation units of all folds, with its interval and its test.

Paired targets: a pair is right when the later run gets the higher probability of the later class;
ties count half; pairs are averaged within a subject, subjects with equal weight. Other targets:
balanced accuracy, the mean over classes of the share of their units that are recognised, all folds
together. Where folds differ in their classes, a unit is judged among the classes of its own fold;
a class's recall is over all its units in whichever folds, and chance is what guessing evenly among
the fold's classes would reach: 1/K where all folds have all K classes.

Intervals are percentile bootstraps over subjects (over runs with a single subject), never standard
errors over folds. Not here: what a fold is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from spectrum.errors import ConfigError, DataError
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores.checking import (
    check_predictions,
    classes_of_fold,
    stack_probabilities,
    true_classes,
)
from spectrum.scores.resampling import bootstrap_interval, permutation_p, sign_flip_p, within

__all__ = ["score_predictions"]

TIE: Final = 1e-12
"""Probabilities closer than this are a tie: equal inputs may differ by rounding, no model by so
little."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


MAX_DENOMINATOR: Final = 10_000
"""A subject's score is brought to a fraction of at most this denominator, for an exact test."""


def score_predictions(
    predictions: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    num_resamples: int = 2000,
    seed: int = 0,
) -> ScoreRecord:
    """Score the pooled out-of-fold predictions of a target.

    Parameters
    ----------
    predictions : one for each validation unit, from all folds
    classes : K names, in the order of the probabilities
    paired : whether the two units of a pair are compared; classes are then (earlier, later)
    num_resamples : of the bootstrap, and of a permutation test
    seed : of both

    Returns
    -------
    score : value, interval and p in [0, 1]
        ``num_units`` counts pairs for a paired target. ``test`` says which test gave ``p`` and
        what it takes for granted.

    Raises
    ------
    DataError
        Where a unit is missing, doubled or not finite, or no pair is complete.
    """
    check_predictions(predictions, classes)
    if paired:
        return _score_pairs(predictions, classes, num_resamples=num_resamples, seed=seed)
    return _score_units(predictions, classes, num_resamples=num_resamples, seed=seed)


def _score_pairs(
    predictions: Sequence[Prediction], classes: tuple[str, ...], *, num_resamples: int, seed: int
) -> ScoreRecord:
    if len(classes) != 2:
        raise ConfigError(
            f"A paired score was asked for {len(classes)} classes. Expected two, (earlier, later)."
        )
    points, incomplete = _pair_points(predictions, classes)
    by_group = {group: sum(p) / len(p) for group, p in sorted(points.items())}
    resampled = _resampled_pairs(points)
    values = np.array([float(value) for value in resampled])
    p, is_exact = sign_flip_p(
        [value - Fraction(1, 2) for value in resampled], num_resamples=num_resamples, seed=seed
    )
    return ScoreRecord(
        value=float(sum(by_group.values()) / len(by_group)),
        ci95=bootstrap_interval(
            values.size,
            lambda counts: counts @ values / values.size,
            num_resamples=num_resamples,
            seed=seed,
        ),
        chance=0.5,
        p=p,
        num_units=sum(len(p) for p in points.values()),
        num_groups=len(by_group),
        test=_sign_flip_name(len(by_group), values.size, is_exact),
        by_group={group: float(value) for group, value in by_group.items()},
        details=_details(
            "pairs" if len(by_group) == 1 else "subjects",
            values,
            incomplete_pairs=incomplete,
            num_pairs_by_group={group: len(p) for group, p in sorted(points.items())},
        ),
    )


def _pair_points(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> tuple[dict[str, list[Fraction]], list[str]]:
    members: defaultdict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        members[prediction.pair or prediction.unit].append(prediction)
    points: defaultdict[str, list[Fraction]] = defaultdict(list)
    incomplete = []
    for pair, units in sorted(members.items()):
        of_class = {unit.true_class: unit for unit in units}
        if len(units) != 2 or len(of_class) != 2:
            incomplete.append(pair)
            continue
        earlier, later = (of_class[name] for name in classes)
        points[later.group].append(_point(earlier.probabilities[1], later.probabilities[1]))
    if not points:
        raise DataError(
            f"None of {len(members)} pairs has one unit of each class. "
            "Expected both runs of a pair among the predictions.",
            code="bad-prediction",
        )
    return dict(points), incomplete


def _point(earlier: float, later: float) -> Fraction:
    if abs(later - earlier) <= TIE:
        return Fraction(1, 2)
    return Fraction(int(later > earlier))


def _resampled_pairs(points: dict[str, list[Fraction]]) -> list[Fraction]:
    if len(points) == 1:
        return next(iter(points.values()))
    return [sum(p, Fraction(0)) / len(p) for _, p in sorted(points.items())]


def _sign_flip_name(num_groups: int, num_flipped: int, is_exact: bool) -> str:
    how = "exact" if is_exact else "Monte Carlo"
    if num_groups == 1:
        return f"{how} sign flip over {num_flipped} pairs of one subject, taken as independent"
    return f"{how} sign flip over {num_flipped} subjects"


def _score_units(
    predictions: Sequence[Prediction], classes: tuple[str, ...], *, num_resamples: int, seed: int
) -> ScoreRecord:
    truth = true_classes(predictions, classes)
    answers = _answers(predictions, classes)
    groups = [prediction.group for prediction in predictions]
    kind, keys = _resampled_keys(predictions)
    hits_GK, totals_GK = _hits(truth, answers, within(keys), len(classes))
    chance = _chance(predictions)
    p, test = _test_units(
        predictions, truth, answers, chance=chance, num_resamples=num_resamples, seed=seed
    )
    return ScoreRecord(
        value=float(_balanced(hits_GK.sum(0), totals_GK.sum(0))),
        ci95=bootstrap_interval(
            len(hits_GK),
            lambda counts: _balanced(counts @ hits_GK, counts @ totals_GK),
            num_resamples=num_resamples,
            seed=seed,
        ),
        chance=chance,
        p=p,
        num_units=len(predictions),
        num_groups=len(set(groups)),
        test=test,
        by_group=_balanced_by(groups, truth, answers, len(classes)),
        details=_details(
            kind, _balanced(hits_GK, totals_GK), recall=_recalls(hits_GK, totals_GK, classes)
        ),
    )


def _answers(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> Ints:
    """Return the likeliest class of each unit, among the classes of its fold."""
    open_in = classes_of_fold(predictions)
    is_open_NK = np.array([[name in open_in[p.fold] for name in classes] for p in predictions])
    masked_NK = np.where(is_open_NK, stack_probabilities(predictions), -np.inf)
    return np.asarray(masked_NK.argmax(axis=1), dtype=np.int64)


def _resampled_keys(predictions: Sequence[Prediction]) -> tuple[str, list[str]]:
    """Return what is resampled: subjects; runs of a single subject; units of a single run."""
    runs = [f"{p.group}/{p.session}/{p.task}/{p.run}" for p in predictions]
    if len({p.group for p in predictions}) > 1:
        return "subjects", [p.group for p in predictions]
    if len(set(runs)) > 1:
        return "runs", runs
    return "units", [p.unit for p in predictions]


def _hits(truth: Ints, answers: Ints, rows: Ints, num_classes: int) -> tuple[Ints, Ints]:
    hits = np.zeros((int(rows.max()) + 1, num_classes), dtype=np.int64)
    totals = np.zeros_like(hits)
    np.add.at(totals, (rows, truth), 1)
    np.add.at(hits, (rows, truth), truth == answers)
    return hits, totals


def _balanced(hits: Ints, totals: Ints) -> Floats:
    """Return the mean recall along the last axis, over the classes that have units."""
    recall = hits / np.maximum(totals, 1)
    return np.asarray(recall.sum(axis=-1) / np.maximum((totals > 0).sum(axis=-1), 1))


def _recalls(hits_GK: Ints, totals_GK: Ints, classes: Sequence[str]) -> dict[str, float]:
    hits, totals = hits_GK.sum(0), totals_GK.sum(0)
    return {name: float(hits[i] / totals[i]) for i, name in enumerate(classes) if totals[i] > 0}


def _balanced_by(
    groups: Sequence[str], truth: Ints, answers: Ints, num_classes: int
) -> dict[str, float]:
    values = _balanced(*_hits(truth, answers, within(groups), num_classes))
    return {group: float(value) for group, value in zip(sorted(set(groups)), values, strict=True)}


def _chance(predictions: Sequence[Prediction]) -> float:
    """Return the balanced accuracy expected of even guessing among the classes of each fold."""
    open_in = classes_of_fold(predictions)
    guesses: defaultdict[str, list[float]] = defaultdict(list)
    for prediction in predictions:
        guesses[prediction.true_class].append(1 / len(open_in[prediction.fold]))
    return float(np.mean([np.mean(shares) for shares in guesses.values()]))


def _test_units(
    predictions: Sequence[Prediction],
    truth: Ints,
    answers: Ints,
    *,
    chance: float,
    num_resamples: int,
    seed: int,
) -> tuple[float, str]:
    totals = np.bincount(truth)
    if _is_binomial(predictions, totals):
        p = float(binom.sf(int((truth == answers).sum()) - 1, truth.size, chance))
        return min(1.0, p), (
            f"exact binomial over {truth.size} units of one subject, balanced over classes; "
            "units taken as independent"
        )
    if _are_events_of_subjects(predictions):
        by_group = _balanced_by([p.group for p in predictions], truth, answers, totals.size)
        return _test_subjects(by_group, chance=chance, num_resamples=num_resamples, seed=seed)
    weights = 1 / np.maximum(totals, 1) / (totals > 0).sum()
    strata = within([f"{p.group}|{p.fold}" for p in predictions])
    p = permutation_p(
        truth,
        strata,
        lambda labels: ((labels == answers) * weights[labels]).sum(axis=1),
        num_resamples=num_resamples,
        seed=seed,
    )
    return p, (
        f"{num_resamples} permutations of classes within subject and fold, predictions fixed (the "
        "model is not fitted again); what differs only between subjects is no evidence"
    )


def _are_events_of_subjects(predictions: Sequence[Prediction]) -> bool:
    """Tell whether units are events of several subjects.

    Events of a block share volumes, so that their classes cannot be exchanged one by one; on null
    data of blocks such a permutation calls a third of the sets significant.
    """
    has_events = any("#" in prediction.unit for prediction in predictions)
    return has_events and len({prediction.group for prediction in predictions}) > 1


def _test_subjects(
    by_group: dict[str, float], *, chance: float, num_resamples: int, seed: int
) -> tuple[float, str]:
    above = [Fraction(v - chance).limit_denominator(MAX_DENOMINATOR) for v in by_group.values()]
    p, is_exact = sign_flip_p(above, num_resamples=num_resamples, seed=seed)
    return p, f"{_sign_flip_name(len(above), len(above), is_exact)}, each score minus chance"


def _is_binomial(predictions: Sequence[Prediction], totals: Ints) -> bool:
    one_subject = len({p.group for p in predictions}) == 1
    present = totals[totals > 0]
    return (
        one_subject
        and len(set(present.tolist())) == 1
        and len(set(classes_of_fold(predictions).values())) == 1
    )


def _details(resampled: str, values: Floats, **further: Any) -> dict[str, Any]:
    note = ""
    if values.size < 2:
        note = "One group cannot be resampled; the interval says nothing."
    elif np.ptp(values) == 0.0:
        note = "All groups score the same, so the interval has no width; that is not certainty."
    return {"resampled": resampled, **further, **({"note": note} if note else {})}
