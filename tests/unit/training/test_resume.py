from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from spectrum.config import TrialConfig, fingerprint
from spectrum.data.units import Fold, SequenceData
from spectrum.errors import CheckpointError
from spectrum.records import FoldRecord, TrialEpochRecord
from spectrum.training.course import FoldCourse, identity_of
from spectrum.training.feeds import build_feed
from spectrum.training.place import Parallel, Place
from spectrum.training.state_files import StateFolder
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import halves, planted_data, tiny_config

NUM_EPOCHS = 3

RANDOM: dict[str, object] = {
    "model__drop_rate": 0.1,
    "model__drop_path_rate": 0.1,
    "training__slice_drop_fraction": 0.2,
    "training__rotation_degrees": 5.0,
    "training__temporal_mask_fraction": 0.4,
    "training__num_epochs": NUM_EPOCHS,
    "training__min_steps_per_epoch": 2,
}
"""Everything that is drawn at random."""

Outcome = tuple[list[TrialEpochRecord], tuple[FoldRecord, ...], dict[str, bytes]]


def fit(
    config: TrialConfig,
    folder: Path,
    states: StateFolder | None = None,
    data: SequenceData | None = None,
) -> Outcome:
    """Fit to the end; return all records, and the bytes of the checkpoints."""
    data = data or planted_data()
    checkpoints = folder / "checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    fitting = fit_trial(data, halves(data), config, checkpoints=checkpoints, states=states)
    records = []
    while True:
        try:
            records.append(next(fitting))
        except StopIteration as stop:
            folds = tuple(replace(fold, checkpoint="", notes=()) for fold in stop.value)
            break
    written = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(checkpoints.rglob("*.safetensors"))
    }
    return records, folds, written


def stop_after(
    num_records: int, config: TrialConfig, states: StateFolder, data: SequenceData | None = None
) -> None:
    data = data or planted_data()
    fitting = fit_trial(data, halves(data), config, states=states)
    assert len(list(islice(fitting, num_records))) == num_records
    fitting.close()


def notes_of(config: TrialConfig, states: StateFolder) -> str:
    data = planted_data()
    fitting = fit_trial(data, halves(data), config, states=states)
    while True:
        try:
            next(fitting)
        except StopIteration as stop:
            return " ".join(note for fold in stop.value for note in fold.notes)


@pytest.mark.parametrize(("order", "every_epochs"), [("epoch", 1), ("fold", 1), ("epoch", 2)])
def test_a_fit_stopped_after_any_epoch_ends_as_the_undisturbed_one_bit_for_bit(
    tmp_path: Path, order: str, every_epochs: int
) -> None:
    config = tiny_config(**RANDOM, training__fold_order=order)
    expected = fit(config, tmp_path)
    for num_records in range(len(expected[0]) + 1):
        states = StateFolder(path=tmp_path / f"state{num_records}", every_epochs=every_epochs)
        stop_after(num_records, config, states)
        assert fit(config, tmp_path, states) == expected


@pytest.mark.parametrize("order", ["epoch", "fold"])
def test_a_fit_that_ends_folds_early_goes_on_from_any_epoch(tmp_path: Path, order: str) -> None:
    data = planted_data(effect=0.0)
    paths = RANDOM | {"training__num_epochs": 9, "optimizer__lr": 0.01}
    config = tiny_config(**paths, training__patience_epochs=1, training__fold_order=order)
    expected = fit(config, tmp_path, None, data)
    assert min(fold.epoch for fold in expected[1]) < 7
    for num_records in range(2, len(expected[0]) + 1, 4):
        states = StateFolder(path=tmp_path / f"state{num_records}")
        stop_after(num_records, config, states, data)
        assert fit(config, tmp_path, states, data) == expected


def test_a_fit_stopped_many_times_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state")
    for num_records in range(NUM_EPOCHS + 1):
        stop_after(num_records, config, states)
    assert fit(config, tmp_path, states) == fit(config, tmp_path)


