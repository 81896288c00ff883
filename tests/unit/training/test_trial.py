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


def test_fold_by_fold_gives_the_folds_of_epoch_by_epoch_bit_for_bit(tmp_path: Path) -> None:
    data = planted_data(effect=0.3, num_subjects=12)
    paths = {"model__drop_rate": 0.1, "training__num_epochs": 12, "optimizer__lr": 0.01}
    for patience in (None, 1):
        config = tiny_config(**paths, training__patience_epochs=patience)
        by_fold = tiny_config(
            **paths, training__patience_epochs=patience, training__fold_order="fold"
        )
        one, folds_one = fit(data, halves(data), config, tmp_path)
        two, folds_two = fit(data, halves(data), by_fold, tmp_path)
        assert folds_one == folds_two
        assert one[-1].score == two[-1].score
        assert one[-1].folds == two[-1].folds
        for index, fold in enumerate(folds_one):
            alone = [r.folds[index] for r in two if len(r.folds) == index + 1]
            assert alone == list(fit_fold(data, halves(data)[index], config))
            assert fold.fold == alone[0].fold


def test_fold_by_fold_tells_after_each_fold_how_its_subjects_did() -> None:
    data = planted_data(effect=1.5)
    config = tiny_config(training__fold_order="fold")
    records, folds = fit(data, halves(data), config)
    assert [record.epoch for record in records] == list(range(6))
    assert [record.ends_fold for record in records] == [False, False, True] * 2
    assert [record.ended_folds for record in records[2:4]] == [("first",)] * 2
    assert records[-1].ended_folds == ("first", "second")
    assert [record.finished for record in records] == [False] * 5 + [True]
    for record, fold in zip((records[2], records[5]), folds, strict=True):
        groups = {prediction.group for prediction in fold.predictions}
        assert groups <= set(record.score.by_group)
    assert set(records[2].score.by_group) == {p.group for p in folds[0].predictions}


def test_folds_that_wait_on_the_host_give_the_same_numbers(tmp_path: Path) -> None:
    data = planted_data()
    config = tiny_config(model__drop_rate=0.1)
    moved = tiny_config(model__drop_rate=0.1, training__idle_folds="host")
    assert fit(data, halves(data), moved, tmp_path) == fit(data, halves(data), config, tmp_path)
