"""What one accelerator does: slices a second, share of its arithmetic, and how long it waits.

    python -m tests.benchmarks.gpu --json

Without an accelerator it prints one object with ``skipped: true`` and ends. Models are timm's
tiny, small and base, bfloat16, at 64x64 with patches of 8 and at 224x224 with patches of 16:
forward, backward and optimiser with our step (``Stepper``), eager and compiled, beside timm's own
model in a bare eager loop with as many slices. ``loader``: slices a second that a feed hands
out, with nothing computed from them. FLOPs are counted by torch on one forward pass, three
times that for a training step; ``mfu`` is over the dense bfloat16 peak, ``--peak-tflops``.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2]))

from spectrum.config import TrialConfig, config_from_mapping
from spectrum.data.units import Fold, SequenceData, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.model.slice_vit import build_model
from spectrum.training.augmentation import Augmentation
from spectrum.training.feeds import Feed
from spectrum.training.place import Parallel, Place
from spectrum.training.resident import ResidentData
from spectrum.training.run_feed import RunFeed
from spectrum.training.step import Stepper
from tests.unit.training.planted import by_run

NUM_ROUNDS = 5
ROUND_S = 0.5
"""Seconds of steps in one round, at least; a round has three steps or more."""
MIN_STEPS = 3
NUM_PROFILED = 10
VOLUMES_PER_SEQUENCE = 4
SLICES_PER_VOLUME = 8
SLICES_PER_SEQUENCE = VOLUMES_PER_SEQUENCE * SLICES_PER_VOLUME

H100_TFLOPS = 989.0
"""Dense bfloat16 peak of an H100 or H200 SXM (NVIDIA H100 data sheet, without sparsity)."""

MODELS = ("small", "tiny", "base")
SIZES = {64: 8, 224: 16}
BATCHES = {("tiny", 64): 64, ("small", 64): 64, ("base", 64): 32}
BATCHES |= {("tiny", 224): 16, ("small", 224): 16, ("base", 224): 8}
"""Sequences of 32 slices in a batch."""

GOALS = {("small", 224): 8000.0, ("base", 224): 2200.0}
"""Slices a second on one H100 or H200, the best of eager and compiled."""


def config_of(name: str, patch: int, batch: int, *, is_compiled: bool) -> TrialConfig:
    return config_from_mapping(
        TrialConfig,
        {
            "sequences": {"num_volumes": VOLUMES_PER_SEQUENCE, "stride": VOLUMES_PER_SEQUENCE},
            "model": {
                "backbone": f"vit_{name}_patch16_224",
                "patch_size": patch,
                "patch_pooling": "cls",
                "amplitude_fraction": 0.0,
                "attention_heads": 3,
            },
            "training": {
                "batch_size": batch,
                "precision": "bfloat16",
                "compile": is_compiled,
                "noise_std": 0.0,
            },
        },
    )


def data_of(size: int, num_sequences: int) -> SequenceData:
    """Two runs of noise, one a class."""
    rng = np.random.default_rng(0)
    num_volumes = num_sequences // 2 * VOLUMES_PER_SEQUENCE
    keys = [RunKey(dataset="ds000002", subject="01", task="det", run=str(i + 1)) for i in (0, 1)]
    units = tuple(
        Unit(key=key, name=str(key), pair="", class_index=i, run_index=i)
        for i, key in enumerate(keys)
    )
    starts = np.arange(0, num_volumes, VOLUMES_PER_SEQUENCE)
    of_run = np.repeat(np.arange(2), len(starts))
    volume = rng.standard_normal((8, SLICES_PER_VOLUME, size, size)).astype(np.float16)
    return SequenceData(
        slices_VSHW=np.resize(volume, (2 * num_volumes, SLICES_PER_VOLUME, size, size)),
        first_volume_of_run=np.array([0, num_volumes]),
        table=SequenceTable(
            units=units,
            classes=("early", "late"),
            num_volumes=VOLUMES_PER_SEQUENCE,
            run_of_sequence=of_run,
            start_of_sequence=np.tile(starts, 2),
            unit_of_sequence=of_run,
        ),
        paired=False,
        content_hash="benchmark",
    )


def stepper_of(data: SequenceData, config: TrialConfig) -> Stepper:
    place = Place.choose(config.training, Parallel())
    num_slices, height, width = data.volume_shape
    model = build_model(
        config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=VOLUMES_PER_SEQUENCE,
        num_classes=2,
    ).to(place.device)
    sequences = torch.arange(len(data.table.class_of_sequence), device=place.device)
    fold = Fold(name="all", held_out="none", training=(0, 1), validation=(), classes=(0, 1))
    feed = ResidentData.place(data, place.device)
    return Stepper(model, feed, fold, training=sequences, config=config, place=place)


def our_step(stepper: Stepper, batch_size: int) -> Callable[[], None]:
    feed, config = stepper.feed, stepper.config
    augmentation = Augmentation(config.training, level=1.0, seed=0, device=feed.device)
    batch = torch.arange(batch_size, device=feed.device)

    def step() -> None:
        slices = next(iter(feed.iter_read([batch])))
        stepper.step(batch, slices, lr=1e-4, augmentation=augmentation)

    stepper.model.train()
    return step


def timm_step(name: str, size: int, patch: int, num_slices: int) -> Callable[[], None]:
    model = timm.create_model(
        f"vit_{name}_patch16_224", img_size=size, patch_size=patch, in_chans=1, num_classes=2
    ).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.randn(num_slices, 1, size, size, device="cuda")
    classes = torch.arange(num_slices, device="cuda") % 2

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = model(images)
        functional.cross_entropy(logits.float(), classes).backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None]) -> float:
    """Return the median seconds of a step over some rounds, after two to warm up."""
    seconds_of_round(step, MIN_STEPS)
    num_steps = max(MIN_STEPS, math.ceil(ROUND_S / seconds_of_round(step, MIN_STEPS)))
    return statistics.median(seconds_of_round(step, num_steps) for _ in range(NUM_ROUNDS))


def seconds_of_round(step: Callable[[], None], num_steps: int) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(num_steps):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / num_steps


def idle_fraction(step: Callable[[], None]) -> float:
    """Return the share of the time in which no kernel runs, from a profile of some steps."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    begin = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(NUM_PROFILED):
            step()
        torch.cuda.synchronize()
    whole = time.perf_counter() - begin
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    if not spans:
        return 1.0
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return max(0.0, 1.0 - busy / min(1e6 * whole, spans[-1][1] - spans[0][0]))


