from __future__ import annotations

import math

import pytest
import torch

from spectrum.training.loop import fit_fold
from spectrum.training.micro_batch import num_parts_that_fit
from tests.unit.training.planted import halves, planted_data, tiny_config
from tests.unit.training.test_step import BATCH, stepped

FIXED, EACH = 1000, 70


def bytes_of_part(count: int) -> int:
    return FIXED + EACH * count


@pytest.mark.parametrize("num_sequences", [1, 3, 4, 17, 64])
@pytest.mark.parametrize("free_bytes", [0, 900, 1070, 1500, 2000, 10**6])
def test_parts_fit_and_are_as_few_as_can_be(num_sequences: int, free_bytes: int) -> None:
    num_parts = num_parts_that_fit(
        bytes_of_part, num_sequences=num_sequences, free_bytes=free_bytes
    )
    assert 1 <= num_parts <= num_sequences
    if num_sequences <= 3:
        return
    if num_parts < num_sequences:
        assert bytes_of_part(math.ceil(num_sequences / num_parts)) <= free_bytes
    if num_parts > 1:
        assert bytes_of_part(math.ceil(num_sequences / (num_parts - 1))) > free_bytes


def test_large_parts_are_never_measured() -> None:
    seen: list[int] = []

    def measure(count: int) -> int:
        seen.append(count)
        return bytes_of_part(count)

    num_parts_that_fit(measure, num_sequences=4096, free_bytes=10**5)
    assert max(seen) == 3


def test_a_rehearsal_leaves_nothing_behind() -> None:
    calm, rehearsed = (stepped(0, 1, BATCH, tiny_config()) for _ in range(2))
    rehearsed.rehearse(2)
    for one, two in zip(calm.model.parameters(), rehearsed.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert rehearsed.totals.sum() == rehearsed.gradient.abs().sum() == 0


def test_automatic_parts_change_no_number_on_a_cpu() -> None:
    data = planted_data()
    auto = tiny_config(optimizer__accumulation_steps="auto", model__drop_rate=0.1)
    plain = tiny_config(model__drop_rate=0.1)
    one, two = (list(fit_fold(data, halves(data)[0], config)) for config in (auto, plain))
    assert one == two
