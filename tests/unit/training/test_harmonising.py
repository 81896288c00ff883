"""Harmonisation in training: fitted on the training side, put on batches, alike in all modes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.config import TrialConfig
from spectrum.data.harmonisation import RunMoments
from spectrum.data.units import Fold, SequenceData
from spectrum.errors import ConfigError, DataError
from spectrum.training.checkpoints import read_checkpoint
from spectrum.training.feeds import Feed, Sequences, build_feed
from spectrum.training.fold_fit import FoldFit
from spectrum.training.harmonising import feed_of_fold, harmonisation_of, trial_feed
from spectrum.training.place import Place
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import SHAPE_SHW, by_run, planted_data, tiny_config

CPU = torch.device("cpu")
PLACE = Place(device=CPU)
DATASETS = ("ds1", "ds2", "ds3")
GAINS = {"ds1": 8.0, "ds2": 35.0, "ds3": 90.0}
LEVELS = {"ds1": 480.0, "ds2": 900.0, "ds3": 2000.0}
OUTSIDE = (slice(None), slice(None), slice(None), slice(0, 2))
VOLUMES = 12


def config(**paths: object) -> TrialConfig:
    return tiny_config(
        training__harmonisation="dataset", preprocessing__standardization="none", **paths
    )


def in_scanner_units(data: SequenceData) -> SequenceData:
    """Put the subjects into three data sets in turn, each in its scanner's unit, with a mask."""
    units, slices = [], data.slices_VSHW.astype(np.float32)
    for unit in data.table.units:
        dataset = DATASETS[int(unit.key.subject) % 3]
        rows = slice(unit.run_index * VOLUMES, (unit.run_index + 1) * VOLUMES)
        slices[rows] = LEVELS[dataset] + GAINS[dataset] * slices[rows]
        units.append(replace(unit, key=replace(unit.key, dataset=dataset)))
    slices[OUTSIDE] = 0.0
    table = replace(data.table, units=tuple(units))
    return replace(data, slices_VSHW=slices.astype(np.float16), table=table)


def planted(seed: int = 0) -> SequenceData:
    return in_scanner_units(planted_data(num_subjects=9, seed=seed))


def holding_out(data: SequenceData, dataset: str) -> Fold:
    """One data set held out; the first subject of each of the others watches."""
    of = {i: unit.key.dataset for i, unit in enumerate(data.table.units)}
    watching = {i for i, unit in enumerate(data.table.units) if int(unit.key.subject) < 3}
    return Fold(
        name=dataset,
        held_out=dataset,
        training=tuple(i for i in of if of[i] != dataset and i not in watching),
        validation=tuple(i for i in of if of[i] == dataset),
        monitor=tuple(i for i in of if of[i] != dataset and i in watching),
        classes=(0, 1),
    )


def feed_for(source: Sequences, fold: Fold) -> Feed:
    training = config().training
    return feed_of_fold(trial_feed(build_feed(source, CPU, training), training), fold)


def read_all(feed: Feed) -> NDArray[np.float32]:
    sequences = torch.arange(len(feed.class_index))
    return torch.cat(list(feed.iter_read(list(sequences.split(7))))).numpy()


def modes(data: SequenceData) -> list[Sequences]:
    return [data, by_run(data, is_in_memory=True), by_run(data, is_in_memory=False)]


@pytest.mark.parametrize("held_out", DATASETS)
def test_differences_of_scale_between_data_sets_are_gone_also_on_the_held_out_one(
    held_out: str,
) -> None:
    data = planted()
    slices = read_all(feed_for(data, holding_out(data, held_out)))[..., 2:]
    datasets = np.array([data.table.units[u].key.dataset for u in data.table.unit_of_sequence])
    for dataset in DATASETS:
        voxels = slices[datasets == dataset]
        assert abs(voxels.mean()) < 0.1
        assert voxels.std() == pytest.approx(1.0, rel=0.1)


