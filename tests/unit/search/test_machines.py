"""Waiting for a first place: only where more machines may come, and never without an end."""

from __future__ import annotations

import pytest

from spectrum.errors import SearchError
from spectrum.search.machines import await_first_place
from spectrum.search.placement import Node
from spectrum.search.settings import StudySettings

WANTED = StudySettings(concurrent_trials=3)


class Cluster:
    """Has the machines of each asking in turn."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = list(nodes)
        self.num_asked = 0

    def __call__(self) -> tuple[Node, ...]:
        self.num_asked += 1
        return (self.nodes.pop(0) if len(self.nodes) > 1 else self.nodes[0],)


def test_a_study_that_wants_no_number_of_trials_waits_for_nothing() -> None:
    empty = Cluster(Node(0))
    await_first_place([1], None, StudySettings(), nodes=empty)
    assert empty.num_asked == 0


def test_where_the_largest_trial_has_room_nothing_is_asked_of_ray() -> None:
    await_first_place([1, 4], 0.0, WANTED, nodes=Cluster(Node(4)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_machine_that_comes_ends_the_waiting() -> None:
    coming = Cluster(Node(0), Node(2))
    await_first_place([1, 2], 0.0, WANTED, nodes=coming, wait_s=30.0)
    assert coming.num_asked == 2


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_where_none_comes_the_search_ends_with_what_it_lacks_and_asks_no_more() -> None:
    from ray.util import placement_group_table

    before = set(placement_group_table())
    with pytest.raises(SearchError, match=r"No machine came for a trial in 1 s\. A trial needs"):
        await_first_place([1], 0.5, WANTED, nodes=Cluster(Node(2)), wait_s=1.0)
    own = {name: told for name, told in placement_group_table().items() if name not in before}
    assert [told["state"] for told in own.values()] == ["REMOVED"]
