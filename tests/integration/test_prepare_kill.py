"""A set whose makers are killed at any moment is whole in the end, and never half visible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.integration.prepare_process import (
    Undisturbed,
    Watcher,
    kill_a_driver,
    kill_workers,
    make_undisturbed,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def address(ray_session: None) -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Undisturbed:
    return make_undisturbed(tmp_path_factory.mktemp("undisturbed"))


def _check_sight(watcher: Watcher, undisturbed: Undisturbed) -> None:
    assert watcher.half_visible == []
    assert watcher.contents <= {undisturbed.content}
    assert watcher.num_looks > 10


@pytest.mark.parametrize("seed", range(2))
def test_a_set_whose_driver_was_killed_is_made_by_the_next(
    undisturbed: Undisturbed, tmp_path: Path, address: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    _, watcher = kill_a_driver(undisturbed, tmp_path / "shards", address, rng)
    _check_sight(watcher, undisturbed)


@pytest.mark.parametrize("seed", range(2))
def test_a_set_whose_workers_were_killed_is_whole(
    undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    num_killed, watcher = kill_workers(undisturbed, tmp_path / "shards", rng)
    assert num_killed > 0
    _check_sight(watcher, undisturbed)


@pytest.mark.slow
def test_twenty_kills_of_each_lose_nothing(
    undisturbed: Undisturbed, tmp_path: Path, address: str
) -> None:
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        num_drivers, watcher = kill_a_driver(undisturbed, tmp_path / f"d{seed}", address, rng)
        _check_sight(watcher, undisturbed)
        num_workers, watcher = kill_workers(undisturbed, tmp_path / f"w{seed}", rng)
        _check_sight(watcher, undisturbed)
        print(f"killed in the midst: {num_drivers} drivers, {num_workers} workers")