def test_training_voxels_have_mean_0_and_sd_1_in_each_data_set() -> None:
    data = planted()
    fold = holding_out(data, "ds2")
    slices = read_all(feed_for(data, fold))[..., 2:]
    for dataset in ("ds1", "ds3"):
        units = [u for u in fold.training if data.table.units[u].key.dataset == dataset]
        voxels = slices[np.isin(data.table.unit_of_sequence, units)]
        assert voxels.mean() == pytest.approx(0.0, abs=2e-3)
        assert voxels.std() == pytest.approx(1.0, abs=2e-3)


def test_a_held_out_run_is_put_on_scale_by_its_own_voxels() -> None:
    data = planted()
    fold = holding_out(data, "ds3")
    slices = read_all(feed_for(data, fold))
    for unit in fold.validation:
        voxels = slices[data.table.unit_of_sequence == unit][..., 2:]
        assert voxels.mean() == pytest.approx(0.0, abs=1e-3)
        assert voxels.std() == pytest.approx(1.0, abs=1e-3)


def test_voxels_outside_the_mask_stay_zero_and_a_zero_inside_it_does_not() -> None:
    data = planted()
    slices = data.slices_VSHW.copy()
    slices[0, 1, 3, 5] = 0.0
    data = replace(data, slices_VSHW=slices)
    found = read_all(feed_for(data, holding_out(data, "ds2")))
    assert not found[..., :2].any()
    assert found[0, 0, 1, 3, 5] < -10.0


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    level=st.floats(-3000, 3000),
    gain=st.floats(1.0, 400.0),
    held_out=st.sampled_from(DATASETS),
)
def test_no_value_of_a_held_out_run_changes_a_bit_of_what_was_fitted(
    seed: int, level: float, gain: float, held_out: str
) -> None:
    data = planted()
    fold = holding_out(data, held_out)
    rng = np.random.default_rng(seed)
    slices = data.slices_VSHW.copy()
    for unit in (*fold.validation, *fold.monitor):
        rows = slice(unit * VOLUMES, (unit + 1) * VOLUMES)
        slices[rows] = rng.normal(level, gain, (VOLUMES, *SHAPE_SHW)).astype(np.float16)
    one, two = (feed_for(d, fold) for d in (data, replace(data, slices_VSHW=slices)))
    assert harmonisation_of(one) == harmonisation_of(two)
    training = torch.from_numpy(data.table.sequences_of(fold.training))
    (before,), (after,) = list(one.iter_read([training])), list(two.iter_read([training]))
    assert torch.equal(before, after)
    assert one.level(training) == two.level(training)


