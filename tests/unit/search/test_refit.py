"""The configuration of a refit, which has no monitor to stop it early."""

from __future__ import annotations

from typing import Any

import pytest

from spectrum.config import TrialConfig
from spectrum.search.unsealing import refit_config


def line(kept: list[int], *, patience_epochs: int | None, num_epochs: int = 20) -> dict[str, Any]:
    """Return a trial's line whose folds kept these epochs, counted from 0."""
    training = {"num_epochs": num_epochs, "patience_epochs": patience_epochs}
    config = TrialConfig.model_validate({"training": training})
    return {"config": config.model_dump(mode="json"), "folds": [{"epoch": e} for e in kept]}


@pytest.mark.parametrize(
    ("kept", "num_epochs"),
    [([1, 16, 4], 5), ([0, 0, 0], 1), ([2, 5], 4), ([19], 20), ([3, 4, 8, 12], 7)],
)
def test_folds_that_could_stop_early_are_refitted_for_the_median_of_what_they_kept(
    kept: list[int], num_epochs: int
) -> None:
    told = line(kept, patience_epochs=3)
    refit = refit_config(told).training
    assert (refit.num_epochs, refit.patience_epochs) == (num_epochs, None)
    before = TrialConfig.model_validate(told["config"])
    assert refit_config(told).model_copy(update={"training": before.training}) == before


def test_folds_that_could_not_stop_are_refitted_for_all_epochs() -> None:
    refit = refit_config(line([1, 1, 1], patience_epochs=None)).training
    assert (refit.num_epochs, refit.patience_epochs) == (20, None)
