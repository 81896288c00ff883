"""One copy of the volumes a node: made once, seen by all, and made again where it was lost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from spectrum.config import TrialConfig, set_paths
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.sequences import read_sequences, stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import SequenceRuns
from spectrum.errors import ConfigError, ShardError
from spectrum.targets import read_target
from spectrum.training.feeding import choose_feeding, open_sequences
from spectrum.training.node_copies import CopyHolder, CopyRequest, NodeCopies, NoRoom
from spectrum.training.room import measure_room
from spectrum.training.trial import draw_trial_folds, fit_trial
from tests.tiny_bids import TASK, write_tiny_bids

pytestmark = pytest.mark.ray

RUNS = {(f"0{s}", TASK, f"0{r}"): 20 + s for s in (1, 2, 3) for r in (1, 2)}
SETTINGS: dict[str, Any] = {
    "folds": {"scheme": "leave-one-subject-out"},
    "preprocessing": {"voxel_mm": 20.0, "high_pass_hz": 0.0},
    "sequences": {"num_volumes": 3, "stride": 2, "plane": "coronal"},
    "training": {"num_epochs": 1, "batch_size": 7, "min_steps_per_epoch": 3},
    "model": {"embed_dim": 16, "depth": 1},
}


def config_of(**paths: Any) -> TrialConfig:
    given = {name.replace("__", "."): value for name, value in paths.items()}
    return TrialConfig.model_validate(set_paths(SETTINGS, given))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> ShardSet:
    folder = tmp_path_factory.mktemp("node-copies")
    table = index_bids([write_tiny_bids(folder / "ds000002", RUNS)])
    prepared = prepare(table, config_of().preprocessing, shards_root=folder / "shards")
    return ShardSet.open(prepared.shards)


@pytest.fixture
def copies(ray_session: None) -> Iterator[NodeCopies]:
    """This process's way to the copies; the actor that it started ends with the test."""
    copies = NodeCopies()
    yield copies
    with suppress(ValueError):
        ray.kill(holder())


def streamed_of(shards: ShardSet) -> SequenceRuns:
    config = config_of()
    return stream_sequences(shards, read_target(config.target), config.sequences)


def shared_of(shards: ShardSet, copies: NodeCopies) -> SequenceRuns:
    shared = copies.share(streamed_of(shards), shards, "coronal")
    assert isinstance(shared, SequenceRuns)
    return shared


def check_volumes(shared: SequenceRuns, shards: ShardSet) -> None:
    config = config_of()
    data = read_sequences(shards, read_target(config.target), config.sequences)
    for index in shared.table.used_runs:
        first = data.first_volume_of_run[index]
        volumes = data.slices_VSHW[first : first + shared.volumes_of_run[index]]
        assert np.array_equal(shared.read_run(index), volumes)


def holder() -> Any:
    node_id = ray.get_runtime_context().get_node_id()
    return ray.get_actor(f"spectrum-volumes-{node_id}")


def requested(shards: ShardSet, **changes: Any) -> CopyRequest:
    streamed = streamed_of(shards)
    fields: dict[str, Any] = {
        "path": str(shards.path),
        "content_hash": shards.manifest.content_hash,
        "plane": "axial",
        "run_indices": streamed.table.used_runs,
        "num_bytes": streamed.num_bytes,
    }
    return CopyRequest(**{**fields, **changes})


def test_views_hold_the_volumes_of_the_shards_and_cannot_be_written_to(
    shards: ShardSet, copies: NodeCopies
) -> None:
    shared = shared_of(shards, copies)
    check_volumes(shared, shards)
    with pytest.raises(ValueError, match="read-only"):
        shared.read_run(0)[0] = 0


@ray.remote(num_cpus=0)
class Asker:
    """A process that takes part in a node's copy, as a trial does."""

    def __init__(self, path: str) -> None:
        self.shards = ShardSet.open(Path(path))
        self.copies = NodeCopies()
        self.shared: SequenceRuns | None = None

    def take(self) -> int:
        self.shared = shared_of(self.shards, self.copies)
        return os.getpid()

    def is_whole(self) -> bool:
        assert self.shared is not None
        check_volumes(self.shared, self.shards)
        return True


@pytest.mark.slow
def test_four_processes_that_ask_at_once_have_one_copy(shards: ShardSet) -> None:
    askers = [Asker.remote(str(shards.path)) for _ in range(4)]
    assert len(set(ray.get([asker.take.remote() for asker in askers]))) == 4
    assert all(ray.get([asker.is_whole.remote() for asker in askers]))
    mine = f"{shards.manifest.content_hash}/coronal"
    assert NodeCopies().sizes()[mine] == streamed_of(shards).num_bytes


