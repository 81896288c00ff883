from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from spectrum.config import TrialConfig
from spectrum.data.units import Fold, SequenceData
from spectrum.errors import ConfigError, LeakageError, TrainingError
from spectrum.records import EpochRecord, FoldRecord
from spectrum.training.checkpoints import read_checkpoint
from spectrum.training.loop import fit_fold
from spectrum.training.place import Parallel, Place
from spectrum.training.predictions import Evaluator
from spectrum.training.resident import ResidentData
from tests.unit.training.planted import halves, planted_data, tiny_config

T = TypeVar("T")
R = TypeVar("R")


def drain(fitting: Generator[T, None, R]) -> tuple[list[T], R]:
    records = []
    while True:
        try:
            records.append(next(fitting))
        except StopIteration as stop:
            return records, stop.value


def fit(
    data: SequenceData, fold: Fold, config: TrialConfig, checkpoint: Path | None = None
) -> tuple[list[EpochRecord], FoldRecord]:
    return drain(fit_fold(data, fold, config, checkpoint=checkpoint))


def test_a_planted_effect_is_found() -> None:
    data = planted_data(effect=1.0)
    _, record = fit(data, halves(data)[0], tiny_config(training__num_epochs=6))
    assert record.score == 1.0
    assert record.loss < math.log(2)


def test_without_an_effect_the_held_out_loss_is_no_better_than_guessing() -> None:
    data = planted_data(effect=0.0, num_subjects=20)
    epochs, record = fit(data, halves(data)[0], tiny_config(training__num_epochs=6))
    assert epochs[-1].training_accuracy > 0.6
    assert 0.4 <= epochs[-1].validation_accuracy <= 0.6
    assert record.loss > math.log(2) - 0.02


def test_shuffled_classes_score_at_chance() -> None:
    data = planted_data(effect=1.0, num_subjects=20)
    rng = np.random.default_rng(4)
    flips = rng.permutation(np.repeat([0, 1], 10))
    units = tuple(
        replace(unit, class_index=int(unit.class_index ^ flips[int(unit.key.subject)]))
        for unit in data.table.units
    )
    shuffled = replace(data, table=replace(data.table, units=units))
    epochs, _ = fit(shuffled, halves(shuffled)[0], tiny_config(training__num_epochs=6))
    assert 0.2 <= epochs[-1].validation_accuracy <= 0.8


def test_the_same_seed_gives_the_same_numbers_bit_for_bit() -> None:
    data = planted_data()
    config = tiny_config(model__drop_rate=0.1, training__slice_drop_fraction=0.2)
    torch.manual_seed(1)
    one = fit(data, halves(data)[0], config)
    torch.manual_seed(2)
    assert fit(data, halves(data)[0], config) == one
    other = fit(data, halves(data)[0], config.model_copy(update={"seed": 1}))
    assert other[0] != one[0]


def test_the_callers_random_numbers_are_left_alone() -> None:
    data = planted_data()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(data, halves(data)[0], tiny_config(model__drop_rate=0.1))
    assert torch.equal(torch.rand(4), expected)


def test_accumulation_gives_the_numbers_of_the_whole_batch() -> None:
    data = planted_data()
    whole, _ = fit(data, halves(data)[0], tiny_config())
    parts, _ = fit(data, halves(data)[0], tiny_config(optimizer__accumulation_steps=3))
    losses = [(record.training_loss, record.validation_loss) for record in parts]
    assert losses == pytest.approx(
        [pytest.approx((r.training_loss, r.validation_loss), abs=1e-5) for r in whole]
    )


def test_a_class_outside_the_fold_has_no_probability() -> None:
    data = planted_data(num_classes=4)
    fold = halves(data, classes=(0, 2))[0]
    _, record = fit(data, fold, tiny_config())
    assert record.predictions
    for prediction in record.predictions:
        assert prediction.probabilities[1] == prediction.probabilities[3] == 0.0
        assert sum(prediction.probabilities) == pytest.approx(1.0)


def test_every_held_out_unit_has_one_prediction_an_epoch() -> None:
    data = planted_data()
    fold = halves(data)[0]
    epochs, record = fit(data, fold, tiny_config())
    names = sorted(data.table.units[i].name for i in fold.validation)
    assert len(epochs) == 3
    num_of = {
        data.table.units[i].name: data.table.sequences_of((i,)).size for i in fold.validation
    }
    for some in (*[epoch.predictions for epoch in epochs], record.predictions):
        assert sorted(prediction.unit for prediction in some) == names
        assert {p.unit: sum(p.sequence_answers) for p in some} == num_of


