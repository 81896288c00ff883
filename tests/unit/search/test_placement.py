"""Where trials go: how many at a time, what each asks for, what is refused at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.errors import SearchError
from spectrum.search.placement import Node, bundles_of, place_trials, worker_counts
from spectrum.search.space import space_from_mapping


@pytest.mark.parametrize(
    ("nodes", "workers", "asked", "expected"),
    [
        ([Node(16, 2)], [1], None, (2, 1.0)),
        ([Node(16, 2)], [1], 0.25, (8, 0.25)),
        ([Node(3)], [1], None, (3, 0.0)),
        ([Node(5, 9)], [1], 0, (5, 0)),
        ([Node(16), Node(4, 8)], [1], None, (4, 1.0)),
        ([Node(5)], [2], None, (2, 0.0)),
        ([Node(5)], [1, 2], None, (5, 0.0)),
        ([Node(16, 4)], [2], 0.25, (2, 0.25)),
        ([Node(1), Node(1)], [2], None, (1, 0.0)),
    ],
)
def test_trials_at_a_time_follow_from_the_scarce_resource(
    nodes: list[Node], workers: list[int], asked: float | None, expected: tuple[int, float]
) -> None:
    placement = place_trials(nodes, workers, asked)
    assert (placement.num_concurrent, placement.gpus_per_worker) == expected


@pytest.mark.parametrize(
    ("nodes", "workers", "asked", "message"),
    [
        ([Node(4)], [1], 1.0, r"1 CPU and 1 GPUs; the cluster has 4 CPUs and 0 GPUs.*lower study"),
        ([Node(0)], [1], None, r"1 CPU and 0 GPUs; the cluster has 0 CPUs.*Start or join a Ray"),
        ([Node(3)], [1, 4], None, r"4 workers, each with a CPU; .*room for 3.*lower training\.wo"),
        ([Node(8, 1)], [2], None, r"2 workers, each with 1 GPUs and a CPU on one machine"),
        ([Node(8), Node(1, 2)], [2], None, "room for 1"),
    ],
)
def test_what_can_never_be_placed_is_refused(
    nodes: list[Node], workers: list[int], asked: float | None, message: str
) -> None:
    with pytest.raises(SearchError, match=message):
        place_trials(nodes, workers, asked)


@given(
    cpus=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    gpus=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    workers=st.sets(st.integers(1, 5), min_size=1),
    share=st.sampled_from([None, 0.0, 0.25, 0.5, 1.0]),
)
def test_as_many_trials_of_the_fewest_workers_fit_as_are_said_to_run_at_a_time(
    cpus: list[int], gpus: list[int], workers: set[int], share: float | None
) -> None:
    nodes = [Node(c, g) for c, g in zip(cpus, gpus, strict=False)]
    try:
        placement = place_trials(nodes, workers, share)
    except SearchError:
        return
    assert placement.num_concurrent >= 1
    for count in workers:
        asked = {"CPU": 0.0, "GPU": 0.0}
        for bundle in bundles_of(count, placement.gpus_per_worker):
            asked = {name: asked[name] + bundle.get(name, 0.0) for name in asked}
        # Each kind of trial fits at least once.
        assert asked["CPU"] <= sum(node.cpus for node in nodes)
        assert asked["GPU"] <= sum(node.gpus for node in nodes)


def test_the_process_that_leads_several_workers_asks_for_nothing() -> None:
    leader, *others = bundles_of(3, 0.0)
    assert leader == {}
    assert others == [{"CPU": 1.0, "GPU": 0.0}] * 3


def test_all_numbers_of_workers_that_a_space_can_reach_are_known() -> None:
    base = {"training": {"workers": 3}}
    assert worker_counts(space_from_mapping({"name": "s", "base": base})) == (3,)
    parameters = {"training.workers": {"choice": [1, 3]}, "model.depth": {"int": [1, 3]}}
    space = space_from_mapping({"name": "s", "base": base, "parameters": parameters})
    space.check()
    assert worker_counts(space) == (1, 3)
