"""The promises of the truths, in small: strong effects, coarse voxels, few subjects.

The table over many seeds, at the default size of the effect, is tests/benchmarks/truths_linear.
"""

from __future__ import annotations

import pytest

from spectrum.data.simulate import SimulationConfig, TruthName
from spectrum.data.simulate.leak_target import leak_target
from spectrum.targets import Target, read_target
from tests.linear_decoder import REVERSAL_CHECK, Question, SeenRuns, score_reversal, see_runs

pytestmark = pytest.mark.filterwarnings("ignore")

EARLY_LATE, STAGE = read_target("early_late"), read_target("stage")
WHOLE_DATASETS = "leave-one-dataset-out"


def _config(truth: TruthName, num_subjects: int = 3) -> SimulationConfig:
    return SimulationConfig(
        truth=truth, num_subjects=num_subjects, matrix=8, seed=11, effect_percent=3.0
    )


def _seen(truth: TruthName, num_subjects: int = 3) -> SeenRuns:
    return see_runs(_config(truth, num_subjects), (EARLY_LATE, REVERSAL_CHECK))


def test_an_effect_is_found_in_the_response_and_nowhere_else() -> None:
    seen = _seen("effect")
    question = Question(seen, EARLY_LATE, WHOLE_DATASETS)
    assert question.score("response").value > 0.9
    assert question.score("response").p < 0.001
    assert question.score("mean_image").p > 0.01
    assert question.floor().floor.p > 0.01
    assert score_reversal(seen, EARLY_LATE, "response").value == 1.0


def test_the_null_is_at_chance() -> None:
    question = Question(_seen("null"), EARLY_LATE, WHOLE_DATASETS)
    for score in (question.score("response"), question.score("mean_image")):
        assert 0.01 < score.p < 0.99
    assert question.floor().floor.p > 0.01


def test_a_leak_is_found_by_folds_that_part_subjects_alone() -> None:
    config = _config("leak", num_subjects=4)
    target = Target.model_validate(leak_target(config))
    seen = see_runs(config, (target,))
    for feature in ("response", "mean_image"):
        assert Question(seen, target, "leave-one-run-out").score(feature).value > 0.95
        assert 0.2 < Question(seen, target, "grouped-k-fold").score(feature).value < 0.8


def test_a_clock_is_decodable_by_the_floor_too_and_calls_the_reversal_later() -> None:
    seen = _seen("clock", num_subjects=4)
    question = Question(seen, EARLY_LATE, WHOLE_DATASETS)
    assert question.score("mean_image").p < 0.01
    assert question.floor().floor.p < 0.01
    assert question.score("response").p > 0.01
    assert score_reversal(seen, EARLY_LATE, "mean_image").value < 0.5


def test_learning_and_the_clock_disagree_in_reversal_run_1() -> None:
    seen = _seen("reversal")
    question = Question(seen, EARLY_LATE, WHOLE_DATASETS)
    assert question.score("response").p < 0.01
    assert question.score("mean_image").p < 0.01
    assert score_reversal(seen, EARLY_LATE, "response").value > 0.5
    assert score_reversal(seen, EARLY_LATE, "mean_image").value < 0.5


def test_a_site_tells_stages_that_the_floor_tells_as_well() -> None:
    question = Question(see_runs(_config("site"), (STAGE,)), STAGE, "grouped-k-fold")
    score, floor = question.score("response"), question.floor().floor
    assert score.value > score.chance + 0.15
    assert floor.value > score.value - 0.1
