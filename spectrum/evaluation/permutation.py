"""Tests of a score against permuted labels: of a fixed model, and with the whole fit repeated.

Labels move within subjects alone, so that what differs only between subjects is no evidence.
Permutations are pure functions of a seed and their number: whoever has workers may spread them.
Not here: comparing two models (``statistics``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable, Unit
from spectrum.evaluation.statistics import answers_of, exchangeable_groups, iter_pairs
from spectrum.records import Prediction
from spectrum.scores.checking import true_classes
from spectrum.scores.resampling import within

__all__ = ["PermutationResult", "permute_labels", "permute_sequentially", "shuffled_table"]

Ints = NDArray[np.int64]

TIE: Final = 1e-12

ENOUGH: Final = 20
"""Null scores that reach the observed one, after which a permutation test stops (Besag & Clifford
1991): p is then known to about a fifth of itself, and is far from small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutationResult:
    """A score among the scores of permuted labels.

    ``p`` counts ties against the score, so that it is never too small; ``p_randomised`` breaks
    them at random and is uniform under the null where no stop cuts it short. ``stopped_early``
    says that enough null scores had reached the observed one.
    """

    observed: float
    null: tuple[float, ...]
    p: float
    p_randomised: float
    stopped_early: bool


def permute_labels(
    predictions: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    num_permutations: int = 999,
    seed: int = 0,
) -> PermutationResult:
    """Test a fixed model on held-out data: labels move within test subjects, no fit is repeated.

    Labels of pairs are swapped, those of other units shuffled within subject and fold. Units must
    not share volumes: of overlapping events the labels cannot be exchanged one by one.

    Parameters
    ----------
    predictions : of held-out units
    classes : in the order of the probabilities
    paired : whether pairs are scored
    num_permutations : n; p is at least 1 / (n + 1)
    seed : of the draw
    """
    if paired:
        groups = within(exchangeable_groups(predictions))
        found: defaultdict[int, list[float]] = defaultdict(list)
        for group, (earlier, later) in iter_pairs(predictions, classes, groups):
            gap = later.probabilities[1] - earlier.probabilities[1]
            found[group].append(0.0 if abs(gap) <= TIE else float(np.sign(gap)))
        return permute_sequentially(
            lambda rng: _swapped_score(found, rng),
            num_permutations=num_permutations,
            enough=None,
            seed=seed,
        )
    truth, answers = true_classes(predictions, classes), answers_of(predictions, classes)
    strata = within([f"{p.group}|{p.fold}" for p in predictions])
    return permute_sequentially(
        lambda rng: _shuffled_score(truth, answers, strata, rng),
        num_permutations=num_permutations,
        enough=None,
        seed=seed,
    )


def _swapped_score(
    signs_of_group: dict[int, list[float]], rng: np.random.Generator | None
) -> float:
    means = [
        np.mean(signs if rng is None else rng.choice([-1.0, 1.0], len(signs)) * signs)
        for signs in signs_of_group.values()
    ]
    return float(np.mean(means)) / 2 + 0.5


def _shuffled_score(
    truth: Ints, answers: Ints, strata: Ints, rng: np.random.Generator | None
) -> float:
    if rng is not None:
        truth = _shuffled_within(truth, strata, rng)
    totals = np.bincount(truth)
    hits = np.bincount(truth[truth == answers], minlength=totals.size)
    return float((hits[totals > 0] / totals[totals > 0]).mean())


def _shuffled_within(labels: Ints, strata: Ints, rng: np.random.Generator) -> Ints:
    shuffled = np.empty_like(labels)
    order = np.argsort(strata, kind="stable")
    shuffled[order] = labels[np.lexsort((rng.random(labels.size), strata))]
    return shuffled


def permute_sequentially(
    score_of: Callable[[np.random.Generator | None], float],
    *,
    num_permutations: int = 999,
    enough: int | None = ENOUGH,
    seed: int = 0,
) -> PermutationResult:
    """Test a score whose fit is repeated for every permutation, no longer than needed.

    Parameters
    ----------
    score_of : the score with labels permuted by a generator; with the true ones for None
        Permutation i gets ``default_rng([seed, i])``, whoever computes it.
    num_permutations : n at most; p is at least 1 / (n + 1)
    enough : null scores that reach the observed one after which it stops, with p = enough / n so
        far (Besag & Clifford 1991); None goes on to the end
    seed : of the permutations

    Returns
    -------
    result : p is exact whether it stopped or not
    """
    observed = score_of(None)
    null: list[float] = []
    num_above = num_equal = 0
    for index in range(num_permutations):
        null.append(score_of(np.random.default_rng([seed, index])))
        num_equal += abs(null[-1] - observed) <= TIE
        num_above += null[-1] > observed + TIE
        if enough is not None and num_above + num_equal >= enough:
            break
    stopped = enough is not None and num_above + num_equal >= enough
    reached, count = num_above + num_equal, len(null)
    luck = float(np.random.default_rng([seed, num_permutations]).random())
    return PermutationResult(
        observed=observed,
        null=tuple(null),
        p=reached / count if stopped else (reached + 1) / (count + 1),
        p_randomised=(num_above + luck * (num_equal + 1)) / (count + 1),
        stopped_early=stopped,
    )


def shuffled_table(table: SequenceTable, rng: np.random.Generator) -> SequenceTable:
    """Return the table with classes permuted within subjects, for a whole refit.

    Classes are swapped within pairs; move among the events of a run; or among the runs of a
    subject. Folds that keep subjects (or, for events, runs) whole stay as they are.
    """
    strata = within([_stratum(unit) for unit in table.units])
    classes = np.array([unit.class_index for unit in table.units], dtype=np.int64)
    moved = _shuffled_within(classes, strata, rng)
    units = tuple(
        replace(unit, class_index=int(index))
        for unit, index in zip(table.units, moved, strict=True)
    )
    return replace(table, units=units)


def _stratum(unit: Unit) -> str:
    if unit.pair:
        return unit.pair
    return str(unit.key) if unit.event_index is not None else unit.group
