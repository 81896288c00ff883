from __future__ import annotations

import numpy as np
import pytest

from spectrum.search.shapley import shapley_shares


def planted(
    number: int, *, weight: float, seed: int
) -> tuple[list[dict[str, object]], list[float]]:
    """Scores that follow a number and a name, never the third parameter."""
    rng = np.random.default_rng(seed)
    points: list[dict[str, object]] = []
    scores = []
    for _ in range(number):
        rate, name, idle = rng.random(), "ab"[rng.integers(2)], rng.random()
        points.append({"rate": rate, "name": name, "idle": idle})
        scores.append(float(weight * rate + (name == "b")))
    return points, scores


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_decides_the_score_has_the_largest_share_and_what_does_not_the_least(
    seed: int,
) -> None:
    points, scores = planted(80, weight=4.0, seed=seed)
    found = shapley_shares(points, scores)
    assert found is not None
    assert list(found.shares) == ["rate", "name", "idle"]
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.shares["idle"] < 0.08
    assert found.r2 > 0.7


def test_scores_of_chance_are_not_explained() -> None:
    points, _ = planted(60, weight=1.0, seed=5)
    found = shapley_shares(points, np.random.default_rng(6).random(60).tolist())
    assert found is not None
    assert found.r2 < 0.2


def test_conditional_parameters_may_be_absent_and_what_never_varies_is_left_out() -> None:
    points = [{"a": n % 2, "fixed": 3, **({"b": n} if n % 2 else {})} for n in range(12)]
    found = shapley_shares(points, [float(n % 2) for n in range(12)])
    assert found is not None
    assert set(found.shares) == {"a", "b"}


def test_equal_scores_or_equal_points_have_no_shares() -> None:
    assert shapley_shares([{"a": 1}, {"a": 2}], [0.5, 0.5]) is None
    assert shapley_shares([{"a": 1}, {"a": 1}], [0.5, 0.6]) is None
