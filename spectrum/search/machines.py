"""Machines that are yet to come: a trial's place is asked for, so that an autoscaler brings it.

An autoscaler sees what is asked for and not placed, and ends machines that idle. What is asked for
here, and by Tune's waiting trials, is forgotten with the process that asked:
``ray.autoscaler.sdk.request_resources`` would outlive a search that is killed, and its machines
would be paid for. Not here: what a trial asks for (``placement``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

from spectrum.errors import SearchError
from spectrum.search.placement import Node, bundles_of, nodes_of_cluster, place_trials
from spectrum.search.settings import StudySettings

__all__ = ["await_first_place"]

logger = logging.getLogger("spectrum.search")

FIRST_PLACE_S: Final = 900.0
"""Seconds that machines have to come. Clouds take minutes, an image of gigabytes some more."""

LOOK_S: Final = 1
"""Seconds between two looks; signals are taken between them."""

UNKNOWN_SHARE: Final = (
    "For machines that are yet to come, study.gpus_per_worker must say what a trial asks for: 0 "
    "for CPUs alone, 1 or a part of it for GPUs."
)


def await_first_place(
    workers: Iterable[int],
    gpus_per_worker: float | Literal["auto"] | None,
    settings: StudySettings,
    *,
    nodes: Callable[[], tuple[Node, ...]] = nodes_of_cluster,
    wait_s: float = FIRST_PLACE_S,
) -> None:
    """Wait until the cluster has room for the largest trial, where it may yet get machines.

    Parameters
    ----------
    workers : values of ``training.workers`` that trials may have
    gpus_per_worker : in numbers where nothing is there yet, as it says what to ask for
    settings : without ``concurrent_trials`` nothing is waited for
    nodes : returns the living machines
    wait_s : at most

    Raises
    ------
    SearchError
        Where no machine came, or what to ask for is not known.
    """
    counts = tuple(workers)
    if settings.concurrent_trials is None:
        return
    try:
        place_trials(nodes(), counts, gpus_per_worker)
    except SearchError as err:
        if gpus_per_worker is None or gpus_per_worker == "auto":
            raise SearchError(f"{err} {UNKNOWN_SHARE}") from err
        logger.warning("%s It may get machines: waiting, at most %.0f s.", err, wait_s)
        _ask_once(max(counts), gpus_per_worker, settings, wait_s)
        try:
            place_trials(nodes(), counts, gpus_per_worker)
        except SearchError as still:
            raise SearchError(f"No machine came for a trial in {wait_s:.0f} s. {still}") from err


def _ask_once(workers: int, share: float, settings: StudySettings, wait_s: float) -> None:
    """Have the resources of one trial reserved, and given back once they are."""
    from ray.util.placement_group import placement_group, remove_placement_group

    bundles = [
        {name: amount for name, amount in bundle.items() if amount}
        for bundle in bundles_of(workers, share, leaders=settings.leaders)
    ]
    group = placement_group([b for b in bundles if b], strategy=settings.placement.upper())
    try:
        until = time.monotonic() + wait_s
        while not group.wait(LOOK_S) and time.monotonic() < until:
            pass
    finally:
        remove_placement_group(group)