def test_the_held_out_side_changes_no_weight(tmp_path: Path) -> None:
    data = planted_data()
    fold = halves(data)[0]
    rows = [row for unit in fold.validation for row in range(12 * unit, 12 * unit + 12)]
    slices = data.slices_VSHW.copy()
    slices[rows] *= -3
    config = tiny_config(training__patience_epochs=1)
    fit(data, fold, config, tmp_path / "one")
    fit(replace(data, slices_VSHW=slices), fold, config, tmp_path / "two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_checkpoint_gives_the_predictions_of_its_record(tmp_path: Path) -> None:
    data = planted_data()
    fold = halves(data)[0]
    _, record = fit(data, fold, tiny_config(), tmp_path / "fold")
    model, header = read_checkpoint(tmp_path / "fold")
    place = Place.choose(header.config.training, Parallel())
    evaluator = Evaluator(feed=ResidentData.place(data, place.device), fold=fold, place=place)
    assert evaluator.evaluate(model, fold.validation).predictions == record.predictions
    assert header.epoch == record.epoch
    assert record.checkpoint == str(tmp_path / "fold")


def test_patience_ends_a_fold_early_and_keeps_its_best_epoch() -> None:
    data = planted_data(effect=0.0)
    config = tiny_config(training__num_epochs=40, training__patience_epochs=2, optimizer__lr=0.01)
    epochs, record = fit(data, halves(data)[0], config)
    monitor = [epoch.metrics["monitor_loss"] for epoch in epochs]
    assert len(epochs) < 40
    assert record.epoch == int(np.argmin(monitor)) == len(epochs) - 3
    assert record.predictions == epochs[record.epoch].predictions


def test_patience_without_monitor_units_is_refused() -> None:
    data = planted_data()
    fold = replace(halves(data)[0], monitor=())
    with pytest.raises(ConfigError, match="patience_epochs is 2, but fold first has no monitor"):
        fit(data, fold, tiny_config(training__patience_epochs=2))


def test_a_unit_on_two_sides_is_leakage() -> None:
    data = planted_data()
    fold = halves(data)[0]
    with pytest.raises(LeakageError, match=r"1 unit\(s\) stand in training and in validation"):
        fit(data, replace(fold, training=(*fold.training, fold.validation[0])), tiny_config())


def test_a_loss_that_is_no_number_ends_the_fold_with_its_cause() -> None:
    data = planted_data()
    slices = data.slices_VSHW.copy()
    slices[12 * halves(data)[0].training[0], 0, 0, 0] = np.nan
    with pytest.raises(TrainingError, match=r"fold first.*epoch 0 is nan.*lower the rate"):
        fit(replace(data, slices_VSHW=slices), halves(data)[0], tiny_config())


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    data = planted_data()
    with pytest.raises(ConfigError, match=r"torch finds no GPU.*auto or cpu"):
        fit(data, halves(data)[0], tiny_config(training__device="cuda"))


def test_the_rate_in_the_record_is_that_of_the_epochs_last_step() -> None:
    data = planted_data()
    config = tiny_config(optimizer__final_lr_fraction=0.5)
    epochs, _ = fit(data, halves(data)[0], config)
    assert epochs[-1].lr == pytest.approx(0.5 * config.optimizer.lr)
    assert epochs[0].lr > epochs[1].lr > epochs[2].lr


def test_half_precision_stays_near_single_precision() -> None:
    data = planted_data()
    single, _ = fit(data, halves(data)[0], tiny_config())
    half, _ = fit(data, halves(data)[0], tiny_config(training__precision="bfloat16"))
    assert half[0].training_loss == pytest.approx(single[0].training_loss, abs=0.02)


def test_units_of_the_recipe_do_not_matter() -> None:
    data = planted_data()
    scaled = replace(data, slices_VSHW=data.slices_VSHW * np.float16(256))
    one, _ = fit(data, halves(data)[0], tiny_config())
    two, _ = fit(scaled, halves(data)[0], tiny_config())
    for before, after in zip(one, two, strict=True):
        assert after.training_loss == pytest.approx(before.training_loss, abs=1e-4)
        assert after.validation_loss == pytest.approx(before.validation_loss, abs=1e-4)


def test_a_region_that_fluctuates_more_or_less_is_told_from_its_amplitude() -> None:
    """Second-order truth: the class sets how strongly a region moves, never which way."""
    data = planted_data(effect=0.0, num_subjects=12)
    rng = np.random.default_rng(8)
    slices = data.slices_VSHW.astype(np.float32)
    for run, unit in enumerate(data.table.units):
        course = rng.choice([-1.0, 1.0], size=(12, 1, 1)) * (2.0 if unit.class_index else 0.2)
        slices[12 * run : 12 * run + 12, 1, 1:5, 2:7] += course
    moving = replace(data, slices_VSHW=slices.astype(np.float16))
    config = tiny_config(training__num_epochs=6, training__min_steps_per_epoch=20)
    epochs, record = fit(moving, halves(moving)[0], config)
    assert epochs[-1].validation_accuracy > 0.8
    assert record.score == 1.0
