"""Does attention help where a signal was made for it? With its blocks against without, paired.

    python -m tests.benchmarks.blocks --json

Two truths in planted arrays. ``slices``: in each volume two distant slices fluctuate together, by
the class with the same sign or with opposite ones; no slice tells the class by itself, nor does a
sum over slices. ``order``: a sequence shows one pattern early and another late, or the other way
round; no set of volumes tells the class, their order does. The model is the default one with the
other kind of blocks left out, so that nothing else mixes what these mix; both arms have the same
seed, data, folds and loop. ``ours`` is the mean score with blocks, ``peer`` without.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from spectrum.config import TrialConfig, set_paths
from spectrum.data.units import Fold, SequenceData, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.launch import available_cpus
from spectrum.training.trial import fit_trial

SHAPE_SHW = (6, 8, 9)
NUM_VOLUMES = 6
VOLUMES_OF_RUN = 24
NUM_SUBJECTS = 20
"""Each has a run of each class; half of them train, and the other half are predicted."""

DISTANT = (1, 4)
"""Slices that fluctuate together."""

EFFECTS = {"slices": 1.0, "order": 0.5}
"""Standard deviation of a pattern's voxels over that of the noise."""

NUM_EPOCHS = 6


def pattern(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A pattern with neighbours alike, of mean 0 and standard deviation 1."""
    waves = np.zeros(shape)
    rows, columns = np.arange(shape[-2])[:, None], np.arange(shape[-1])[None]
    for _ in range(3):
        down, right, phase = rng.uniform(0.2, 1.0, 3) * (1.0, 1.0, 6.3)
        waves = waves + np.cos(down * rows + right * columns + phase)
    return np.asarray((waves - waves.mean()) / waves.std())


def slices_truth(rng: np.random.Generator, effect: float) -> Callable[[int], NDArray[np.float64]]:
    """Two distant slices fluctuate with the same sign, or with opposite ones."""
    patterns = [pattern(rng, SHAPE_SHW[1:]) for _ in DISTANT]

    def signal(class_index: int) -> NDArray[np.float64]:
        strength_V = rng.standard_normal(VOLUMES_OF_RUN)
        signal_VSHW = np.zeros((VOLUMES_OF_RUN, *SHAPE_SHW))
        for slice_index, sign, shown in zip(
            DISTANT, (1, 1 - 2 * class_index), patterns, strict=True
        ):
            signal_VSHW[:, slice_index] = sign * strength_V[:, None, None] * shown
        return effect * signal_VSHW

    return signal


def order_truth(rng: np.random.Generator, effect: float) -> Callable[[int], NDArray[np.float64]]:
    """One pattern in the first half of a sequence and another in the second, or turned round."""
    first, second = (pattern(rng, SHAPE_SHW) for _ in range(2))

    def signal(class_index: int) -> NDArray[np.float64]:
        is_early_V = np.arange(VOLUMES_OF_RUN) % NUM_VOLUMES < NUM_VOLUMES // 2
        is_first_V = is_early_V == (class_index == 0)
        return effect * np.where(is_first_V[:, None, None, None], first, second)

    return signal


TRUTHS = {"slices": slices_truth, "order": order_truth}


def planted(truth: str, seed: int, effect: float) -> SequenceData:
    """Runs whose class shows in the way of a truth."""
    rng = np.random.default_rng([seed, sorted(TRUTHS).index(truth)])
    return planted_runs(TRUTHS[truth](rng, effect), rng, name=f"{truth}-{seed}")


def planted_runs(
    signal: Callable[[int], NDArray[np.float64]], rng: np.random.Generator, *, name: str
) -> SequenceData:
    """A noisy run of each class for each subject, cut into sequences without overlap."""
    units, runs = [], []
    for number in range(2 * NUM_SUBJECTS):
        subject, class_index = divmod(number, 2)
        key = RunKey(dataset="planted", subject=f"{subject:02d}", task=name, run=str(class_index))
        units.append(
            Unit(key=key, name=str(key), pair="", class_index=class_index, run_index=number)
        )
        noise = rng.standard_normal((VOLUMES_OF_RUN, *SHAPE_SHW))
        runs.append((noise + signal(class_index)).astype(np.float16))
    starts = np.arange(0, VOLUMES_OF_RUN, NUM_VOLUMES)
    numbers = np.arange(len(units))
    table = SequenceTable(
        units=tuple(units),
        classes=("first", "second"),
        num_volumes=NUM_VOLUMES,
        run_of_sequence=np.repeat(numbers, len(starts)),
        start_of_sequence=np.tile(starts, len(units)),
        unit_of_sequence=np.repeat(numbers, len(starts)),
    )
    return SequenceData(
        slices_VSHW=np.concatenate(runs),
        first_volume_of_run=numbers * VOLUMES_OF_RUN,
        table=table,
        paired=False,
        content_hash=name,
    )


def halves(data: SequenceData) -> tuple[Fold, ...]:
    """Two folds; subjects of odd and of even number are held out in turn."""
    sides = [
        tuple(i for i, unit in enumerate(data.table.units) if int(unit.key.subject) % 2 == odd)
        for odd in (0, 1)
    ]
    return tuple(
        Fold(name=name, held_out=name, training=sides[1 - i], validation=sides[i], classes=(0, 1))
        for i, name in enumerate(("even", "odd"))
    )


def config(seed: int, **model: Any) -> TrialConfig:
    """The default configuration with other blocks, on the planted volumes."""
    wanted = {
        "sequences.num_volumes": NUM_VOLUMES,
        "sequences.stride": NUM_VOLUMES,
        "model.patch_size": 4,
        "training.num_epochs": NUM_EPOCHS,
        "seed": seed,
        **{f"model.{name}": value for name, value in model.items()},
    }
    return TrialConfig.model_validate(set_paths({}, wanted))


def score(data: SequenceData, wanted: TrialConfig) -> float:
    """The balanced accuracy over all runs, each predicted by the fold that held it out."""
    *_, last = fit_trial(data, halves(data), wanted)
    return last.score.value


ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "slices": (
        {"slice_depth": 1, "temporal_depth": 0},
        {"slice_depth": 0, "temporal_depth": 0},
    ),
    "order": (
        {"slice_depth": 0, "temporal_depth": 1},
        {"slice_depth": 0, "temporal_depth": 0},
    ),
}
"""With blocks, and without."""

KINDS = {"blocks": "", "faint": ", position_std 0.02"}

FAINT = {"position_std": 0.02}
"""Positions as image ViTs begin with; compared with no blocks too."""


def compare(truth: str, seed: int) -> dict[str, Any]:
    """The scores of one seed with blocks, with blocks of faint positions, and without."""
    data = planted(truth, seed, EFFECTS[truth])
    present, absent = ARMS[truth]
    return {
        "truth": truth,
        "seed": seed,
        "blocks": score(data, config(seed, **present)),
        "faint": score(data, config(seed, **present, **FAINT)),
        "none": score(data, config(seed, **absent)),
    }


def summary(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each truth and kind of positions: means, and the interval of the difference."""
    for truth in TRUTHS:
        found = [line for line in lines if line["truth"] == truth]
        for arm in KINDS if len(found) > 1 else ():
            with_blocks, without = (np.array([line[a] for line in found]) for a in (arm, "none"))
            low, high = interval(with_blocks - without)
            yield {
                "benchmark": "blocks",
                "case": f"{truth}, {len(found)} seeds"
                + (", position_std 0.02" * (arm != "blocks")),
                "ours": round(float(with_blocks.mean()), 3),
                "peer": round(float(without.mean()), 3),
                "ratio": round(float(with_blocks.mean() / without.mean()), 3),
                "difference_ci95": [round(low, 3), round(high, 3)],
                "goal": "difference above 0" if arm == "blocks" else "none, for comparison",
                "met": low > 0.0,
                "machine": f"{available_cpus()} CPUs, {platform.machine()}",
                "date": datetime.now(UTC).date().isoformat(),
            }


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % t interval of a mean; a point where all are equal."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = float(student.ppf(0.975, len(differences) - 1) * error)
    return float(differences.mean()) - reach, float(differences.mean()) + reach


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--truths", nargs="+", choices=sorted(TRUTHS), default=sorted(TRUTHS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--table", nargs="+", type=Path, help="lines of earlier runs to sum up")
    arguments = parser.parse_args()
    if arguments.table:
        text = "\n".join(path.read_text() for path in arguments.table)
        lines = [json.loads(line) for line in text.splitlines() if '"seed"' in line]
    else:
        lines = []
        for truth in arguments.truths:
            for seed in arguments.seeds:
                lines.append(compare(truth, seed))
                tell(lines[-1], as_json=arguments.json)
    for row in summary(lines):
        tell(row, as_json=arguments.json)


def tell(told: dict[str, Any], *, as_json: bool) -> None:
    text = ", ".join(f"{name} {value}" for name, value in told.items())
    sys.stdout.write((json.dumps(told) if as_json else text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
