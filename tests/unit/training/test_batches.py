from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum.training.batches import draw_epoch, iter_batches, num_steps, order_by_runs

COUNTS = st.integers(1, 300)
SIZES = st.integers(1, 70)
STEPS = st.integers(1, 60)


@settings(deadline=None)
@given(COUNTS, SIZES, STEPS)
def test_an_epoch_passes_over_every_sequence_equally_often(
    count: int, size: int, steps: int
) -> None:
    sequences = torch.arange(count) * 3
    order = draw_epoch(
        sequences, batch_size=size, min_steps=steps, generator=torch.Generator().manual_seed(1)
    )
    values, times = order.unique(return_counts=True)
    assert torch.equal(values, sequences)
    assert len(times.unique()) == 1


@settings(deadline=None)
@given(COUNTS, SIZES, STEPS)
def test_an_epoch_has_the_steps_it_must_and_no_needless_pass(
    count: int, size: int, steps: int
) -> None:
    passes = 1
    while math.ceil(count * passes / size) < steps:
        passes += 1
    assert num_steps(count, batch_size=size, min_steps=steps) == math.ceil(count * passes / size)


@settings(deadline=None)
@given(COUNTS, SIZES)
def test_batches_cover_all_once_in_order(count: int, size: int) -> None:
    covered = [i for part in iter_batches(count, size) for i in range(part.start, part.stop)]
    assert covered == list(range(count))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_is_that_of_the_seed(seed: int) -> None:
    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_epoch(torch.arange(50), batch_size=8, min_steps=1, generator=generator)
        return [int(i) for i in drawn]

    assert order(seed) == order(seed) != order(seed + 1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 5))
def test_runs_are_taken_some_at_a_time_and_mixed_within(
    runs: list[int], at_a_time: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = order_by_runs(torch.tensor(runs), at_a_time, generator)
    assert sorted(order.tolist()) == list(range(len(runs)))
    seen = torch.tensor(runs)[order].tolist()
    left = list(seen)
    while left:
        group = set(list(dict.fromkeys(left))[:at_a_time])
        size = sum(run in group for run in seen)
        assert set(left[:size]) == group
        left = left[size:]


def test_all_runs_at_a_time_mix_sequences_of_all() -> None:
    runs = np.repeat(np.arange(40), 10)
    order = draw_epoch(
        torch.arange(400),
        batch_size=16,
        min_steps=1,
        generator=torch.Generator().manual_seed(0),
        run_of_sequence=runs,
        shuffle_runs=8,
    )
    in_first_batch = set(runs[order[:16].numpy()].tolist())
    assert 4 <= len(in_first_batch) <= 8
    assert sorted(order.tolist()) == list(range(400))