def flops_of(model: nn.Module, size: int) -> float:
    """Count the FLOPs of a training step for one slice."""
    device = next(model.parameters()).device
    shape = (1, VOLUMES_PER_SEQUENCE, SLICES_PER_VOLUME, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(shape, device=device))
    return 3.0 * counter.get_total_flops() / SLICES_PER_SEQUENCE


def compared(name: str, size: int, peak_tflops: float) -> Iterator[dict[str, Any]]:
    patch, batch = SIZES[size], BATCHES[name, size]
    data = data_of(size, 2 * batch)
    peer = (
        batch
        * SLICES_PER_SEQUENCE
        / seconds_of(timm_step(name, size, patch, batch * SLICES_PER_SEQUENCE))
    )
    best = 0.0
    for is_compiled in (False, True):
        stepper = stepper_of(data, config_of(name, patch, batch, is_compiled=is_compiled))
        step = our_step(stepper, batch)
        rate = batch * SLICES_PER_SEQUENCE / seconds_of(step)
        best = max(best, rate)
        how = "compiled" if is_compiled else "eager"
        goal = GOALS.get((name, size)) or (3.0 * peer if size == 64 and name != "base" else None)
        yield {
            **row(f"{name}/{patch} at {size}, {how}: slices a second", rate, peer),
            "goal": "told" if goal is None else f"best of eager and compiled >= {goal:.0f}",
            "met": None if goal is None or not is_compiled else best >= goal,
            "mfu": rate * flops_of(stepper.model, size) / (peak_tflops * 1e12),
            "idle_fraction": idle_fraction(step),
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "notes": list(stepper.notes),
        }
    device = torch.device("cuda")
    feeds: dict[str, Feed] = {
        "device": ResidentData.place(data, device),
        "node": RunFeed(by_run(data, is_in_memory=True), device, capacity_bytes=2**31),
    }
    for place, feed in feeds.items():
        loader = loader_rate(feed, batch)
        what = f"loader alone (feeding: {place}) : training"
        yield {
            **row(f"{name}/{patch} at {size}: slices a second, {what}", loader, best),
            "goal": ">= 1.5" if place == "device" else "told",
            "met": loader / best >= 1.5 if place == "device" else None,
        }


def loader_rate(feed: Feed, batch_size: int) -> float:
    batch = torch.randperm(len(feed.source.table.class_of_sequence))[:batch_size].cuda()

    def read() -> None:
        for _ in feed.iter_read([batch]):
            pass

    return batch_size * SLICES_PER_SEQUENCE / seconds_of(read)


def row(case: str, ours: float, peer: float) -> dict[str, Any]:
    return {
        "benchmark": "gpu",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "machine": torch.cuda.get_device_name(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def skipped() -> dict[str, Any]:
    return {
        "benchmark": "gpu",
        "skipped": True,
        "reason": "torch finds no GPU here",
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--only", nargs="*", default=[], help="models such as small/224")
    parser.add_argument("--peak-tflops", type=float, default=H100_TFLOPS, help="dense bfloat16")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.stdout.write(json.dumps(skipped()) + "\n")
        return
    for name in MODELS:
        for size in SIZES:
            if arguments.only and f"{name}/{size}" not in arguments.only:
                continue
            torch.cuda.reset_peak_memory_stats()
            for told in compared(name, size, arguments.peak_tflops):
                sys.stdout.write(json.dumps(told) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
