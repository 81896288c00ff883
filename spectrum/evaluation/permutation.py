"""Tests of a score against permuted classes: of a fixed model, and with the whole fit repeated.

Which classes may change places is decided in ``exchange``. Where there are no more arrangements
than permutations asked for, each is taken once, and p is exact; else they are drawn, permutation i
from a seed and i, so that whoever has workers may spread them. Not here: comparing two models
(``statistics``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable
from spectrum.evaluation.exchange import Exchange, exchange_of_predictions
from spectrum.evaluation.statistics import ALPHA, answers_of, exchangeable_groups, iter_pairs
from spectrum.records import Prediction
from spectrum.scores.checking import true_classes
from spectrum.scores.resampling import within

__all__ = ["PermutationResult", "permute_labels", "permute_sequentially", "relabel_table"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIE: Final = 1e-12

ENOUGH: Final = 20
"""Null scores that reach the observed one, after which a permutation test stops (Besag & Clifford
1991): p is then known to about a fifth of itself, and is far from small."""


MAX_COUNTED: Final = 2**53
"""Arrangements are counted up to this, the largest whole number that every JSON reader keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutationResult:
    """A score among the scores of permuted classes.

    ``p`` counts ties against the score, so that it is never too small; ``p_randomised`` breaks
    them at random and is uniform under the null where no stop cuts it short. ``stopped_early``
    says that enough null scores had reached the observed one. ``num_arrangements`` counts the
    distinct arrangements of the classes, the observed one among them and 2^53 at most;
    ``is_exact`` says that ``null`` holds all others. No result could have had a ``p`` below
    ``smallest_p``. ``test`` says what was exchanged and what that takes for granted.
    """

    observed: float
    null: tuple[float, ...]
    p: float
    p_randomised: float
    stopped_early: bool
    num_arrangements: int
    is_exact: bool
    smallest_p: float
    test: str


def permute_labels(
    predictions: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    num_permutations: int = 999,
    seed: int = 0,
) -> PermutationResult:
    """Test a fixed model on held-out data: classes move as ``exchange`` says, no fit is repeated.

    Parameters
    ----------
    predictions : of held-out units
    classes : in the order of the probabilities
    paired : whether pairs are scored
    num_permutations : n; p is at least 1 / (n + 1), and at least 1 / number of arrangements
    seed : of the draw

    Raises
    ------
    DataError
        ``no-permutation`` where no class can move.
    """
    exchange = exchange_of_predictions(predictions, classes=classes, paired=paired)
    scorer = _pair_scorer if paired else _unit_scorer
    return _test(
        scorer(predictions, classes),
        exchange,
        num_permutations=num_permutations,
        enough=None,
        seed=seed,
        num_equal_fits=1,
    )


