"""Shard sets with voxels of their own, in which a class shows in one corner of the brain."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spectrum.config import FoldsConfig, PreprocessingConfig, SequencesConfig
from spectrum.data.folds import draw_folds
from spectrum.data.runs import Event
from spectrum.data.sequences import stream_sequences
from spectrum.data.units import Fold
from spectrum.evaluation.rungs.question import Question
from spectrum.targets import Target
from tests.unit.data.fake_shards import FakeRun, FakeShards, key
from tests.unit.evaluation.planted import PAIRED

SHAPE = (4, 6, 7)
NUM_VOLUMES = 40
CUT = SequencesConfig(num_volumes=4, stride=4)


@dataclass
class VoxelShards(FakeShards):
    """Runs with given volumes, (V, S, H, W) by name."""

    shape_SHW: tuple[int, int, int] = SHAPE
    volumes: dict[str, NDArray[np.float16]] = field(default_factory=dict)

    def read_run(self, run: FakeRun) -> NDArray[np.float16]:
        return self.volumes[str(run.key)]


def noise(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise inside a mask that leaves out the rim."""
    volumes = rng.normal(size=(NUM_VOLUMES, *SHAPE))
    volumes[:, :, 0] = volumes[:, :, -1] = 0.0
    return volumes


def seen_shards(effect: float, seed: int = 0, num_subjects: int = 4) -> VoxelShards:
    """Return runs of 9 events of 3 classes; each lights up a corner of its own."""
    rng = np.random.default_rng(seed)
    names = ("face", "house", "cat")
    runs, volumes, numbers = [], {}, {}
    for subject in range(num_subjects):
        for number in ("01", "02"):
            order = [names[i % 3] for i in rng.permutation(9)]
            events = tuple(
                Event(onset_s=8.0 * i, duration_s=8.0, trial_type=n) for i, n in enumerate(order)
            )
            made = FakeRun(
                key(dataset="ds", subject=f"{subject}", run=number, task="look"),
                num_volumes=NUM_VOLUMES,
                events=events,
                quality={"bg_mean": float(rng.normal())},
            )
            data = noise(rng)
            for place, name in enumerate(order):
                shown = slice(2 + 4 * place, 6 + 4 * place)
                data[shown, :, 1:3, 2 * names.index(name) :][:, :, :, :2] += effect
            runs.append(made)
            volumes[str(made.key)] = data.astype(np.float16)
            numbers[str(made.key)] = {"bg_mean": rng.normal(30.0, 1.0, NUM_VOLUMES)}
    return VoxelShards(runs=tuple(runs), volumes=volumes, volume_quality=numbers)


def learnt_shards(effect: float, seed: int = 0, num_subjects: int = 4) -> VoxelShards:
    """Return early and late runs of three data sets; late ones answer events less in a corner."""
    rng = np.random.default_rng(seed)
    events = tuple(Event(onset_s=20.0 * i, duration_s=4.0, trial_type="go") for i in range(4))
    runs, volumes = [], {}
    for dataset in ("a", "b", "c"):
        for subject in range(num_subjects):
            for number in (1, 2):
                made = FakeRun(
                    key(dataset=dataset, subject=f"{subject}", run=f"{number:02}"),
                    num_volumes=NUM_VOLUMES,
                    events=events,
                    quality={"bg_mean": float(rng.normal())},
                )
                data = noise(rng)
                for event in events:
                    first = int(event.onset_s / 2) + 2
                    data[first : first + 3, :, 1:4, :3] += effect * (1.0 if number == 1 else 0.2)
                runs.append(made)
                volumes[str(made.key)] = data.astype(np.float16)
    return VoxelShards(runs=tuple(runs), volumes=volumes)


def ask(shards: VoxelShards, target: Target, scheme: str) -> tuple[Question, tuple[Fold, ...]]:
    sequences = stream_sequences(shards, target, CUT)  # type: ignore[arg-type]
    config = FoldsConfig.model_validate({"scheme": scheme})
    folds = draw_folds(sequences.table, config, paired=target.paired)
    question = Question(
        runs=shards,
        sequences=sequences,
        recipe=PreprocessingConfig(),
        paired=target.paired,
        scheme=scheme,
    )
    return question, folds


def ask_paired(shards: VoxelShards) -> tuple[Question, tuple[Fold, ...]]:
    return ask(shards, PAIRED, "leave-one-dataset-out")
