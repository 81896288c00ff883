"""Batches gathered from volumes that lie run by run: in shared memory, or on disk.

Runs on disk are kept within a budget. As the order of all batches is known before the first, the
run that is needed again last makes room (Belady 1966, "A study of replacement algorithms"): no
rule reads less. Ray Data is not used for this: ``streaming_split(equal=True)`` drops rows, and
without it workers disagree about the number of steps; here order and steps come from our own index
of sequences, the same in every mode, and a worker reads what its part of a batch needs.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectrum.data.read_ahead import iter_ahead
from spectrum.data.units import SequenceRuns
from spectrum.training.factors import RecipeUnit
from spectrum.training.levels import VolumeSum, places_looked_at, root_mean_square, sum_of_volume

__all__ = ["RunCache", "RunFeed"]

BATCHES_AHEAD = 2
"""Batches that are ready or in work while one is computed with."""

READERS = 2
"""Threads that read runs; each may hold one run beyond the budget."""

Slices = NDArray[np.float16]


class RunFeed:
    """Sequences gathered on the CPU and copied to a device; shared by all folds of a trial.

    Parameters
    ----------
    source : sequences and the runs that they lie in
    device : where batches arrive
    capacity_bytes : bytes of runs that are kept where reading them costs something
        Beside them are two runs in the making and three batches, whatever the number of runs.
    """

    def __init__(self, source: SequenceRuns, device: torch.device, *, capacity_bytes: int) -> None:
        self.source = source
        self.device = device
        self.class_index = torch.from_numpy(source.table.class_of_sequence).to(device)
        self._cache = RunCache(source.read_run, capacity_bytes=capacity_bytes)
        self._sums_of_run: dict[int, list[VolumeSum]] = {}
        self._unit = RecipeUnit(source.table, device)

    def level(self, sequences: Tensor) -> float:
        """Return the root mean square of the voxels that are not zero, 1.0 where all are.

        Volumes of ``sequences`` are looked at, ``levels.VOLUMES_LOOKED_AT`` of them at most.
        """
        return root_mean_square(self._iter_sums(sequences))

    def iter_read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the float32 slices (B, T, S, H, W) of each part (B,) of sequences, in order."""
        indices = [part.cpu().numpy() for part in parts]
        for part, stored_BTSHW in zip(parts, self._iter_gathered(indices), strict=True):
            slices_BTSHW = (
                torch.from_numpy(stored_BTSHW).to(self.device, non_blocking=True).float()
            )
            yield self._unit.of_slices(slices_BTSHW, part)

    def _iter_gathered(self, parts: Sequence[NDArray[np.int64]]) -> Iterator[Slices]:
        if self.source.is_in_memory:
            return (self._gather(part, self._iter_in_memory) for part in parts)
        return self._iter_ahead(parts)

    def _iter_ahead(self, parts: Sequence[NDArray[np.int64]]) -> Iterator[Slices]:
        runs = self.source.table.run_of_sequence
        self._cache.plan([np.unique(runs[part]).tolist() for part in parts])
        work = enumerate(parts)
        return iter_ahead(
            lambda step: self._gather(step[1], partial(self._cache.iter_runs, step[0])),
            work,
            depth=BATCHES_AHEAD,
        )

    def _iter_in_memory(self, runs: Sequence[int]) -> Iterator[tuple[int, Slices]]:
        return ((run, self.source.read_run(run)) for run in runs)

    def _gather(
        self,
        sequences: NDArray[np.int64],
        iter_runs: Callable[[Sequence[int]], Iterator[tuple[int, Slices]]],
    ) -> Slices:
        """Copy the volumes of some sequences, (B, T, S, H, W), run by run."""
        table = self.source.table
        shape = (len(sequences), table.num_volumes, *self.source.volume_shape)
        slices_BTSHW = np.empty(shape, dtype=np.float16)
        runs = table.run_of_sequence[sequences]
        span = table.offsets[-1] + 1
        for run, slices_VSHW in iter_runs(np.unique(runs).tolist()):
            for place in np.flatnonzero(runs == run):
                start = table.start_of_sequence[sequences[place]]
                slices_BTSHW[place] = slices_VSHW[start : start + span : table.decimation]
        return slices_BTSHW

    def _iter_sums(self, sequences: Tensor) -> Iterator[VolumeSum]:
        for run, volumes in places_looked_at(self.source.table, sequences.cpu().numpy()):
            for told in self._iter_stored_sums(run, volumes):
                yield self._unit.of_sum(told, run)

    def _iter_stored_sums(self, run: int, volumes: NDArray[np.int64]) -> Iterator[VolumeSum]:
        if self.source.is_in_memory:
            return map(sum_of_volume, self.source.read_run(run)[volumes])
        if run not in self._sums_of_run:
            slices_VSHW = np.ascontiguousarray(self.source.read_run(run))
            self._sums_of_run[run] = [sum_of_volume(volume) for volume in slices_VSHW]
        return (self._sums_of_run[run][volume] for volume in volumes)


class RunCache:
    """Runs read before they are needed and kept while there is room, for steps known beforehand.

    Parameters
    ----------
    read_run : returns the volumes of a run; called from threads
    capacity_bytes : of the runs that are kept
    """

    def __init__(self, read_run: Callable[[int], Slices], *, capacity_bytes: int) -> None:
        self._read_run = read_run
        self._capacity_bytes = capacity_bytes
        self._kept: dict[int, Slices] = {}
        self._steps_of_run: dict[int, deque[int]] = {}

    def plan(self, runs_of_step: Sequence[Sequence[int]]) -> None:
        """Announce which runs each step will need; what is kept from before stays."""
        steps_of_run: defaultdict[int, deque[int]] = defaultdict(deque)
        for step, runs in enumerate(runs_of_step):
            for run in runs:
                steps_of_run[run].append(step)
        self._steps_of_run = dict(steps_of_run)

    def iter_runs(self, step: int, runs: Sequence[int]) -> Iterator[tuple[int, Slices]]:
        """Yield the runs of a step: those that are kept first, then others as they are read."""
        for run in runs:
            self._forget_steps(run, step)
        missing = [run for run in runs if run not in self._kept]
        yield from [(run, self._kept[run]) for run in runs if run in self._kept]
        read = iter_ahead(self._read, missing, depth=READERS, num_threads=READERS)
        for run, slices_VSHW in zip(missing, read, strict=True):
            self._keep(run, slices_VSHW)
            yield run, slices_VSHW

    def _read(self, run: int) -> Slices:
        return np.ascontiguousarray(self._read_run(run))

    def _forget_steps(self, run: int, step: int) -> None:
        steps = self._steps_of_run.get(run, deque())
        while steps and steps[0] <= step:
            steps.popleft()

    def _next_step(self, run: int) -> float:
        steps = self._steps_of_run.get(run)
        return steps[0] if steps else math.inf

    def _keep(self, run: int, slices_VSHW: Slices) -> None:
        """Keep a run where it fits, or where others that are needed later can make room."""
        room = self._capacity_bytes - sum(kept.nbytes for kept in self._kept.values())
        leaving: list[int] = []
        for other in sorted(self._kept, key=self._next_step, reverse=True):
            if room >= slices_VSHW.nbytes or self._next_step(other) <= self._next_step(run):
                break
            leaving.append(other)
            room += self._kept[other].nbytes
        if room >= slices_VSHW.nbytes:
            for other in leaving:
                del self._kept[other]
            self._kept[run] = slices_VSHW
