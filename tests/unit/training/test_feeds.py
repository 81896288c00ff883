"""Feeds: the same batches and levels whatever the volumes lie in, within a budget of memory."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.read_ahead import iter_ahead
from spectrum.data.units import SequenceData, SequenceRuns
from spectrum.training.resident import ResidentData
from spectrum.training.run_feed import RunCache, RunFeed
from tests.unit.training.planted import by_run, planted_data

CPU = torch.device("cpu")
BYTES_OF_RUN = 12 * 2 * 7 * 9 * 2


def feed_of(source: SequenceRuns, num_runs: float = 3) -> RunFeed:
    return RunFeed(source, CPU, capacity_bytes=int(num_runs * BYTES_OF_RUN))


@pytest.mark.parametrize("decimation", [1, 3])
@pytest.mark.parametrize("is_in_memory", [True, False])
@pytest.mark.parametrize("num_runs", [0, 2, 100])
def test_batches_are_bit_for_bit_those_of_resident_data(
    decimation: int, is_in_memory: bool, num_runs: int
) -> None:
    data = planted_data(decimation=decimation)
    resident = ResidentData.place(data, CPU)
    feed = feed_of(by_run(data, is_in_memory=is_in_memory), num_runs)
    order = torch.randperm(len(resident.class_index))
    parts = [*order.split(7), order[:0], order[3:4]]
    for _ in range(2):
        for one, other in zip(feed.iter_read(parts), resident.iter_read(parts), strict=True):
            assert one.dtype == torch.float32
            assert torch.equal(one, other)
    assert torch.equal(feed.class_index, resident.class_index)


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_the_level_is_bit_for_bit_that_of_resident_data(is_in_memory: bool) -> None:
    data = planted_data(num_subjects=60, num_classes=4)
    sequences = torch.arange(1, len(data.table.unit_of_sequence), 2)
    level = feed_of(by_run(data, is_in_memory=is_in_memory)).level(sequences)
    assert level == ResidentData.place(data, CPU).level(sequences)
    assert level == pytest.approx(
        np.sqrt(np.square(data.slices_VSHW.astype(float)).mean()), rel=0.1
    )


def stored_divided(data: SequenceData, factors: dict[int, float]) -> SequenceData:
    """The same data, with the values of some runs stored divided by a factor."""
    slices = data.slices_VSHW.copy()
    for run, factor in factors.items():
        slices[run * 12 : (run + 1) * 12] /= np.float16(factor)
    told = tuple(factors.get(run, 1.0) for run in range(len(data.table.units)))
    return replace(data, slices_VSHW=slices, table=replace(data.table, factor_of_run=told))


def test_a_run_that_is_stored_divided_counts_as_its_neighbours_do_in_every_mode() -> None:
    data = planted_data()
    # Whole eighths between the exponents of float16 are divided by 4 without loss.
    data = replace(data, slices_VSHW=np.round(data.slices_VSHW * 8) / np.float16(8))
    stored = stored_divided(data, {1: 4.0, 6: 2.0})
    plain = ResidentData.place(data, CPU)
    order = torch.randperm(len(plain.class_index))
    modes: list[ResidentData | RunFeed] = [ResidentData.place(stored, CPU)]
    modes += [feed_of(by_run(stored, is_in_memory=there)) for there in (True, False)]
    for feed in modes:
        for one, other in zip(
            feed.iter_read(order.split(7)), plain.iter_read(order.split(7)), strict=True
        ):
            assert torch.equal(one, other)
        assert feed.level(order) == plain.level(order)


def test_a_factor_that_is_no_power_of_two_gives_the_same_bits_in_every_mode() -> None:
    stored = stored_divided(planted_data(), {0: 1.7, 3: 3.3})
    resident = ResidentData.place(stored, CPU)
    order = torch.randperm(len(resident.class_index))
    (expected,) = resident.iter_read([order])
    for there in (True, False):
        feed = feed_of(by_run(stored, is_in_memory=there))
        (found,) = feed.iter_read([order])
        assert torch.equal(found, expected)
        assert feed.level(order) == resident.level(order)


def test_volumes_of_zeros_have_level_one() -> None:
    data = planted_data()
    data = replace(data, slices_VSHW=np.zeros_like(data.slices_VSHW))
    assert ResidentData.place(data, CPU).level(torch.arange(4)) == 1.0


class CountedReader:
    """Reads runs, and counts the arrays that somebody still holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.alive = 0
        self.most = 0
        self.reads: list[int] = []

    def __call__(self, run: int) -> NDArray[np.float16]:
        volumes = np.full((4, 1, 2, 5), run, dtype=np.float16)
        with self.lock:
            self.reads.append(run)
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(volumes, self._lost)
        return volumes

    def _lost(self) -> None:
        self.alive -= 1


def taken(cache: RunCache, steps: list[list[int]]) -> None:
    cache.plan(steps)
    for step, runs in enumerate(steps):
        found = {run: int(volumes[0, 0, 0, 0]) for run, volumes in cache.iter_runs(step, runs)}
        assert found == {run: run for run in runs}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=6), max_size=12), st.integers(0, 9)
)
def test_every_step_gets_its_runs_within_the_budget(steps: list[set[int]], room: int) -> None:
    # What is there already, such as torch's modules, is not looked through each time.
    gc.freeze()
    reader = CountedReader()
    cache = RunCache(reader, capacity_bytes=room * 80)
    taken(cache, [sorted(runs) for runs in steps])
    gc.collect()
    gc.unfreeze()
    assert reader.alive <= room
    assert reader.most <= room + 4


def test_a_run_is_read_once_where_all_fit_and_again_only_where_not() -> None:
    steps = [[0, 1], [2, 3], [0, 1], [2, 3]]
    ample, scarce = CountedReader(), CountedReader()
    taken(RunCache(ample, capacity_bytes=4 * 80), steps)
    assert sorted(ample.reads) == [0, 1, 2, 3]
    taken(RunCache(scarce, capacity_bytes=2 * 80), steps)
    # Belady keeps 0 and 1 until their last use, so that they are never read twice.
    assert sorted(scarce.reads) == [0, 1, 2, 2, 3, 3]


def test_what_was_read_for_one_plan_serves_the_next() -> None:
    reader = CountedReader()
    cache = RunCache(reader, capacity_bytes=4 * 80)
    taken(cache, [[0, 1, 2]])
    taken(cache, [[2], [1], [0]])
    assert sorted(reader.reads) == [0, 1, 2]


def test_work_goes_ahead_so_far_and_no_farther() -> None:
    begun: list[int] = []
    results: Iterator[int] = iter_ahead(lambda n: begun.append(n) or n, range(10), depth=3)
    assert next(results) == 0
    assert max(begun, default=0) <= 2
    assert list(results) == list(range(1, 10))


def test_an_error_ahead_is_raised_where_its_result_is_asked_for() -> None:
    results = iter_ahead(lambda n: 6 // n, [3, 2, 0, 1], depth=2)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_reader_that_fails_fails_the_batch() -> None:
    def broken(run: int) -> NDArray[np.float16]:
        raise OSError(f"run {run} is gone")

    source = replace(by_run(planted_data(), is_in_memory=False), read_run=broken)
    with pytest.raises(OSError, match="is gone"):
        list(feed_of(source).iter_read([torch.arange(4)]))
