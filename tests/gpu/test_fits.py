"""What a fit promises, kept on a GPU: the CPU's numbers, every precision, stops, feeds, memory.

python -m pytest -m gpu tests/gpu
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum.config import TrialConfig
from spectrum.data.units import SequenceData
from spectrum.records import EpochRecord, TrialEpochRecord
from spectrum.training.augmentation import Augmentation
from spectrum.training.checkpoints import read_checkpoint
from spectrum.training.fold_fit import FoldFit
from spectrum.training.loop import fit_fold
from spectrum.training.mixing import draw_mixing
from spectrum.training.place import Parallel, Place
from spectrum.training.predictions import Evaluator
from spectrum.training.resident import ResidentData
from spectrum.training.state_files import StateFolder
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import by_run, halves, planted_data, tiny_config
from tests.unit.training.test_loop import fit
from tests.unit.training.test_resume import RANDOM, stop_after
from tests.unit.training.test_resume import fit as fit_all

pytestmark = pytest.mark.gpu

CHANGES: dict[str, object] = {
    "model__drop_rate": 0.1,
    "training__slice_drop_fraction": 0.2,
    "training__temporal_mask_fraction": 0.4,
    "training__spatial_mask_fraction": 0.2,
    "training__intensity_scale_fraction": 0.1,
    "training__rotation_degrees": 5.0,
    "training__mirror_fraction": 0.5,
    "training__mixup_alpha": 0.2,
}
"""Augmentation of every kind, and dropout."""


@pytest.fixture(autouse=True)
def needs_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")


def losses(records: list[EpochRecord]) -> list[list[float]]:
    return [[record.training_loss, record.validation_loss] for record in records]


def close_to(expected: list[list[float]], tolerance: float) -> list[object]:
    return [pytest.approx(row, abs=tolerance) for row in expected]


def own_losses(config: TrialConfig, data: SequenceData | None = None) -> list[list[float]]:
    data = data or planted_data()
    return losses(list(fit_fold(data, halves(data)[0], config)))


def test_float32_gives_the_losses_of_the_cpu() -> None:
    quiet = {"training__noise_std": 0.0, "training__precision": "float32"}
    cpu, gpu = (
        own_losses(tiny_config(training__device=name, **quiet)) for name in ("cpu", "cuda")
    )
    assert gpu == close_to(cpu, 1e-4)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01), ("auto", 0.05)]
)
def test_half_precision_stays_near_float32(precision: str, tolerance: float) -> None:
    quiet: dict[str, object] = {"training__noise_std": 0.0, "training__num_epochs": 6}
    expected = own_losses(tiny_config(training__precision="float32", **quiet))
    found = own_losses(tiny_config(training__precision=precision, **quiet))
    assert found == close_to(expected, tolerance)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_planted_effect_is_found_and_none_is_not(precision: str) -> None:
    config = tiny_config(training__num_epochs=6, training__precision=precision)
    for effect, low, high in ((1.0, 1.0, 1.0), (0.0, 0.3, 0.7)):
        data = planted_data(effect=effect, num_subjects=20)
        epochs, _ = fit(data, halves(data)[0], config)
        assert low <= epochs[-1].validation_accuracy <= high


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_numbers_bit_for_bit(precision: str) -> None:
    config = tiny_config(**CHANGES, training__precision=precision)
    assert own_losses(config) == own_losses(config)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_fit_stopped_after_any_epoch_ends_as_the_undisturbed_one_bit_for_bit(
    tmp_path: Path, precision: str
) -> None:
    config = tiny_config(**RANDOM, training__precision=precision)
    expected = fit_all(config, tmp_path)
    for num_records in range(len(expected[0]) + 1):
        states = StateFolder(path=tmp_path / f"state{num_records}")
        stop_after(num_records, config, states)
        assert fit_all(config, tmp_path, states) == expected


def test_folds_that_wait_on_the_host_have_the_numbers_of_those_on_the_device(
    tmp_path: Path,
) -> None:
    host, device = (
        fit_all(tiny_config(**RANDOM, training__idle_folds=place), tmp_path)
        for place in ("host", "device")
    )
    assert host == device


def test_every_feed_gives_the_same_numbers(tmp_path: Path) -> None:
    data = planted_data()
    config = tiny_config(**CHANGES)

    def records(source: object) -> list[TrialEpochRecord]:
        return list(fit_trial(source, halves(data), config))  # type: ignore[arg-type]

    resident = records(data)
    assert records(by_run(data, is_in_memory=True)) == resident
    assert records(by_run(data, is_in_memory=False)) == resident


def test_a_compiled_fit_has_the_losses_of_a_plain_one_and_no_note() -> None:
    data = planted_data()
    fold = halves(data)[0]
    plain, _ = fit(data, fold, tiny_config(training__precision="float32"))
    compiled, record = fit(
        data, fold, tiny_config(training__precision="float32", training__compile=True)
    )
    assert record.notes == ()
    assert losses(compiled) == close_to(losses(plain), 1e-3)


def test_a_compiled_fit_with_dropout_is_the_same_for_the_same_seed() -> None:
    config = tiny_config(model__drop_rate=0.1, training__compile=True)
    assert own_losses(config) == own_losses(config)


def test_a_step_never_waits_for_the_device() -> None:
    fold_fit = first_fit(tiny_config(**CHANGES, training__precision="bfloat16"))
    fold_fit.advance()
    config = fold_fit.config.training
    augmentation = Augmentation(config, level=fold_fit.level, seed=1, device=fold_fit.place.device)
    batch = fold_fit.training[: config.batch_size].to(fold_fit.place.device)
    with no_waiting():
        for index in range(3):
            mixing = draw_mixing(batch, alpha=config.mixup_alpha, seed=1, batch_index=index)
            read = torch.cat([batch, mixing.partners])
            (slices_BTSHW,) = fold_fit.feed.iter_read([read])
            fold_fit.stepper.step(
                batch, slices_BTSHW, lr=1e-3, augmentation=augmentation, mixing=mixing
            )
    assert fold_fit.stepper.read_totals().num_sequences == 3 * len(batch)


def test_a_batch_beyond_the_memory_is_divided_as_measured() -> None:
    config = tiny_config(
        model__embed_dim=256,
        model__depth=8,
        model__num_heads=4,
        model__patch_size=1,
        optimizer__accumulation_steps="auto",
        training__batch_size=24,
    )
    fold_fit = first_fit(config)
    fold_fit.stepper.rehearse(1)
    torch.cuda.empty_cache()
    free_bytes, _ = torch.cuda.mem_get_info()
    held = torch.empty(free_bytes - 600 * 2**20, dtype=torch.uint8, device="cuda")
    record = fold_fit.advance()
    del held
    assert fold_fit.stepper.num_parts > 1
    assert record.training_loss > 0.0


def test_a_checkpoint_of_a_gpu_gives_its_predictions_on_a_cpu(tmp_path: Path) -> None:
    data = planted_data()
    fold = halves(data)[0]
    _, record = fit(data, fold, tiny_config(training__precision="float32"), tmp_path / "fold")
    model, _ = read_checkpoint(tmp_path / "fold")
    place = Place(torch.device("cpu"))
    evaluator = Evaluator(feed=ResidentData.place(data, place.device), fold=fold, place=place)
    found = evaluator.evaluate(model.cpu(), fold.validation).predictions
    for one, two in zip(found, record.predictions, strict=True):
        assert replace(one, probabilities=()) == replace(two, probabilities=())
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-4)


def first_fit(config: TrialConfig) -> FoldFit:
    data = planted_data()
    place = Place.choose(config.training, Parallel())
    return FoldFit(ResidentData.place(data, place.device), halves(data)[0], config, place=place)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make torch refuse whatever waits for the device, as far as it can tell."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
