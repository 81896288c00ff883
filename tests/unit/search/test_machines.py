"""Waiting for a first place: only where more machines may come, and never without an end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from spectrum.errors import SearchError
from spectrum.search.gpu_share import machines_note
from spectrum.search.machines import await_first_place
from spectrum.search.placement import Node
from spectrum.search.settings import StudySettings

WANTED = StudySettings(concurrent_trials=3)

WAITS = """
import ray
from spectrum.search.machines import await_first_place
from spectrum.search.placement import Node
from spectrum.search.settings import StudySettings
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
print("ready", flush=True)
await_first_place([4], 0.0, StudySettings(concurrent_trials=1), nodes=lambda: (Node(1),))
"""


class Cluster:
    """Has the machines of each asking in turn."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = list(nodes)
        self.num_asked = 0

    def __call__(self) -> tuple[Node, ...]:
        self.num_asked += 1
        return (self.nodes.pop(0) if len(self.nodes) > 1 else self.nodes[0],)


def states_of_groups() -> dict[str, str]:
    from ray.util import placement_group_table

    return {name: told["state"] for name, told in placement_group_table().items()}


def test_a_study_that_wants_no_number_of_trials_waits_for_nothing() -> None:
    empty = Cluster(Node(0))
    await_first_place([1], None, StudySettings(), nodes=empty)
    assert empty.num_asked == 0


def test_where_the_largest_trial_has_room_nothing_is_asked_of_ray() -> None:
    large = Cluster(Node(4))
    await_first_place([1, 4], 0.0, WANTED, nodes=large)
    assert large.num_asked == 1


@pytest.mark.parametrize("share", [None, "auto"])
def test_what_is_not_said_is_not_waited_for(share: None) -> None:
    with pytest.raises(SearchError, match=r"study\.gpus_per_worker must say what a trial asks"):
        await_first_place([1], share, WANTED, nodes=Cluster(Node(0)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_machine_that_comes_ends_the_waiting_and_what_was_asked_for_is_given_back() -> None:
    before = states_of_groups().keys()
    await_first_place([1, 2], 0.0, WANTED, nodes=Cluster(Node(0), Node(2)), wait_s=30.0)
    own = {name: state for name, state in states_of_groups().items() if name not in before}
    assert list(own.values()) == ["REMOVED"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_where_none_comes_the_search_ends_with_what_it_lacks_and_asks_no_more() -> None:
    before = states_of_groups().keys()
    with pytest.raises(SearchError, match=r"No machine came for a trial in 1 s\. A trial needs"):
        await_first_place([1], 0.5, WANTED, nodes=Cluster(Node(2)), wait_s=1.0)
    own = {name: state for name, state in states_of_groups().items() if name not in before}
    assert list(own.values()) == ["REMOVED"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_signal_ends_the_waiting() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "ready\n"
        time.sleep(3.0)
        waiting.send_signal(signal.SIGINT)
        try:
            _, errors = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
    assert "It may get machines: waiting" in errors
    assert "KeyboardInterrupt" in errors


def test_trials_on_cpus_where_machines_may_come_are_told_of() -> None:
    assert "study.gpus_per_worker: 1" in machines_note(WANTED, [Node(4)])
    said = StudySettings(concurrent_trials=3, gpus_per_worker=0)
    for settings, nodes in (
        (said, [Node(4)]),
        (WANTED, [Node(4, 1)]),
        (StudySettings(), [Node(4)]),
    ):
        assert machines_note(settings, nodes) == ""
