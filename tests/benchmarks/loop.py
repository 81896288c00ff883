"""How fast the loop is: against a bare torch loop, and against whole runs padded to the longest.

    python -m tests.benchmarks.loop --json

Noise in place of volumes: 24 runs of 180 to 237 volumes, as long as those of the four data sets
are. ``bare``: the same model, batches, noise, optimiser and evaluation, written as short as
PyTorch allows. ``padded``: what learnedSpectrum did, with our model in place of its own: a run is
one input, zero-padded to the longest, one run a step, float32. Epochs of both sides are taken in
turn, and the medians compared; the first epoch of each is left out. ``ours`` and ``peer`` are
seconds of one CPU (which others on the machine do not lengthen) an epoch, sequences of 8 real
volumes a second, bytes above what the process held before, or seconds on the clock to write the
state of a fold, as the case says. One thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from spectrum.config import TrialConfig, config_from_mapping
from spectrum.data.units import Fold, SequenceData, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.launch import available_cpus
from spectrum.model.slice_vit import build_model
from spectrum.training.batches import draw_epoch
from spectrum.training.fold_fit import FoldFit
from spectrum.training.losses import class_weights
from spectrum.training.place import Parallel, Place
from spectrum.training.resident import ResidentData
from spectrum.training.schedule import build_optimizer, lr_at, set_lr
from spectrum.training.state_files import FoldStateFiles

NUM_ROUNDS = 5
NUM_RUNS = 24
LENGTHS = (180, 208, 225, 237)
LONGEST = max(LENGTHS)
KIB = 1024
KEY = "ds000002"

CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "default model, 23 slices of 28x23": ((23, 28, 23), {"min_steps_per_epoch": 1}),
    "default model, 8 slices of 14x12": ((8, 14, 12), {"min_steps_per_epoch": 1}),
}


def config_of(training: dict[str, Any], num_volumes: int = 8) -> TrialConfig:
    return config_from_mapping(
        TrialConfig,
        {
            "sequences": {"num_volumes": num_volumes, "stride": num_volumes},
            "training": {"num_epochs": NUM_ROUNDS + 1, "device": "cpu", **training},
        },
    )


def data_of(shape_SHW: tuple[int, int, int], num_volumes: int) -> SequenceData:
    """Runs of noise, early and late in turn, two a subject."""
    rng = np.random.default_rng(0)
    lengths = [LENGTHS[index // 2 % len(LENGTHS)] for index in range(NUM_RUNS)]
    keys = [
        RunKey(dataset=KEY, subject=f"{i // 2:02d}", task="det", run=str(i % 2 + 1))
        for i in range(NUM_RUNS)
    ]
    units = tuple(
        Unit(key=key, name=str(key), pair=f"{key.group}/det/", class_index=i % 2, run_index=i)
        for i, key in enumerate(keys)
    )
    starts = [np.arange(0, length - num_volumes + 1, num_volumes) for length in lengths]
    of_run = np.repeat(np.arange(NUM_RUNS), [len(some) for some in starts])
    table = SequenceTable(
        units=units,
        classes=("early", "late"),
        num_volumes=num_volumes,
        run_of_sequence=of_run,
        start_of_sequence=np.concatenate(starts),
        unit_of_sequence=of_run,
    )
    return SequenceData(
        slices_VSHW=rng.standard_normal((sum(lengths), *shape_SHW), np.float32).astype(np.float16),
        first_volume_of_run=np.cumsum([0, *lengths[:-1]]),
        table=table,
        paired=True,
        content_hash="benchmark",
    )


def fold_of(data: SequenceData) -> Fold:
    held_out = tuple(range(NUM_RUNS - 4, NUM_RUNS))
    training = tuple(range(NUM_RUNS - 4))
    return Fold(
        name="last", held_out="last", training=training, validation=held_out, classes=(0, 1)
    )


def our_epochs(data: SequenceData, config: TrialConfig) -> Iterator[Any]:
    place = Place.choose(config.training, Parallel())
    feed = ResidentData.place(data, place.device)
    fit = FoldFit(feed, fold_of(data), config, place=place)
    while not fit.is_finished:
        yield fit.advance()


def bare_epochs(data: SequenceData, config: TrialConfig) -> Iterator[Any]:
    """The same fit as a script: no folds, no workers, no records, no checks."""
    training, fold = config.training, fold_of(data)
    slices, first = (
        torch.from_numpy(data.slices_VSHW),
        torch.from_numpy(data.first_volume_of_sequence),
    )
    rows_NT = first[:, None] + torch.from_numpy(data.table.offsets)
    classes = torch.from_numpy(data.table.class_of_sequence)
    own, held_out = (
        torch.from_numpy(data.table.sequences_of(some))
        for some in (fold.training, fold.validation)
    )
    torch.manual_seed(0)
    model = model_of(data, config)
    optimizer = build_optimizer(model, config.optimizer)
    weights = class_weights(classes[own], 2, is_balanced=True)
    generator = torch.Generator().manual_seed(0)
    num_steps = training.num_epochs * -(-len(own) // training.batch_size)
    step = 0
    for _ in range(training.num_epochs):
        model.train()
        order = draw_epoch(
            own,
            batch_size=training.batch_size,
            min_steps=training.min_steps_per_epoch,
            generator=generator,
        )
        losses = torch.zeros(())
        for batch in order.split(training.batch_size):
            x = slices[rows_NT[batch]].float()
            x = x + training.noise_std * torch.randn_like(x) * (x != 0)
            set_lr(optimizer, lr_at(step, num_steps=num_steps, config=config.optimizer))
            optimizer.zero_grad()
            loss = functional.cross_entropy(
                model(x), classes[batch], weight=weights, label_smoothing=training.label_smoothing
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
            optimizer.step()
            losses += loss.detach()
            step += 1
        model.eval()
        with torch.inference_mode():
            said = [model(slices[rows_NT[part]].float()).softmax(1) for part in held_out.split(32)]
        yield losses, torch.cat(said)


def padded_epochs(data: SequenceData, config: TrialConfig) -> Iterator[Any]:
    """Whole runs, zero-padded to the longest, one a step; a step is one input of 237 volumes."""
    slices = torch.from_numpy(data.slices_VSHW)
    firsts = data.first_volume_of_run.tolist()
    ends = [*firsts[1:], len(slices)]
    torch.manual_seed(0)
    model = model_of(data, config, num_volumes=LONGEST)
    optimizer = build_optimizer(model, config.optimizer)
    generator = torch.Generator().manual_seed(0)

    def padded(run: int) -> Tensor:
        volumes = slices[firsts[run] : ends[run]].float()
        return functional.pad(volumes, (0, 0, 0, 0, 0, 0, 0, LONGEST - len(volumes)))[None]

    for _ in range(config.training.num_epochs):
        model.train()
        for run in torch.randperm(NUM_RUNS - 4, generator=generator).tolist():
            optimizer.zero_grad()
            functional.cross_entropy(model(padded(run)), torch.tensor([run % 2])).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            yield [model(padded(run)) for run in range(NUM_RUNS - 4, NUM_RUNS)]


def model_of(data: SequenceData, config: TrialConfig, num_volumes: int | None = None) -> nn.Module:
    num_slices, height, width = data.volume_shape
    return build_model(
        config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=num_volumes or data.table.num_volumes,
        num_classes=2,
    )


def medians(sides: dict[str, Iterator[Any]]) -> dict[str, float]:
    """Take the epochs of all sides in turn; return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(NUM_ROUNDS + 1):
        for name, epochs in sides.items():
            begin = time.process_time()
            next(epochs)
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(some[1:]) for name, some in seconds.items()}


