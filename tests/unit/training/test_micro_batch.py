from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spectrum.training.fold_fit import FoldFit
from spectrum.training.loop import fit_fold
from spectrum.training.micro_batch import num_parts_that_fit
from spectrum.training.place import Place
from spectrum.training.resident import ResidentData
from spectrum.training.state_files import FoldStateFiles
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


def test_a_fold_goes_on_with_the_parts_that_it_began_with(tmp_path: Path) -> None:
    """With dropout other parts are other numbers, and memory may be another after a stop."""
    data = planted_data()
    fold = halves(data)[0]
    place = Place(device=torch.device("cpu"))
    feed = ResidentData.place(data, place.device)
    thirds = tiny_config(optimizer__accumulation_steps=3, model__drop_rate=0.3)
    auto = tiny_config(optimizer__accumulation_steps="auto", model__drop_rate=0.3)

    def files() -> FoldStateFiles:
        return FoldStateFiles(tmp_path, identity={}, table=data.table)

    begun = FoldFit(feed, fold, thirds, place=place)
    records = [begun.advance()]
    files().write(begun.state(), records)
    state = files().read()
    assert state is not None
    gone_on, probed = (FoldFit(feed, fold, auto, place=place) for _ in range(2))
    gone_on.restore(state)
    probed.restore(replace(state, num_parts=1))
    expected = begun.advance()
    assert gone_on.advance() == expected
    assert gone_on.state().num_parts == 3
    assert probed.advance() != expected