def test_a_copy_whose_holder_was_killed_stays_good_and_is_made_again(
    shards: ShardSet, copies: NodeCopies
) -> None:
    before = shared_of(shards, copies)
    killed = holder()
    ray.kill(killed)
    after = shared_of(shards, copies)
    assert holder() != killed
    # Were the memory of the first copy free, these would be written there.
    fillers = [ray.put(np.full(20_000_000, 7, dtype=np.uint8)) for _ in range(14)]
    assert len(ray.get(fillers)) == 14
    check_volumes(before, shards)
    check_volumes(after, shards)


@pytest.mark.slow
def test_a_copy_outlives_the_process_that_asked_for_it_first(shards: ShardSet) -> None:
    first = Asker.remote(str(shards.path))
    pid = ray.get(first.take.remote())
    other = Asker.remote(str(shards.path))
    ray.get(other.take.remote())
    psutil.Process(pid).kill()
    time.sleep(1.0)
    assert ray.get(other.is_whole.remote())
    check_volumes(shared_of(shards, NodeCopies()), shards)


def test_copies_asked_for_longest_ago_make_room(shards: ShardSet) -> None:
    request = requested(shards)
    copies = CopyHolder(2 * request.num_bytes)
    for plane in ("axial", "coronal", "axial", "sagittal"):
        copies.references(requested(shards, plane=plane))
    hashed = shards.manifest.content_hash
    assert set(copies.sizes()) == {f"{hashed}/axial", f"{hashed}/sagittal"}


def test_a_further_run_of_a_copy_is_added_and_a_lost_copy_is_read_again(shards: ShardSet) -> None:
    copies = CopyHolder(10**9)
    few = copies.references(requested(shards, run_indices=(0, 1)))
    more = copies.references(requested(shards, run_indices=(0, 1, 2)))
    again = copies.references(requested(shards, run_indices=(0, 1, 2), was_lost=True))
    assert not isinstance(few, NoRoom)
    assert not isinstance(more, NoRoom)
    assert not isinstance(again, NoRoom)
    assert few[0] == more[0] != again[0]
    assert np.array_equal(ray.get(more[2]), ray.get(again[2]))


def test_volumes_larger_than_the_store_are_refused_with_both_sizes(shards: ShardSet) -> None:
    refused = CopyHolder(2**20).references(requested(shards, num_bytes=3 * 2**20))
    assert isinstance(refused, NoRoom)
    assert "take 3 MiB and copies may take 1 MiB" in refused.reason


def test_a_set_that_was_made_anew_is_not_taken_for_the_old_one(shards: ShardSet) -> None:
    with pytest.raises(ShardError, match="other volumes than a moment ago"):
        CopyHolder(10**9).references(requested(shards, content_hash="another"))


def test_a_set_that_is_gone_is_told_as_what_it_is(
    shards: ShardSet, copies: NodeCopies, tmp_path: Path
) -> None:
    lost = ShardSet.open(shutil.copytree(shards.path, tmp_path / shards.path.name))
    streamed = streamed_of(lost)
    shutil.rmtree(lost.path)
    with pytest.raises(ShardError, match="no finished shard set"):
        copies.share(streamed, lost, "sagittal")


@pytest.mark.parametrize("mode", ["device", "node", "stream"])
def test_a_trial_on_shards_has_the_same_numbers_in_every_mode(shards: ShardSet, mode: str) -> None:
    target = read_target(config_of().target)
    results = []
    for asked in ("auto", mode):
        config = config_of(training__feeding=asked, training__stream_gib=1e-4)
        fed = open_sequences(shards, target, config)
        assert asked == "auto" or fed.choice.mode == mode
        results.append(list(fit_trial(fed.data, draw_trial_folds(fed.data, config), config)))
    assert results[0] == results[1]


def test_neighbours_share_and_a_store_too_small_is_said(
    shards: ShardSet, copies: NodeCopies
) -> None:
    config = config_of()
    target = read_target(config.target)
    fed = open_sequences(shards, target, config, copies=copies)
    assert fed.choice.mode == "node"
    room = measure_room(ray_device(), has_neighbours=True)
    assert room.store_bytes is not None
    too_large = choose_feeding("auto", room.store_bytes + 1, room)
    assert too_large.mode != "node"
    assert "of this node's object store" in too_large.note
    with pytest.raises(ConfigError, match=r"training\.feeding is node, but the volumes take"):
        choose_feeding("node", room.store_bytes + 1, room)


def ray_device() -> Any:
    import torch

    return torch.device("cpu")
