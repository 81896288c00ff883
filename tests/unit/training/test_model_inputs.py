from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spectrum.data.units import SequenceData
from spectrum.errors import ConfigError
from spectrum.training.loop import fit_fold
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.resident import ResidentData
from tests.unit.training.planted import halves, planted_data, tiny_config

UNITS = {"model__slice_position": "mm", "model__temporal_position": "seconds"}


def placed_data() -> SequenceData:
    """Runs of unequal repetition times and distances of slices."""
    data = planted_data(decimation=2)
    num_runs = len(data.table.units)
    table = replace(
        data.table,
        tr_s_of_run=tuple(1.5 + 0.1 * run for run in range(num_runs)),
        slice_step_mm_of_run=tuple(3.0 + run for run in range(num_runs)),
    )
    return replace(data, table=table)


def test_a_model_that_embeds_by_index_is_told_nothing() -> None:
    feed = ResidentData.place(planted_data(), torch.device("cpu"))
    assert ModelInputs.of_feed(feed, tiny_config().model).of(torch.tensor([0, 3])) == {}


def test_each_sequence_has_the_millimetres_and_seconds_of_its_run() -> None:
    data = placed_data()
    feed = ResidentData.place(data, torch.device("cpu"))
    told = ModelInputs.of_feed(feed, tiny_config(**UNITS).model)
    sequences = torch.tensor([0, 5, 9])
    runs = data.table.run_of_sequence[sequences]
    assert len(set(runs)) == 3
    found = told.of(sequences)
    assert found.keys() == {"slice_mm_BS", "volume_s_BT"}
    for row, run in enumerate(runs):
        step_mm, tr_s = 3.0 + run, 1.5 + 0.1 * run
        assert found["slice_mm_BS"][row].tolist() == pytest.approx([-step_mm / 2, step_mm / 2])
        assert found["volume_s_BT"][row].tolist() == pytest.approx([0.0, 2 * tr_s, 4 * tr_s])


def test_data_that_does_not_tell_is_refused() -> None:
    feed = ResidentData.place(planted_data(), torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"slice_position is mm.*how far apart slices lie"):
        ModelInputs.of_feed(feed, tiny_config(model__slice_position="mm").model)
    with pytest.raises(ConfigError, match=r"temporal_position is seconds.*repetition times"):
        ModelInputs.of_feed(feed, tiny_config(model__temporal_position="seconds").model)


def test_a_fold_is_fitted_with_positions_in_units() -> None:
    data = placed_data()
    records = list(fit_fold(data, halves(data)[0], tiny_config(**UNITS)))
    assert records[-1].training_loss < records[0].training_loss
