"""Tasks whose workers die: tried again, at last alone, then given up, while all others go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from spectrum.config.frozen import FrozenConfig
from spectrum.data.attempts import noted, num_deaths
from spectrum.data.fan_out import MAX_DEATHS, fan_out
from spectrum.errors import ShardError
from tests.unit.data.dying_tasks import attempts, die_among_others

in_ray = pytest.mark.ray


class Job(FrozenConfig):
    """A job with a name alone."""

    name: str


def jobs(number: int) -> list[Job]:
    return [Job(name=f"job{index}") for index in range(number)]


@in_ray
def test_a_job_that_ends_its_workers_is_given_up_and_the_others_are_done(
    tmp_path: Path, ray_session: None
) -> None:
    killers = tuple(job.model_dump_json() for job in jobs(8)[1::4])
    marks = tmp_path / "marks"
    marks.mkdir()
    task = partial(die_among_others, folder=marks, killers=killers)
    found = dict(fan_out(task, jobs(8), notes=tmp_path / "notes", cpus_per_task=1.0))
    assert found.keys() == set(range(8))
    for index, job in enumerate(jobs(8)):
        name = job.model_dump_json()
        assert found[index] == (None if name in killers else f"{name} is done")
        assert attempts(marks)[name] == (MAX_DEATHS if name in killers else 1)
    last = [path.read_text() for path in marks.glob(f"*-{MAX_DEATHS}.beside")]
    assert last == ["1", "1"]


def node_of(job: str) -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


@in_ray
@pytest.mark.parametrize("cpus", [0.0, 1.0, 999.0])
def test_jobs_that_stay_are_done_on_the_node_of_who_asks_and_ask_for_no_more_than_it_has(
    tmp_path: Path, ray_session: None, cpus: float
) -> None:
    notes = tmp_path / "notes"
    found = dict(fan_out(node_of, jobs(3), notes=notes, cpus_per_task=cpus, stays=True))
    assert found == dict.fromkeys(range(3), node_of(""))


def fail(job: str) -> str:
    raise KeyError(job)


@in_ray
def test_an_error_of_a_task_ends_everything_at_once(tmp_path: Path, ray_session: None) -> None:
    with pytest.raises(ShardError, match=r"A worker failed.*KeyError"):
        list(fan_out(fail, jobs(2), notes=tmp_path / "notes", cpus_per_task=1.0))


def test_without_jobs_nothing_is_asked_of_ray(tmp_path: Path) -> None:
    assert list(fan_out(fail, [], notes=tmp_path / "notes", cpus_per_task=1.0)) == []
    assert not list(tmp_path.iterdir())


def test_an_attempt_that_ends_is_no_death_whatever_its_end(tmp_path: Path) -> None:
    with noted(tmp_path, "1"):
        assert (num_deaths(tmp_path, "1"), num_deaths(tmp_path, "11")) == (1, 0)
    with pytest.raises(KeyError), noted(tmp_path, "1"):
        raise KeyError
    assert num_deaths(tmp_path, "1") == 0