def test_what_a_model_learns_does_not_depend_on_held_out_runs() -> None:
    data = planted()
    fold = holding_out(data, "ds1")
    slices = data.slices_VSHW.copy()
    for unit in fold.validation:
        slices[unit * VOLUMES : (unit + 1) * VOLUMES] *= np.float16(1.5)
        slices[unit * VOLUMES, 1, 3, 4] = 9.0
    weights = []
    for source in (data, replace(data, slices_VSHW=slices)):
        training = config().training
        fit = FoldFit(
            trial_feed(build_feed(source, CPU, training), training), fold, config(), place=PLACE
        )
        fit.advance()
        weights.append(fit.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_three_modes_give_the_same_bits() -> None:
    data = planted()
    fold = holding_out(data, "ds2")
    feeds = [feed_for(source, fold) for source in modes(data)]
    assert harmonisation_of(feeds[0]) == harmonisation_of(feeds[1]) == harmonisation_of(feeds[2])
    first, *others = map(read_all, feeds)
    for other in others:
        np.testing.assert_array_equal(first, other)
    sequences = torch.arange(3)
    assert {feed.level(sequences) for feed in feeds} == {1.0}


def test_a_whole_trial_is_the_same_in_the_three_modes() -> None:
    data = planted()
    folds = [holding_out(data, dataset) for dataset in DATASETS]
    trials = [list(fit_trial(source, folds, config())) for source in modes(data)]
    assert trials[0] == trials[1] == trials[2]


def test_stored_values_count_in_their_unit() -> None:
    data = planted()
    halved = data.slices_VSHW.copy()
    halved[: 2 * VOLUMES] /= np.float16(2.0)
    factors = (2.0, 2.0, *[1.0] * (len(data.table.units) - 2))
    table = replace(data.table, factor_of_run=factors)
    fold = holding_out(data, "ds2")
    one = read_all(feed_for(data, fold))
    two = read_all(feed_for(replace(data, slices_VSHW=halved, table=table), fold))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_the_scales_of_training_are_those_that_the_checkpoint_carries(tmp_path: Path) -> None:
    data = planted()
    fold = holding_out(data, "ds2")
    (*_, _) = fit_trial(data, [fold], config(), checkpoints=tmp_path)
    _, header = read_checkpoint(tmp_path / "ds2")
    assert header.harmonisation == harmonisation_of(feed_for(data, fold))
    assert set(header.scale_of_dataset or {}) == {"ds1", "ds3"}
    slices = read_all(feed_for(data, fold))
    assert header.harmonisation is not None
    for unit in (fold.training[0], fold.validation[0], fold.monitor[0]):
        run = data.slices_VSHW[unit * VOLUMES : (unit + 1) * VOLUMES]
        dataset = data.table.units[unit].key.dataset
        alone = header.harmonisation.harmonise(dataset, run)
        sequences = slices[data.table.unit_of_sequence == unit]
        np.testing.assert_allclose(alone[:3], sequences[0], atol=2e-4)


def test_without_harmonisation_the_header_has_no_scales(tmp_path: Path) -> None:
    data = planted()
    fold = holding_out(data, "ds2")
    list(fit_trial(data, [fold], tiny_config(), checkpoints=tmp_path))
    assert read_checkpoint(tmp_path / "ds2")[1].harmonisation is None


def test_no_copy_of_the_volumes_is_kept() -> None:
    data = planted()
    training = config().training
    feed = trial_feed(build_feed(data, CPU, training), training)
    kept = feed._inside_RSHW.numel() * feed._inside_RSHW.element_size()  # type: ignore[attr-defined]
    assert kept == len(data.table.units) * np.prod(SHAPE_SHW)
    assert kept * 2 * VOLUMES == data.slices_VSHW.nbytes


def test_moments_are_those_of_the_voxels_inside() -> None:
    run = planted().slices_VSHW[:VOLUMES]
    inside = run[..., 2:].astype(np.float64)
    moments = RunMoments.of(run, factor=2.0)
    assert moments.count == inside.size
    assert moments.mean == pytest.approx(2.0 * inside.mean(), rel=1e-12)
    assert moments.squares == pytest.approx(4.0 * inside.var() * inside.size, rel=1e-9)


def test_a_held_out_run_without_contrast_is_refused_by_name() -> None:
    data = planted()
    fold = holding_out(data, "ds3")
    slices = data.slices_VSHW.copy()
    unit = fold.validation[0]
    slices[unit * VOLUMES : (unit + 1) * VOLUMES] = 7.0
    with pytest.raises(DataError, match="ds3"):
        feed_for(replace(data, slices_VSHW=slices), fold)


@pytest.mark.parametrize("standardization", ["zscore", "percent", "volume"])
def test_a_recipe_without_scanner_units_is_refused(standardization: str) -> None:
    with pytest.raises((ConfigError, ValueError), match="no scanner unit to harmonise"):
        tiny_config(
            training__harmonisation="dataset", preprocessing__standardization=standardization
        )


def test_an_unmasked_recipe_is_refused() -> None:
    with pytest.raises((ConfigError, ValueError), match="air would decide the scale"):
        config(preprocessing__brain_mask=False)