def _pair_scorer(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> Callable[[Ints], float]:
    groups = within(exchangeable_groups(predictions))
    row_of = {prediction.unit: row for row, prediction in enumerate(predictions)}
    rows, signs, of_group = [], [], []
    for group, (earlier, later) in iter_pairs(predictions, classes, groups):
        gap = later.probabilities[1] - earlier.probabilities[1]
        rows.append(row_of[later.unit])
        signs.append(0.0 if abs(gap) <= TIE else float(np.sign(gap)))
        of_group.append(group)
    index = np.unique(of_group, return_inverse=True)[1]
    weights = np.array(signs) / np.bincount(index)[index] / np.unique(index).size
    return lambda labels: float((weights * np.where(labels[rows] == 1, 1, -1)).sum()) / 2 + 0.5


def _unit_scorer(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> Callable[[Ints], float]:
    answers = answers_of(predictions, classes)
    totals = np.bincount(true_classes(predictions, classes))

    def score_of(labels: Ints) -> float:
        hits = np.bincount(labels[labels == answers], minlength=totals.size)
        return float((hits[totals > 0] / totals[totals > 0]).mean())

    return score_of


def permute_sequentially(
    score_of: Callable[[Ints], float],
    exchange: Exchange,
    *,
    num_permutations: int = 999,
    enough: int | None = ENOUGH,
    seed: int = 0,
) -> PermutationResult:
    """Test a score whose fit is repeated for every permutation, no longer than needed.

    Parameters
    ----------
    score_of : the score with the classes (N,) of all units
    exchange : which classes may change places, of ``exchange_of_table``
    num_permutations : n at most; p is at least 1 / (n + 1)
    enough : null scores that reach the observed one after which it stops, with p = enough / n so
        far (Besag & Clifford 1991); None goes on to the end
    seed : of the permutations; number i is drawn with ``default_rng([seed, i])``

    Returns
    -------
    result : its p holds its level whether it stopped or not
        ``smallest_p`` knows that a fit finds the same where the classes have only changed names.
    """
    return _test(
        score_of,
        exchange,
        num_permutations=num_permutations,
        enough=enough,
        seed=seed,
        num_equal_fits=exchange.num_renamings,
    )


def _test(
    score_of: Callable[[Ints], float],
    exchange: Exchange,
    *,
    num_permutations: int,
    enough: int | None,
    seed: int,
    num_equal_fits: int,
) -> PermutationResult:
    observed = score_of(exchange.observed)
    possible = exchange.num_arrangements
    num_asked = min(num_permutations, possible - 1)
    null: list[float] = []
    num_above = num_equal = 0
    for labels in _arrangements(exchange, num_permutations, seed):
        null.append(score_of(labels))
        num_equal += abs(null[-1] - observed) <= TIE
        num_above += null[-1] > observed + TIE
        if enough is not None and num_above + num_equal >= enough:
            break
    stopped = enough is not None and num_above + num_equal >= enough
    reached, count = num_above + num_equal, len(null)
    is_exact = count == possible - 1
    luck = float(np.random.default_rng([seed, num_permutations]).random())
    smallest = max(num_equal_fits / possible, 1 / (num_asked + 1))
    return PermutationResult(
        observed=observed,
        null=tuple(null),
        p=reached / count if stopped and not is_exact else (reached + 1) / (count + 1),
        p_randomised=(num_above + luck * (num_equal + 1)) / (count + 1),
        stopped_early=stopped and count < num_asked,
        num_arrangements=min(possible, MAX_COUNTED),
        is_exact=is_exact,
        smallest_p=smallest,
        test=_sentence(
            exchange,
            is_exact=is_exact,
            count=count,
            smallest=smallest,
            by_design=num_equal_fits / possible,
        ),
    )


def _arrangements(exchange: Exchange, num_permutations: int, seed: int) -> Iterator[Ints]:
    """Yield all other arrangements in random order where they are few, else random ones."""
    if exchange.num_arrangements - 1 > num_permutations:
        for index in range(num_permutations):
            yield exchange.draw(np.random.default_rng([seed, index]))
        return
    others = list(exchange.iter_others())
    for index in np.random.default_rng(seed).permutation(len(others)):
        yield others[index]


def _sentence(
    exchange: Exchange, *, is_exact: bool, count: int, smallest: float, by_design: float
) -> str:
    how = (
        f"all {exchange.num_arrangements} arrangements"
        if is_exact
        else f"{count} of {_count_text(exchange.num_arrangements)} arrangements"
    )
    return f"{how}: {exchange.about}; p is {smallest:.2g} at best{_lack(smallest, by_design)}"


def _lack(smallest: float, by_design: float) -> str:
    if smallest < ALPHA:
        return ""
    if by_design < ALPHA:
        return ", which takes more permutations to be below 0.05"
    return ", as there is too little to exchange for p < 0.05"


def _count_text(count: int) -> str:
    return str(count) if count <= MAX_COUNTED else "more than 10^15"


def relabel_table(table: SequenceTable, labels: Ints) -> SequenceTable:
    """Return the table with other classes of its units, (N,), for a whole refit.

    Folds that keep subjects (or, for events, runs) whole stay as they are, unless whole subjects
    exchanged classes: draw them again then, as a fold has the classes of both its sides.
    """
    units = tuple(
        replace(unit, class_index=int(index))
        for unit, index in zip(table.units, labels, strict=True)
    )
    return replace(table, units=units)
