"""A cluster whose CPUs another job holds: shards and trials wait for them, and say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from spectrum.data.fan_out import fan_out
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.tune_adapters import run_trials
from tests.unit.data.test_fan_out import jobs, node_of
from tests.unit.search.fakes import ListTracker, PlantedObjective, small_space
from tests.unit.search.test_driver import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

TOLD = "it needs 1 CPUs, and of the cluster's 2 CPUs 0 are free"
TO_TELL_S = 60.0


@contextmanager
def held_until(is_told: Callable[[], bool]) -> Iterator[None]:
    """Hold both CPUs until something was told."""
    import ray

    holder = ray.remote(num_cpus=2)(threading.Event).remote()
    ray.get(holder.is_set.remote())

    def free() -> None:
        end = time.monotonic() + TO_TELL_S
        while not is_told() and time.monotonic() < end:
            time.sleep(0.1)
        ray.kill(holder)

    freeing = threading.Thread(target=free)
    freeing.start()
    try:
        yield
    finally:
        freeing.join()


def test_a_search_says_what_its_first_trial_waits_for_and_then_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = StudyFolder(tmp_path / "s")
    with held_until(lambda: TOLD in caplog.text), folder.locked():
        driver = StudyDriver(folder, small_space(), ListTracker(), num_trials=2)
        run_trials(driver, partial(PlantedObjective), folder=folder)
    assert caplog.text.count(TOLD) == 1
    assert [line["state"] for line in lines_of(folder.path)] == ["complete"] * 2


def test_shards_say_what_their_first_run_waits_for_and_are_then_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with held_until(lambda: TOLD in caplog.text):
        found = dict(fan_out(node_of, jobs(2), notes=tmp_path / "notes", cpus_per_task=1.0))
    assert caplog.text.count(TOLD) == 1
    assert found.keys() == {0, 1}