def compared_epochs() -> Iterator[dict[str, Any]]:
    for name, (shape, training) in CASES.items():
        data, config = data_of(shape, 8), config_of(training)
        found = medians({"ours": our_epochs(data, config), "bare": bare_epochs(data, config)})
        yield row(
            f"{name}: seconds an epoch, ours : bare loop", found["ours"], found["bare"], 1.05
        )
        case = f"{name}: seconds to write a state : an epoch"
        yield row(case, seconds_of_state(data, config), found["ours"], 0.02)


def seconds_of_state(data: SequenceData, config: TrialConfig) -> float:
    """Return the median seconds on the clock to write the state of a fold."""
    fit = FoldFit(
        ResidentData.place(data, torch.device("cpu")),
        fold_of(data),
        config,
        place=Place.choose(config.training, Parallel()),
    )
    record, seconds = fit.advance(), []
    with tempfile.TemporaryDirectory() as folder:
        files = FoldStateFiles(Path(folder), identity={}, table=data.table)
        for number in range(20):
            begin = time.perf_counter()
            files.write(replace(fit.state(), epoch=number + 1), [record])
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def compared_padding() -> Iterator[dict[str, Any]]:
    shape, training = CASES["default model, 23 slices of 28x23"]
    ours, peer = (measured_apart(kind, shape, training) for kind in ("ours", "padded"))
    case = "whole runs padded to the longest: sequences a second, ours : padded"
    yield row(case, ours["rate"], peer["rate"], 1.0, more_is_better=True)
    case = "whole runs padded to the longest: peak bytes while training, ours : padded"
    yield row(case, ours["bytes"], peer["bytes"], 1.0)


def measured_apart(
    kind: str, shape: tuple[int, int, int], training: dict[str, Any]
) -> dict[str, float]:
    """Measure one side in a process of its own, whose peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        told: dict[str, float] = pool.apply(measured, (kind, shape, training))
    return told


def measured(kind: str, shape: tuple[int, int, int], training: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(1)
    config = config_of({**training, "num_epochs": 3})
    data = data_of(shape, 8)
    before = psutil.Process().memory_info().rss
    epochs = our_epochs(data, config) if kind == "ours" else padded_epochs(data, config)
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        next(epochs)
        seconds.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    num_sequences = len(data.slices_VSHW) / 8
    return {"rate": num_sequences / min(seconds[1:]), "bytes": float(peak - before)}


def row(
    case: str, ours: float, peer: float, goal: float, *, more_is_better: bool = False
) -> dict[str, Any]:
    ratio = ours / peer
    return {
        "benchmark": "loop",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "goal": f">= {goal}" if more_is_better else f"<= {goal}",
        "met": ratio >= goal if more_is_better else ratio <= goal,
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compares: tuple[Callable[[], Iterator[dict[str, Any]]], ...] = (
        compared_epochs,
        compared_padding,
    )
    for compare in compares:
        for told in compare():
            text = f"{told['case']}: {told['ours']:.4g} against {told['peer']:.4g}, "
            text += f"ratio {told['ratio']:.3f} (goal: {told['goal']})"
            sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
