"""What an opening says: of a planted effect, of nothing, of too few people."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from spectrum.data.folds import hold_out
from spectrum.evaluation.power import Power, measure_power
from spectrum.evaluation.sealed_score import SealedScore, power_sentence, score_sealed
from tests.unit.data.fake_shards import paired_units, table_of
from tests.unit.evaluation.answers import CLASSES, guesses, pairs


@cache
def held_out(num_subjects: int) -> Power:
    """Return what so many sealed subjects can show, simulated once."""
    table = table_of(paired_units({"a": [f"{i}" for i in range(num_subjects)], "b": ["x", "y"]}))
    fold = hold_out(table, lambda u: u.key.dataset == "a", name="sealed", paired=True)
    return measure_power(table, [fold], paired=True, num_simulations=40)


def scored(num_subjects: int, gap: float, *, num_looks: int = 1, seed: int = 5) -> SealedScore:
    rng = np.random.default_rng(seed)
    return score_sealed(
        pairs(rng, num_subjects, gap=gap),
        pairs(rng, num_subjects),
        classes=CLASSES,
        paired=True,
        power=held_out(num_subjects),
        num_looks=num_looks,
    )


def test_a_planted_effect_is_a_finding_and_json() -> None:
    found = scored(19, 9.0)
    assert found.score.value > 0.9
    assert found.p < 0.01
    assert found.comparison.p < 0.05
    assert found.finding.is_positive
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["num_subjects"] == 19
    assert told["p"] == told["p_corrected"] == found.p
    assert "null" not in told["permutation"]
    assert told["floor"]["value"] == found.floor.value


def test_nothing_is_no_finding_in_nearly_all_draws() -> None:
    positive = sum(scored(13, 0.0, seed=seed).finding.is_positive for seed in range(20))
    assert positive <= 3


def test_every_further_look_costs() -> None:
    once, often = scored(19, 9.0), scored(19, 9.0, num_looks=60)
    assert once.p == often.p
    assert often.to_json()["p_corrected"] == pytest.approx(60 * once.p)
    assert once.finding.is_positive
    assert not often.finding.is_positive


def test_too_few_people_are_said_to_show_nothing() -> None:
    assert "3 sealed subjects are too few: not even a perfect score" in power_sentence(
        scored(3, 9.0).power
    )
    told = power_sentence(scored(13, 9.0).power)
    assert "13 sealed subjects: p < 0.05 takes a score of about 0.7" in told
    assert "power of 80 %" in told
    power = scored(13, 9.0).power
    assert power.smallest is not None
    assert power.smallest_above_floor is None or power.smallest_above_floor > power.smallest


def test_where_no_class_can_move_the_score_keeps_its_own_p() -> None:
    rng = np.random.default_rng(2)
    one_run_each = guesses(rng, 9, 1, skill=0.5)
    found = score_sealed(
        one_run_each,
        guesses(rng, 9, 1),
        classes=("face", "house", "cat"),
        paired=False,
        power=scored(3, 0.0).power,
    )
    assert found.permutation is None
    assert found.p == found.score.p
    assert found.to_json()["permutation"] is None
