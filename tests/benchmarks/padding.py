"""Is padding invisible, and the length of a run? Where they tell the class, scores are at chance.

    python -m tests.benchmarks.padding --json

``padding``: sequences of noise whose masked slices and volumes are filled with a pattern of the
class, three times as strong as the noise; how many are masked is drawn without the class. ``peer``
is the same fit without the masks, which finds the pattern. ``length``: runs of noise, of 16
volumes in one class and of 28 in the other, cut and fitted by our own loop; ``peer`` is what the
number of a run's sequences tells by itself. Each case is every seed under one pooling of slices
and volumes alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional

from spectrum.config import OptimizerConfig, TrialConfig, set_paths
from spectrum.data.sequences import cut_run
from spectrum.data.units import SequenceData, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.model.slice_vit import build_model
from spectrum.training.schedule import build_optimizer, set_lr
from spectrum.training.trial import fit_trial

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.blocks import halves
from tests.benchmarks.telling import measured_here, tell

POOLINGS = ("cls", "mean", "attention", "position")
SHAPE_TSHW = (5, 4, 6, 7)
NUM_SEQUENCES = 64
"""To train on, and as many to be scored on."""

NUM_STEPS = 40
NUM_SUBJECTS = 16
LENGTHS = (16, 28)
LEVEL = 0.99
"""Of the interval of the mean over seeds that must hold chance; there are eight."""


def config(pooling: str, seed: int) -> TrialConfig:
    wanted = {
        "sequences.num_volumes": SHAPE_TSHW[0],
        "sequences.stride": SHAPE_TSHW[0],
        "model.embed_dim": 16,
        "model.patch_size": 3,
        "model.slice_pooling": pooling,
        "model.temporal_pooling": pooling,
        "training.num_epochs": 3,
        "training.min_steps_per_epoch": 10,
        "seed": seed,
    }
    return TrialConfig.model_validate(set_paths({}, wanted))


def padded(
    rng: np.random.Generator, pattern_2SHW: Tensor
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Noise with a class's pattern where padding is, the masks, and the classes."""
    num_volumes, num_slices = SHAPE_TSHW[:2]
    true_class = torch.from_numpy(rng.permutation(NUM_SEQUENCES) % 2)
    last_volume = rng.integers(2, num_volumes, size=(NUM_SEQUENCES, 1))
    last_slice = rng.integers(2, num_slices, size=(NUM_SEQUENCES, 1))
    is_volume = torch.from_numpy(np.arange(num_volumes) < last_volume)
    is_slice = torch.from_numpy(np.arange(num_slices) < last_slice)
    is_there = (is_volume[:, :, None] & is_slice[:, None])[..., None, None]
    noise = torch.from_numpy(rng.standard_normal((NUM_SEQUENCES, *SHAPE_TSHW))).float()
    slices = torch.where(is_there, noise, 3.0 * pattern_2SHW[true_class][:, None])
    return slices, {"is_volume_BT": is_volume, "is_slice_BS": is_slice}, true_class


def score_padding(pooling: str, seed: int, *, is_masked: bool) -> float:
    """The accuracy of a model that was fitted on sequences whose padding tells their class."""
    rng = np.random.default_rng(seed)
    pattern = torch.from_numpy(rng.standard_normal((2, *SHAPE_TSHW[1:]))).float()
    training, test = padded(rng, pattern), padded(rng, pattern)
    torch.manual_seed(seed)
    model = build_model(
        config(pooling, seed).model,
        num_slices=SHAPE_TSHW[1],
        slice_shape=SHAPE_TSHW[2:],
        num_volumes=SHAPE_TSHW[0],
        num_classes=2,
    )
    optimizer = build_optimizer(model, OptimizerConfig())
    set_lr(optimizer, OptimizerConfig().lr)
    for _ in range(NUM_STEPS):
        slices, masks, true_class = training
        logits = model(slices, **(masks if is_masked else {}))
        optimizer.zero_grad()
        functional.cross_entropy(logits, true_class).backward()
        optimizer.step()
    slices, masks, true_class = test
    with torch.inference_mode():
        logits = model.eval()(slices, **(masks if is_masked else {}))
    return float((logits.argmax(dim=1) == true_class).float().mean())


def runs_of_noise(seed: int) -> SequenceData:
    """Runs whose number of volumes tells their class, and whose voxels do not."""
    rng = np.random.default_rng(seed)
    units, starts = [], []
    for number in range(2 * NUM_SUBJECTS):
        subject, class_index = divmod(number, 2)
        key = RunKey(dataset="noise", subject=f"{subject:02d}", task="none", run=str(class_index))
        units.append(
            Unit(key=key, name=str(key), pair="", class_index=class_index, run_index=number)
        )
        starts.append(cut_run(LENGTHS[class_index], span=SHAPE_TSHW[0], stride=SHAPE_TSHW[0]))
    counts = [len(cut) for cut in starts]
    lengths = np.array([LENGTHS[unit.class_index] for unit in units])
    numbers = np.repeat(np.arange(len(units)), counts)
    table = SequenceTable(
        units=tuple(units),
        classes=("short", "long"),
        num_volumes=SHAPE_TSHW[0],
        run_of_sequence=numbers,
        start_of_sequence=np.concatenate(starts),
        unit_of_sequence=numbers,
    )
    shape = (int(lengths.sum()), *SHAPE_TSHW[1:])
    return SequenceData(
        slices_VSHW=rng.standard_normal(shape).astype(np.float16),
        first_volume_of_run=np.cumsum(lengths) - lengths,
        table=table,
        paired=False,
        content_hash=f"noise-{seed}",
    )


def score_length(pooling: str, seed: int) -> float:
    """The balanced accuracy of our loop on runs of noise whose length tells their class."""
    data = runs_of_noise(seed)
    *_, last = fit_trial(data, halves(data), config(pooling, seed))
    return last.score.value


def cases(seeds: list[int], poolings: list[str]) -> Iterator[dict[str, Any]]:
    for pooling in poolings:
        hidden = [score_padding(pooling, seed, is_masked=True) for seed in seeds]
        seen = [score_padding(pooling, seed, is_masked=False) for seed in seeds]
        yield row(f"padding, {pooling}", hidden, peer=float(np.mean(seen)))
        yield row(f"length, {pooling}", [score_length(pooling, seed) for seed in seeds], peer=1.0)


def row(case: str, scores: list[float], *, peer: float) -> dict[str, Any]:
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1) / len(scores) ** 0.5)
    reach = float(student.ppf(0.5 + LEVEL / 2, len(scores) - 1)) * error
    return {
        "benchmark": "padding",
        "case": f"{case}, {len(scores)} seeds",
        "ours": round(mean, 4),
        "peer": round(peer, 4),
        "ratio": round(mean / peer, 3),
        "ci99": [round(mean - reach, 4), round(mean + reach, 4)],
        "goal": "99 % interval holds 0.5",
        "met": bool(mean - reach <= 0.5 <= mean + reach),
        **measured_here(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--poolings", nargs="+", choices=POOLINGS, default=POOLINGS)
    arguments = parser.parse_args()
    for told in cases(list(range(arguments.seeds)), arguments.poolings):
        text = (
            f"{told['case']}: {told['ours']:.3f} in {told['ci99']}, seen {told['peer']:.3f}, "
            f"goal {told['goal']}: {'met' if told['met'] else 'missed'}"
        )
        tell(told, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
