"""Decimation: every n-th volume of a run, within the same bounds as without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import SequencesConfig, TrialConfig
from spectrum.data.overlaps import shared_volumes
from spectrum.data.sequences import build_table, cut_event, cut_run, read_sequences
from tests.unit.data.fake_shards import FakeRun, FakeShards, key
from tests.unit.data.test_sequences import EARLY_LATE, FACES_HOUSES, event, sequences


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 5), st.integers(1, 80))
def test_every_volume_of_a_sequence_lies_in_its_run_n_volumes_apart(
    num_volumes: int, stride: int, decimation: int, length: int
) -> None:
    config = SequencesConfig(num_volumes=num_volumes, stride=stride, decimation=decimation)
    if length < config.span:
        assert cut_run(length, span=config.span, stride=stride).size == 0
        return
    table = build_table([FakeRun(key(), num_volumes=length)], EARLY_LATE, config)
    volumes = table.volumes_of_sequence
    assert volumes.shape[1] == num_volumes
    assert volumes.min() == 0
    assert volumes.max() < length
    assert np.all(np.diff(volumes, axis=1) == decimation)
    assert np.all(np.diff(volumes[:, 0]) == stride)
    assert volumes[-1, -1] + stride >= length
    assert config.span == volumes[0, -1] - volumes[0, 0] + 1
    assert table.volumes_left_out == length - np.unique(volumes).size


@given(st.floats(0, 60), st.floats(0, 60), st.integers(1, 6), st.integers(1, 4))
def test_all_volumes_of_later_sequences_of_an_event_begin_within_it(
    onset: float, duration: float, num_volumes: int, decimation: int
) -> None:
    span = SequencesConfig(num_volumes=num_volumes, decimation=decimation).span
    starts = cut_event((onset, onset + duration), 90, tr_s=2.0, span=span, stride=1)
    assert all(start * 2.0 >= onset - 1e-4 for start in starts)
    assert all((start + span - 1) * 2.0 < onset + duration + 1e-4 for start in starts[1:])


def test_a_run_too_short_for_the_span_is_named_with_it() -> None:
    runs = [FakeRun(key(run="01"), num_volumes=9), FakeRun(key(run="02"), num_volumes=10)]
    table = build_table(runs, EARLY_LATE, sequences(num_volumes=4, decimation=3))
    assert [unit.run_index for unit in table.units] == [1]
    assert "9 volumes and a sequence 10 (with sequences.decimation 3)" in table.problems[0].message


def test_events_share_only_the_volumes_that_they_take() -> None:
    events = (event(0.0, 0.0), event(2.0, 0.0, "House"))
    runs = [FakeRun(key(), num_volumes=20, events=events)]
    close = build_table(runs, FACES_HOUSES, sequences(num_volumes=2, stride=1))
    apart = build_table(runs, FACES_HOUSES, sequences(num_volumes=2, stride=1, decimation=2))
    assert shared_volumes(close).any()
    assert not shared_volumes(apart).any()


def test_decimated_sequences_hold_the_volumes_that_the_table_says() -> None:
    shards = FakeShards(runs=(FakeRun(key(run="01"), num_volumes=11), FakeRun(key(run="02"))))
    data = read_sequences(shards, EARLY_LATE, sequences(num_volumes=3, decimation=4))
    assert data.slices_VSHW.shape[0] == 22
    assert data.table.volumes_of_sequence.tolist() == [[0, 4, 8], [0, 4, 8]]
    assert data.first_volume_of_sequence.tolist() == [0, 11]


@pytest.mark.parametrize("decimation", [0, -1, 65])
def test_a_decimation_out_of_range_is_refused(decimation: int) -> None:
    with pytest.raises(ValueError, match="decimation"):
        SequencesConfig(decimation=decimation)


def test_a_decimation_of_one_is_the_default_and_spans_its_volumes() -> None:
    config = TrialConfig().sequences
    assert (config.decimation, config.span) == (1, config.num_volumes)
