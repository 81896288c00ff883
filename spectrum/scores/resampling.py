"""Intervals and tests by resampling groups, on arrays. Not here: what a prediction is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_interval", "permutation_p", "sign_flip_p", "within"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_SIGN_STEPS = 2_000_000
"""Largest sign-flip sum, in steps of the common denominator, that is counted exactly."""

MAX_KEYS = 4_000_000
"""Random keys or signs drawn at once, 32 MB of them."""

TIE = 1e-12
"""Sums are a tie within this share of the sum of all sizes: the order of adding rounds less."""


def bootstrap_interval(
    num_groups: int, statistic: Callable[[Ints], Floats], *, num_resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over resampled groups.

    Parameters
    ----------
    num_groups : G, >= 1
        With one group nothing can be resampled, and the interval is (0, 1).
    statistic : (R, G) counts of how often a group was drawn -> (R,) values in [0, 1]
    num_resamples : R, >= 1
    seed : of the draw

    Returns
    -------
    interval : lower and upper bound
    """
    if num_groups < 2:
        return (0.0, 1.0)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples)
    low, high = np.quantile(statistic(counts.astype(np.int64)), [0.025, 0.975])
    return (float(low), float(high))


def sign_flip_p(
    differences: Sequence[Fraction], *, num_resamples: int, seed: int
) -> tuple[float, bool]:
    """Return the one-sided p of a mean difference under random signs, and whether it is exact.

    Parameters
    ----------
    differences : one for each exchangeable group, from the expected value
        Under the null each is as likely as its negative.
    num_resamples, seed : of the Monte Carlo test, where the exact one would be too large

    Returns
    -------
    p : share of sign patterns whose sum is at least the observed one
        Exact: all 2^G patterns, counted by convolution over the common denominator of the
        differences. Monte Carlo: (k + 1) / (n + 1).
    is_exact : whether all patterns were counted
    """
    denominator = math.lcm(*(difference.denominator for difference in differences))
    steps = [int(difference * denominator) for difference in differences]
    reach = sum(abs(step) for step in steps)
    if reach > MAX_SIGN_STEPS:
        return _sampled_sign_flip(differences, num_resamples=num_resamples, seed=seed), False
    shares = np.zeros(2 * reach + 1)
    shares[reach] = 1.0
    for size in (abs(step) for step in steps if step):
        moved = np.zeros_like(shares)
        moved[size:] += shares[:-size]
        moved[:-size] += shares[size:]
        shares = moved / 2
    return min(1.0, float(shares[reach + sum(steps) :].sum())), True


def _sampled_sign_flip(differences: Sequence[Fraction], *, num_resamples: int, seed: int) -> float:
    """Return (k + 1) / (n + 1); sums are of floats, as the common denominator may be no float."""
    sizes = np.array([float(difference) for difference in differences])
    least = sizes.sum() - TIE * np.abs(sizes).sum()
    rng = np.random.default_rng(seed)
    rows = max(1, MAX_KEYS // sizes.size)
    reached = 0
    for start in range(0, num_resamples, rows):
        count = min(rows, num_resamples - start)
        signs = rng.choice(np.array([-1.0, 1.0]), size=(count, sizes.size))
        reached += int((signs @ sizes >= least).sum())
    return (reached + 1) / (num_resamples + 1)


def permutation_p(
    labels: Ints,
    strata: Ints,
    statistic: Callable[[Ints], Floats],
    *,
    num_resamples: int,
    seed: int,
) -> float:
    """Return the one-sided p of a statistic when labels are shuffled within strata.

    Parameters
    ----------
    labels : (N,) true labels
    strata : (N,) labels move only between units of equal stratum
    statistic : (R, N) labels -> (R,) values; higher is better
    num_resamples : n, >= 1
    seed : of the draw

    Returns
    -------
    p : (k + 1) / (n + 1)
        k counts the shuffles whose statistic is at least the observed one.
    """
    order = np.argsort(strata, kind="stable")
    observed = statistic(labels[None, :])[0]
    rng = np.random.default_rng(seed)
    rows = max(1, MAX_KEYS // labels.size)
    reached = 0
    for start in range(0, num_resamples, rows):
        count = min(rows, num_resamples - start)
        shuffled = np.empty((count, labels.size), dtype=np.int64)
        keys = rng.random((count, labels.size)) + _ranks(strata[order])
        shuffled[:, order] = labels[order][np.argsort(keys, axis=1)]
        reached += int((statistic(shuffled) >= observed - 1e-12).sum())
    return (reached + 1) / (num_resamples + 1)


def _ranks(strata: Ints) -> Floats:
    return np.unique(strata, return_inverse=True)[1].astype(np.float64)


def within(keys: Sequence[str]) -> Ints:
    """Return a number for each key, equal for equal keys, counted in their sorted order."""
    return np.unique(np.array(keys), return_inverse=True)[1].astype(np.int64)
