"""Arithmetic of weak scaling, and of how many GPUs one driver can keep busy. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DriverCost", "Moment", "efficiency", "gpus_at_limit", "round_s", "share_of_core"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a trial began and ended, in seconds, and the process that it ran in."""

    slot: int
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverCost:
    """Seconds of the driver for a trial, without its reports, and for each of its reports."""

    trial_s: float
    report_s: float

    def of_trial(self, num_reports: int) -> float:
        """Return the seconds of a trial that reports so often."""
        return self.trial_s + num_reports * self.report_s


def efficiency(one_node_s: float, several_nodes_s: float) -> float:
    """Return T(1) / T(n) at as many trials a node; 1 where more nodes cost no time."""
    return one_node_s / several_nodes_s


def round_s(moments: Sequence[Moment]) -> float:
    """Return the median seconds from the end of a trial to that of the next in its process.

    The first trial of a process is left out, and so is the start of the process.
    """
    ends: dict[int, list[float]] = {}
    for moment in sorted(moments, key=lambda moment: moment.end):
        ends.setdefault(moment.slot, []).append(moment.end)
    gaps = [b - a for of in ends.values() for a, b in itertools.pairwise(of)]
    return statistics.median(gaps)


def share_of_core(num_gpus: int, *, trial_s: float, driver_s: float) -> float:
    """Return which part of one core the driver takes, at one trial of ``trial_s`` on each GPU."""
    return num_gpus / trial_s * driver_s


def gpus_at_limit(*, trial_s: float, driver_s: float) -> float:
    """Return the GPUs at which the driver takes one whole core."""
    return trial_s / driver_s
