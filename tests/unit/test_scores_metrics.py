from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from spectrum.records import Prediction
from spectrum.scores import further_metrics
from spectrum.scores.metrics import calibration_error, sequence_confusion

CLASSES = ("acquisition", "consolidation", "reversal")


def predictions_of(
    truth: Any, probabilities: Any, *, dataset: str = "ds000002", fold: str | None = "a"
) -> list[Prediction]:
    return [
        Prediction(
            dataset=dataset,
            subject=str(n),
            session="",
            task="learn",
            run="01",
            unit=f"{dataset}-{n}",
            pair="",
            true_class=CLASSES[k],
            probabilities=tuple(row),
            fold=fold,
        )
        for n, (k, row) in enumerate(zip(truth, probabilities, strict=True))
    ]


def drawn(count: int = 40, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    return truth, rng.dirichlet([1.0, 2.0, 3.0], size=count)


def test_metrics_equal_their_definitions() -> None:
    truth, probabilities = drawn()
    metrics = further_metrics(predictions_of(truth, probabilities), CLASSES)
    answers = probabilities.argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx(np.mean(answers == truth))
    recalls = [np.mean(answers[truth == k] == k) for k in range(3)]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert metrics["log_loss"] == pytest.approx(log_loss(truth, probabilities))
    for k, name in enumerate(CLASSES):
        assert metrics["auc"][name] == pytest.approx(
            roc_auc_score(truth == k, probabilities[:, k])
        )
    assert np.array(metrics["confusion"]).sum() == 40
    assert np.trace(metrics["confusion"]) == np.sum(answers == truth)


def test_rows_of_the_confusion_table_are_true_classes() -> None:
    metrics = further_metrics(predictions_of([0, 0, 2], np.eye(3)[[1, 1, 2]]), CLASSES)
    assert metrics["confusion"] == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_an_undefined_auc_is_none_with_its_reason() -> None:
    metrics = further_metrics(predictions_of([0, 0], np.eye(3)[[0, 1]]), CLASSES)
    assert metrics["auc"] == dict.fromkeys(CLASSES)
    assert metrics["auc_reason"]["acquisition"] == "all units have this class"
    assert metrics["auc_reason"]["reversal"] == "no unit has this class"


def test_folds_that_could_not_answer_a_class_do_not_flatter_its_auc() -> None:
    truth, probabilities = drawn(30)
    asked = predictions_of(truth, probabilities, fold="a")
    masked = np.tile([0.6, 0.4, 0.0], (20, 1))
    others = predictions_of(np.arange(20) % 2, masked, dataset="ds000011", fold="b")
    alone = further_metrics(asked, CLASSES)["auc"]["reversal"]
    together = further_metrics(asked + others, CLASSES)["auc"]["reversal"]
    assert together == pytest.approx(alone)


def test_log_loss_of_a_certain_error_is_finite() -> None:
    metrics = further_metrics(predictions_of([0, 1], np.eye(3)[[1, 1]]), CLASSES)
    assert np.isfinite(metrics["log_loss"])
    assert metrics["log_loss"] > 7


def test_calibration_error_of_honest_confidence_vanishes_and_of_bluff_does_not() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], size=20000)
    truth = np.array([rng.choice(3, p=row) for row in probabilities])
    assert calibration_error(probabilities, truth) < 0.02
    assert calibration_error(np.eye(3)[truth * 0], truth) == pytest.approx(2 / 3, abs=0.02)


def test_each_data_set_has_its_own_metrics() -> None:
    truth, probabilities = drawn(12)
    both = predictions_of(truth, probabilities) + predictions_of(
        truth, np.eye(3)[truth], dataset="ds000011", fold="b"
    )
    metrics = further_metrics(both, CLASSES)
    assert set(metrics["by_dataset"]) == {"ds000002", "ds000011"}
    assert metrics["by_dataset"]["ds000011"]["accuracy"] == 1.0
    assert metrics["by_dataset"]["ds000011"]["kappa"] == pytest.approx(1.0)


def test_kappa_of_one_class_everywhere_is_undefined() -> None:
    assert further_metrics(predictions_of([0, 0], np.eye(3)[[0, 0]]), CLASSES)["kappa"] is None


def test_metrics_are_json_as_they_stand() -> None:
    truth, probabilities = drawn(9)
    text = json.dumps(further_metrics(predictions_of(truth, probabilities), CLASSES))
    assert json.loads(text)["num_units"] == 9


def test_sequences_are_counted_by_the_true_class_of_their_unit() -> None:
    answers = [(3, 1, 0), (0, 2, 2), (1, 0, 0)]
    counted = [
        replace(prediction, sequence_answers=counts)
        for prediction, counts in zip(
            predictions_of([0, 2, 0], np.eye(3)[[0, 2, 1]]), answers, strict=True
        )
    ]
    assert sequence_confusion(counted, CLASSES) == [[4, 1, 0], [0, 0, 0], [0, 2, 2]]
    assert sequence_confusion(predictions_of([0], np.eye(3)[[0]]), CLASSES) is None


def test_a_prediction_comes_back_from_its_json() -> None:
    (told,) = predictions_of([1], np.eye(3)[[1]])
    for prediction in (told, replace(told, sequence_answers=(0, 4, 1))):
        again = json.loads(json.dumps(asdict(prediction)))
        assert Prediction.from_json(again) == prediction
    del again["sequence_answers"]
    assert Prediction.from_json(again) == told
