"""Which mode feeds a trial, and that the mode changes no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spectrum.errors import ConfigError
from spectrum.records import TrialEpochRecord
from spectrum.training.feeding import choose_feeding
from spectrum.training.feeds import Sequences
from spectrum.training.room import Room, free_memory_bytes
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import by_run, halves, planted_data, tiny_config

MIB = 2**20


def room(
    device: int | None = None, memory: int = 100, store: int | None = 50, neighbours: bool = True
) -> Room:
    return Room(
        device_bytes=None if device is None else device * MIB,
        memory_bytes=memory * MIB,
        store_bytes=None if store is None else store * MIB,
        has_neighbours=neighbours,
    )


@pytest.mark.parametrize(
    ("size", "where", "mode"),
    [
        (10, room(), "node"),
        (60, room(), "device"),
        (200, room(), "stream"),
        (10, room(store=None), "device"),
        (10, room(neighbours=False), "device"),
        (40, room(memory=20, neighbours=False), "node"),
        (10, room(device=20), "device"),
        (30, room(device=20), "node"),
        (60, room(device=20), "stream"),
    ],
)
def test_the_first_mode_with_room_is_taken(size: int, where: Room, mode: str) -> None:
    assert choose_feeding("auto", size * MIB, where).mode == mode


def test_the_note_says_where_volumes_are_and_why_not_in_the_first_place() -> None:
    note = choose_feeding("auto", 60 * MIB, room()).note
    assert "training.feeding: device" in note
    assert "the volumes take 60 MiB and may take 50 MiB of this node's object store" in note
    assert " as " not in choose_feeding("auto", MIB, room()).note


@pytest.mark.parametrize(
    ("asked", "where", "message"),
    [
        (
            "node",
            room(store=5),
            "node, but the volumes take 10 MiB and may take 5 MiB of this nod",
        ),
        ("node", room(store=None), "node, but no Ray runs in this process"),
        ("device", room(memory=5), "may take 5 MiB of the memory of this process"),
        ("device", room(device=5), "may take 5 MiB of the memory of the GPU.*auto or stream"),
    ],
)
def test_a_mode_asked_for_by_name_is_refused_where_it_has_no_room(
    asked: str, where: Room, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_feeding(asked, 10 * MIB, where)


@pytest.mark.parametrize("asked", ["device", "node", "stream"])
def test_a_mode_asked_for_by_name_is_taken_where_it_has_room(asked: str) -> None:
    assert choose_feeding(asked, 10 * MIB, room(device=20)).mode == asked


@pytest.mark.parametrize(("limit", "free"), [("3000000\n", 1000000), ("1000\n", 0)])
def test_a_containers_limit_is_its_memory(tmp_path: Path, limit: str, free: int) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("2000000\n")
    assert free_memory_bytes(tmp_path) == free


def test_no_limit_leaves_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(tmp_path) > 10 * MIB
    assert free_memory_bytes(tmp_path / "none") > 10 * MIB


def fitted(data: Sequences, **paths: Any) -> tuple[list[TrialEpochRecord], Any]:
    config = tiny_config(training__num_epochs=2, training__slice_drop_fraction=0.2, **paths)
    folds = halves(planted_data(num_classes=3))
    fitting = fit_trial(data, folds, config)
    records = []
    while True:
        try:
            records.append(next(fitting))
        except StopIteration as stop:
            return records, stop.value


@pytest.mark.parametrize("shuffle_runs", [None, 3])
def test_a_fit_is_bit_for_bit_the_same_in_every_mode(shuffle_runs: int | None) -> None:
    data = planted_data(num_classes=3)
    paths = {"training__shuffle_runs": shuffle_runs, "training__patience_epochs": 1}
    resident = fitted(data, **paths)
    assert fitted(by_run(data, is_in_memory=True), **paths) == resident
    scarce = {**paths, "training__stream_gib": 1e-5}
    assert fitted(by_run(data, is_in_memory=False), **scarce) == resident