def test_a_stop_between_two_folds_of_an_epoch_loses_neither(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    earlier, later = (StateFolder(path=tmp_path / name) for name in ("earlier", "later"))
    stop_after(1, config, earlier)
    stop_after(2, config, later)
    shutil.rmtree(later.path / "second")
    shutil.copytree(earlier.path / "second", later.path / "second")
    assert fit(config, tmp_path, later) == fit(config, tmp_path)


def test_epochs_that_were_done_are_not_fitted_again(tmp_path: Path) -> None:
    """With volumes that no fit survives, only what is recorded can be told."""
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state")
    stop_after(NUM_EPOCHS, config, states)
    data = planted_data()
    spoiled = replace(data, slices_VSHW=data.slices_VSHW * float("nan"))
    assert fit(config, tmp_path, states, spoiled)[0] == fit(config, tmp_path)[0]


@pytest.mark.parametrize("order", ["epoch", "fold"])
def test_a_state_is_safetensors_and_json_of_two_generations(tmp_path: Path, order: str) -> None:
    config = tiny_config(**RANDOM, training__patience_epochs=9, training__fold_order=order)
    states = StateFolder(path=tmp_path / "state")
    for num_records in range(1, NUM_EPOCHS):
        states.drop()
        stop_after(num_records, config, states)
        for folder in states.path.iterdir():
            names = {path.name for path in folder.iterdir()}
            tensors = {name for name in names if name.endswith(".safetensors")}
            assert names - tensors <= {"state.json", "previous.json", "records.jsonl"}
            assert sum(name.startswith("last-") for name in tensors) == min(num_records, 2)
            assert 1 <= sum(name.startswith("best-") for name in tensors) <= 2


def test_of_a_large_state_only_the_last_is_kept(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state", spare_bytes=1000)
    stop_after(2, config, states)
    names = sorted(path.name for path in (states.path / "first").iterdir())
    assert names == ["last-00002.safetensors", "records.jsonl", "state.json"]
    assert fit(config, tmp_path, states) == fit(config, tmp_path)
    assert not list((states.path / "first").glob("previous.json"))


def _damaged(content: bytes) -> list[bytes]:
    """Flips in each region, a torn end, a swapped half, and nothing at all."""
    places = [len(content) * part // 5 for part in range(5)] + [len(content) - 1]
    flips = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in places]
    half = len(content) // 2
    return [*flips, content[:half], content[:-1], content[half:] + content[:half], b""]


@pytest.mark.parametrize(
    "pattern", ["state.json", "previous.json", "records.jsonl", "last-00002*", "last-00003*"]
)
def test_damage_anywhere_is_refused_or_the_state_before_is_taken(
    tmp_path: Path, pattern: str
) -> None:
    config = tiny_config(**(RANDOM | {"training__num_epochs": 4}), training__fold_order="fold")
    data = planted_data()
    folds = halves(data)[:1]
    expected = list(fit_trial(data, folds, config))
    states = StateFolder(path=tmp_path / "state")
    stop_after(3, config, states)
    shutil.copytree(states.path, tmp_path / "whole")
    (name,) = (path.name for path in (states.path / "first").glob(pattern))
    content = (states.path / "first" / name).read_bytes()
    ends = []
    for damaged in _damaged(content):
        shutil.rmtree(states.path)
        shutil.copytree(tmp_path / "whole", states.path)
        (states.path / "first" / name).write_bytes(damaged)
        ends.append(_records_or_refusal(data, folds, config, states))
    assert all(end == expected for end in ends if end is not None)
    assert expected in ends
    assert (None in ends) == (name == "records.jsonl")


def _records_or_refusal(
    data: SequenceData, folds: tuple[Fold, ...], config: TrialConfig, states: StateFolder
) -> list[TrialEpochRecord] | None:
    try:
        return list(fit_trial(data, folds, config, states=states))
    except CheckpointError:
        return None


def test_a_kill_at_any_write_leaves_a_whole_state(tmp_path: Path) -> None:
    """What a kill leaves: the files of the next state in the order they are written, one torn."""
    paths = RANDOM | {"training__num_epochs": 4, "training__patience_epochs": 9}
    config = tiny_config(**paths, training__fold_order="fold")
    data = planted_data()
    folds = halves(data)[:1]
    expected = list(fit_trial(data, folds, config))
    before, after = (StateFolder(path=tmp_path / name) for name in ("before", "after"))
    stop_after(2, config, before)
    stop_after(3, config, after)
    (new_best,) = (path.name for path in (after.path / "first").glob("best-00002*"))
    order = ("records.jsonl", "last-00003.safetensors", new_best, "previous.json", "state.json")
    for count, torn in enumerate(order):
        states = StateFolder(path=tmp_path / f"killed{count}")
        shutil.copytree(before.path, states.path)
        for name in order[:count]:
            shutil.copy(after.path / "first" / name, states.path / "first" / name)
        content = (after.path / "first" / torn).read_bytes()
        aside = ".state.json.77" if torn == "state.json" else torn
        (states.path / "first" / aside).write_bytes(content[: len(content) // 2])
        assert list(fit_trial(data, folds, config, states=states)) == expected
        assert not list((states.path / "first").glob(".*"))


def test_going_on_from_the_state_before_is_said(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state")
    stop_after(2, config, states)
    path = states.path / "first/state.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert "first/state.json is not what was written; the fit goes on from the state before" in (
        notes_of(config, states)
    )


def test_a_missing_file_counts_as_damage(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state")
    stop_after(1, config, states)
    next((states.path / "first").glob("last-*")).unlink()
    with pytest.raises(CheckpointError, match=r"last-00001.* cannot be read.*remove .*first"):
        fit(config, tmp_path, states)


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"optimizer__lr": 0.004}, {"training__num_epochs": 9}]
)
def test_a_state_of_another_configuration_is_refused(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    states = StateFolder(path=tmp_path / "state")
    stop_after(1, tiny_config(**RANDOM), states)
    with pytest.raises(CheckpointError, match="another configuration, fold or set of shards"):
        fit(tiny_config(**(RANDOM | changed)), tmp_path, states)


def test_a_state_of_other_data_is_refused_or_left_behind(tmp_path: Path) -> None:
    config = tiny_config(**RANDOM)
    states = StateFolder(path=tmp_path / "state")
    stop_after(2, config, states)
    other = replace(planted_data(seed=3), content_hash="other")
    with pytest.raises(CheckpointError, match="another configuration, fold or set of shards"):
        fit(config, tmp_path, states, other)
    again = replace(states, begins_again=True)
    assert fit(config, tmp_path, again, other) == fit(config, tmp_path, None, other)


def test_a_state_of_other_classes_or_other_sequences_is_refused(tmp_path: Path) -> None:
    """Volumes and folds are the same; what is learned from them is not."""
    config, data = tiny_config(**RANDOM), planted_data()
    states = StateFolder(path=tmp_path / "state")
    stop_after(1, config, states)
    table = data.table
    swapped = tuple(replace(unit, class_index=1 - unit.class_index) for unit in table.units)
    for changed in (
        replace(table, units=swapped),
        replace(table, classes=("late", "early")),
        replace(table, start_of_sequence=table.start_of_sequence[::-1].copy()),
    ):
        other = replace(data, table=changed)
        with pytest.raises(CheckpointError, match="of other classes"):
            list(fit_trial(other, halves(data), config, states=states))


def test_what_auto_came_to_and_the_number_of_workers_are_part_of_a_state() -> None:
    data, config = planted_data(), tiny_config()
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    places = [
        Place(device=cpu),
        Place(device=gpu),
        Place(device=cpu, dtype=torch.bfloat16),
        Place(device=cpu, parallel=Parallel(rank=0, num_workers=2)),
    ]
    told = [fingerprint(identity_of(data, halves(data)[0], config, place=p)) for p in places]
    assert len(set(told)) == len(places)
    second = Place(device=cpu, parallel=Parallel(rank=1, num_workers=2))
    assert fingerprint(identity_of(data, halves(data)[0], config, place=second)) == told[3]


def test_weights_that_moved_are_the_same_weights_and_others_under_the_path_are_not() -> None:
    data, place = planted_data(), Place(device=torch.device("cpu"))

    def told(path: str, digit: str) -> str:
        config = tiny_config(
            model__weights=path, model__weights_sha256=64 * digit, model__amplitude_fraction=0.0
        )
        return fingerprint(identity_of(data, halves(data)[0], config, place=place))

    assert told("/old/vit.safetensors", "a") == told("/new/vit.safetensors", "a")
    assert told("/old/vit.safetensors", "a") != told("/old/vit.safetensors", "b")


def test_how_volumes_are_fed_may_change_between_stop_and_start(tmp_path: Path) -> None:
    states = StateFolder(path=tmp_path / "state")
    stop_after(2, tiny_config(**RANDOM), states)
    config = tiny_config(**RANDOM, training__feeding="stream", training__stream_gib=1.0)
    assert fit(config, tmp_path, states)[:2] == fit(tiny_config(**RANDOM), tmp_path)[:2]


def test_a_fold_that_had_ended_before_a_stop_builds_no_model(tmp_path: Path) -> None:
    data, config = planted_data(), tiny_config(training__num_epochs=1)
    fold = halves(data)[0]
    states = StateFolder(path=tmp_path / "states")
    place = Place.choose(config.training, Parallel())
    feed = build_feed(data, place.device, config.training)

    def begin() -> FoldCourse:
        return FoldCourse(feed, fold, config, place=place, states=states)

    first = begin()
    assert first.holds_model
    record = first.advance()
    again = begin()
    assert not again.holds_model
    assert not again.is_finished
    told = replace(record, measured={})
    assert fingerprint(asdict(again.advance())) == fingerprint(asdict(told))
    assert again.is_finished
    one, other = (
        course.finish(tmp_path / "c" / str(n)) for n, course in enumerate((first, again))
    )
    assert replace(one, checkpoint="") == replace(other, checkpoint="")
