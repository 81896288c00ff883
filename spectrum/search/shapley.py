"""Shapley-type importance: what each parameter adds to the score that a forest predicts.

A random forest is fitted to the scores of the trials; the contribution of a parameter to a
prediction is averaged over orders in which parameters become known, with the other trials as
background (Strumbelj & Kononenko 2014, "Explaining prediction models and individual predictions
with feature contributions"). The share of a parameter is its mean absolute contribution. Not
here: fANOVA and PED-ANOVA, which are Optuna's (``optuna_study``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_EXPLAINED", "ShapleyShares", "shapley_shares"]

NUM_TREES: Final = 100
NUM_ORDERS: Final = 24
"""Random orders of the parameters; each explains every explained trial once."""

MAX_EXPLAINED: Final = 150
"""Trials explained, drawn at random from more."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapleyShares:
    """Shares by parameter, adding up to 1, and how well the forest predicts trials it left out.

    ``r2`` is out of bag: 1 predicts each score, 0 is the mean of all; shares of a forest near 0
    or below tell nothing.
    """

    shares: Mapping[str, float]
    r2: float


def shapley_shares(
    points: Sequence[Mapping[str, Any]], scores: Sequence[float], *, seed: int = 0
) -> ShapleyShares | None:
    """Return the shares of all parameters that vary.

    Parameters
    ----------
    points : parameters of each complete trial by config path; conditional ones may be absent
    scores : of the same trials
    seed : of the forest and of the orders

    Returns
    -------
    shares
        None where no parameter varies or all scores are equal.
    """
    from sklearn.ensemble import RandomForestRegressor

    names = [name for name in _names(points) if len({repr(p.get(name)) for p in points}) > 1]
    truth = np.array(scores, dtype=np.float64)
    if not names or np.ptp(truth) == 0:
        return None
    table_NP = np.column_stack([_codes([point.get(name) for point in points]) for name in names])
    forest = RandomForestRegressor(
        NUM_TREES, min_samples_leaf=2, oob_score=True, random_state=seed, n_jobs=1
    ).fit(table_NP, truth)
    total = _contributions(forest.predict, table_NP, np.random.default_rng(seed))
    if total.sum() == 0:
        return None
    shares = dict(zip(names, (total / total.sum()).tolist(), strict=True))
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return ShapleyShares(shares=dict(ordered), r2=float(forest.oob_score_))


def _names(points: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point))


def _codes(values: Sequence[Any]) -> Floats:
    """Return numbers as they are, names by their order; what is absent lies below all."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        low = min(known) - 1.0
        return np.array([low if value is None else float(value) for value in values])
    order = sorted({repr(value) for value in known})
    return np.array([-1.0 if v is None else float(order.index(repr(v))) for v in values])


def _contributions(predict: Any, table_NP: Floats, rng: np.random.Generator) -> Floats:
    """Return the mean absolute contribution of each column."""
    num_rows, num_columns = table_NP.shape
    explained = table_NP
    if num_rows > MAX_EXPLAINED:
        explained = table_NP[rng.choice(num_rows, MAX_EXPLAINED, replace=False)]
    sums = np.zeros(explained.shape)
    for _ in range(NUM_ORDERS):
        mixed = table_NP[rng.integers(num_rows, size=len(explained))].copy()
        order = rng.permutation(num_columns)
        steps = [mixed.copy()]
        for column in order:
            mixed[:, column] = explained[:, column]
            steps.append(mixed.copy())
        values = predict(np.concatenate(steps)).reshape(len(steps), -1)
        sums[:, order] += np.diff(values, axis=0).T
    mean: Floats = np.abs(sums / NUM_ORDERS).mean(axis=0)
    return mean
