from __future__ import annotations

from pathlib import Path

from spectrum.config import TrialConfig
from spectrum.data.units import Fold, SequenceData
from spectrum.records import FoldRecord, TrialEpochRecord
from spectrum.training.loop import fit_fold
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import halves, planted_data, tiny_config


def fit(
    data: SequenceData,
    folds: tuple[Fold, ...],
    config: TrialConfig,
    checkpoints: Path | None = None,
) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]:
    fitting = fit_trial(data, folds, config, checkpoints=checkpoints)
    records = []
    while True:
        try:
            records.append(next(fitting))
        except StopIteration as stop:
            return records, stop.value


def test_a_folds_numbers_do_not_depend_on_its_neighbours() -> None:
    data = planted_data()
    config = tiny_config(model__drop_rate=0.1)
    together, _ = fit(data, halves(data), config)
    for index, fold in enumerate(halves(data)):
        assert list(fit_fold(data, fold, config)) == [record.folds[index] for record in together]


def test_the_score_pools_all_folds_and_the_last_record_says_so() -> None:
    data = planted_data(effect=1.5)
    records, folds = fit(data, halves(data), tiny_config(training__num_epochs=6))
    assert [record.epoch for record in records] == list(range(6))
    assert [record.finished for record in records] == [False] * 5 + [True]
    assert {record.score.num_units for record in records} == {8}
    assert [fold.fold for fold in folds] == ["first", "second"]
    assert records[-1].score.value == 1.0


def test_a_fold_that_ended_early_stands_with_its_last_epoch() -> None:
    data = planted_data(effect=0.3, num_subjects=12)
    config = tiny_config(training__num_epochs=30, training__patience_epochs=1, optimizer__lr=0.01)
    records, folds = fit(data, halves(data), config)
    alone = [len(list(fit_fold(data, fold, config))) for fold in halves(data)]
    assert len(records) == max(alone)
    assert [fold.epoch for fold in records[-1].folds] == [count - 1 for count in alone]
    assert records[-1].score.num_units == 12
    assert [fold.epoch for fold in folds] == [count - 2 for count in alone]


def test_each_fold_has_its_checkpoint(tmp_path: Path) -> None:
    data = planted_data()
    _, folds = fit(data, halves(data), tiny_config(), tmp_path)
    assert [Path(fold.checkpoint).name for fold in folds] == ["first", "second"]
    assert all((Path(fold.checkpoint) / "model.json").is_file() for fold in folds)
