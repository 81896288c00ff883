"""Which share of a GPU a trial gets where a study says ``gpus_per_worker: auto``.

The default configuration trains one epoch alone on a GPU, and its peak of memory says how many of
its kind fit on one, with head-room, as other configurations may be larger. Not here: how trials
are placed by their share (``placement``).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import ray

from spectrum.config import TrialConfig, pin_weights, set_paths
from spectrum.data.describing import size_text
from spectrum.search.objective import SharedInputs, StudyObjective
from spectrum.search.placement import Node
from spectrum.search.settings import StudySettings

__all__ = [
    "GpuMemory",
    "choose_share",
    "idle_limit",
    "machines_note",
    "probe_memory",
    "share_of_gpu",
]

MAX_TRIALS_ON_GPU: Final = 8
"""Trials that share one GPU, at most: beyond, they wait for each other's kernels."""

HEADROOM: Final = 1.5
"""Memory of a trial over that of the default configuration."""

CONTEXT_BYTES: Final = 600 * 2**20
"""What CUDA and its libraries take in each process beside what torch allocates; about half a GiB
with torch's own kernels."""

SHARE_STEPS: Final = 10_000
"""Ray counts GPUs in so many parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Bytes that a trial took at its peak, and bytes of the whole GPU."""

    peak_bytes: int
    total_bytes: int


def share_of_gpu(memory: GpuMemory) -> float:
    """Return the share of a GPU for a trial, so that as many as fit run on one.

    Examples
    --------
    >>> share_of_gpu(GpuMemory(peak_bytes=6 * 2**30, total_bytes=80 * 2**30))
    0.125
    >>> share_of_gpu(GpuMemory(peak_bytes=15 * 2**30, total_bytes=80 * 2**30))
    0.3333
    """
    each = HEADROOM * memory.peak_bytes + CONTEXT_BYTES
    num_trials = max(1, min(MAX_TRIALS_ON_GPU, int(memory.total_bytes / each)))
    return math.floor(SHARE_STEPS / num_trials) / SHARE_STEPS


def choose_share(
    asked: float | Literal["auto"] | None,
    nodes: Sequence[Node],
    probe: Callable[[], GpuMemory],
) -> tuple[float | None, str]:
    """Return the GPUs of a worker, and a sentence for the user where they were chosen.

    Parameters
    ----------
    asked : ``study.gpus_per_worker``
    probe : measures the default configuration; asked only for ``auto`` with a GPU
    """
    if asked != "auto":
        return asked, ""
    if not any(node.gpus for node in nodes):
        return None, "study.gpus_per_worker is auto, which has no effect: the cluster has no GPU."
    try:
        memory = probe()
    except Exception as err:
        return None, (
            "study.gpus_per_worker is auto, but the memory of the default configuration could not "
            f"be measured ({type(err).__name__}: {str(err)[:200]}). Each trial has a whole GPU."
        )
    share = share_of_gpu(memory)
    return share, (
        f"The default configuration took {size_text(memory.peak_bytes)} of a GPU of "
        f"{size_text(memory.total_bytes)} in an epoch: {int(1 / share)} trials share one "
        "(study.gpus_per_worker: auto)."
    )


def idle_limit(max_gpu_hours: float | None, nodes: Sequence[Node]) -> str:
    """Return a sentence where GPU hours limit a study that can take none, else ""."""
    if max_gpu_hours is None or any(node.gpus for node in nodes):
        return ""
    return (
        f"study.max_gpu_hours, {max_gpu_hours:g}, ends nothing: the cluster has no GPU. "
        "study.max_hours limits a session."
    )


def machines_note(settings: StudySettings, nodes: Sequence[Node]) -> str:
    """Return a sentence where trials run on CPUs while machines may be yet to come, else ""."""
    has_gpu = any(node.gpus for node in nodes)
    if settings.concurrent_trials is None or settings.gpus_per_worker is not None or has_gpu:
        return ""
    return (
        "The cluster has no GPU, so trials run on CPUs, also on machines that are yet to come: "
        "study.gpus_per_worker: 1, or a part of it, asks for GPUs."
    )


def probe_memory(shared: SharedInputs, config: TrialConfig) -> GpuMemory:
    """Train an epoch of a configuration on a GPU of the cluster, alone, and tell its memory."""
    one = set_paths(pin_weights(config).model_dump(mode="json"), {"training.workers": 1})
    task = ray.remote(num_cpus=1, num_gpus=1, max_retries=0)(_memory_of_epoch)
    memory: GpuMemory = ray.get(task.remote(shared, TrialConfig.model_validate(one)))
    return memory


def _memory_of_epoch(shared: SharedInputs, config: TrialConfig) -> GpuMemory:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        epochs = StudyObjective(shared.apart(Path(folder)))(0, config)
        next(epochs)
        epochs.close()
    return GpuMemory(
        peak_bytes=torch.cuda.max_memory_reserved(),
        total_bytes=torch.cuda.get_device_properties(0).total_memory,
    )
