"""Simulated truths, a linear decoder, and the reversal task: learning is told from the clock."""

from __future__ import annotations

import pytest

from spectrum.data.simulate import SimulationConfig, TruthName
from spectrum.targets import read_target
from tests.linear_decoder import REVERSAL_CHECK, dissociate_reversal, see_runs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("truth", "feature", "side", "fits"),
    [
        ("reversal", "response", "above", ("learning",)),
        ("clock", "mean_image", "below", ("clock",)),
    ],
)
def test_a_planted_truth_is_told_by_the_reversal_run(
    truth: TruthName, feature: str, side: str, fits: tuple[str, ...]
) -> None:
    """Five subjects are the fewest whose test can reach p < 0.05."""
    config = SimulationConfig(truth=truth, num_subjects=6, matrix=8, seed=3, effect_percent=6.0)
    learnt = read_target("early_late")
    told = dissociate_reversal(see_runs(config, (learnt, REVERSAL_CHECK)), learnt, feature)
    assert told.found == side
    assert told.fits == fits
    assert told.num_subjects == 6
