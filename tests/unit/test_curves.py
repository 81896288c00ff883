from __future__ import annotations

import numpy as np
import pytest

from spectrum.records import Prediction
from spectrum.scores import calibration_bins, further_metrics, roc_of_class

CLASSES = ("early", "late")


def said(index: int, true_class: str, late: float) -> Prediction:
    return Prediction(
        dataset="ds",
        subject=str(index),
        session="",
        task="t",
        run="1",
        unit=f"u{index}",
        pair="",
        true_class=true_class,
        probabilities=(1 - late, late),
        fold="f",
    )


def many(number: int, seed: int) -> list[Prediction]:
    rng = np.random.default_rng(seed)
    return [said(n, CLASSES[n % 2], float(rng.random())) for n in range(number)]


def test_a_model_that_is_always_right_has_the_whole_area_and_one_that_always_errs_none() -> None:
    right = [said(n, CLASSES[n % 2], 0.1 + 0.8 * (n % 2)) for n in range(7)]
    wrong = [said(n, CLASSES[n % 2], 0.9 - 0.8 * (n % 2)) for n in range(7)]
    for predictions, area in ((right, 1.0), (wrong, 0.0)):
        curve = roc_of_class(predictions, CLASSES, "late")
        assert curve is not None
        assert curve.auc == area
        assert (curve.num_class, curve.num_rest) == (3, 4)


def test_a_curve_rises_from_corner_to_corner_and_its_area_is_the_auc() -> None:
    curve = roc_of_class(many(41, 1), CLASSES, "late")
    assert curve is not None
    for rates in (curve.false_positive, curve.true_positive):
        assert (rates[0], rates[-1]) == (0.0, 1.0)
        assert np.all(np.diff(rates) >= 0)
    area = np.trapezoid(curve.true_positive, curve.false_positive)
    assert area == pytest.approx(curve.auc)
    assert curve.auc == pytest.approx(further_metrics(many(41, 1), CLASSES)["auc"]["late"])


def test_a_class_that_no_unit_or_every_unit_has_gives_no_curve() -> None:
    predictions = [said(n, "late", 0.6) for n in range(3)]
    assert roc_of_class(predictions, CLASSES, "late") is None
    assert roc_of_class(predictions, CLASSES, "early") is None


def test_bins_hold_every_unit_once_and_make_up_the_calibration_error() -> None:
    predictions = many(53, 2)
    bins = calibration_bins(predictions, CLASSES)
    assert sum(one.num_units for one in bins) == 53
    assert all(one.ci95[0] <= one.accuracy <= one.ci95[1] for one in bins)
    error = sum(one.num_units * abs(one.accuracy - one.confidence) for one in bins) / 53
    assert error == pytest.approx(further_metrics(predictions, CLASSES)["ece"])
