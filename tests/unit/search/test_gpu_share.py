"""A share of a GPU from measured memory: with fakes, as no GPU is needed to divide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.search.gpu_share import (
    CONTEXT_BYTES,
    HEADROOM,
    MAX_TRIALS_ON_GPU,
    GpuMemory,
    choose_share,
    idle_limit,
    share_of_gpu,
)
from spectrum.search.placement import Node, place_trials

GIB = 2**30
H100 = 80 * GIB


@given(peak=st.integers(1, 200 * GIB), total=st.integers(4 * GIB, 200 * GIB))
def test_the_trials_that_share_a_gpu_fit_it_with_room_to_spare(peak: int, total: int) -> None:
    share = share_of_gpu(GpuMemory(peak_bytes=peak, total_bytes=total))
    num_trials = place_trials([Node(100, 1)], [1], share).num_concurrent
    assert 1 <= num_trials <= MAX_TRIALS_ON_GPU
    if num_trials > 1:
        assert num_trials * (HEADROOM * peak + CONTEXT_BYTES) <= total


@pytest.mark.parametrize(("peak_gib", "num_trials"), [(1, 8), (15, 3), (40, 1), (90, 1)])
def test_fewer_trials_share_a_gpu_the_larger_they_are(peak_gib: int, num_trials: int) -> None:
    share = share_of_gpu(GpuMemory(peak_bytes=peak_gib * GIB, total_bytes=H100))
    assert place_trials([Node(100, 1)], [1], share).num_concurrent == num_trials


def never() -> GpuMemory:
    raise AssertionError("measured without need")


@pytest.mark.parametrize("asked", [None, 0.0, 0.25])
def test_a_share_that_was_asked_for_is_taken_without_a_measurement(asked: float | None) -> None:
    assert choose_share(asked, [Node(4, 1)], never) == (asked, "")


def test_auto_measures_and_says_what_it_found() -> None:
    memory = GpuMemory(peak_bytes=15 * GIB, total_bytes=H100)
    share, note = choose_share("auto", [Node(4), Node(4, 1)], lambda: memory)
    assert share == pytest.approx(1 / 3, abs=1e-3)
    assert "15.00 GiB of a GPU of 80.00 GiB" in note
    assert "3 trials share one" in note


def test_auto_without_a_gpu_has_no_effect_and_says_so() -> None:
    share, note = choose_share("auto", [Node(4)], never)
    assert share is None
    assert "no effect" in note


def test_a_measurement_that_fails_leaves_each_trial_a_gpu_and_says_why() -> None:
    def broken() -> GpuMemory:
        raise MemoryError("out of memory on device 0")

    share, note = choose_share("auto", [Node(4, 1)], broken)
    assert share is None
    assert "MemoryError: out of memory on device 0" in note


def test_gpu_hours_that_limit_nothing_are_told() -> None:
    told = idle_limit(2.5, [Node(4), Node(8)])
    assert "study.max_gpu_hours, 2.5, ends nothing" in told
    assert "study.max_hours" in told
    assert idle_limit(2.5, [Node(4), Node(8, 1)]) == idle_limit(None, [Node(4)]) == ""
