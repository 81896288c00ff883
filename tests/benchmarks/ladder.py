"""The ladder of baselines on real events beside the slice ViT, and what audit and ladder cost.

    python -m tests.benchmarks.ladder --json

Leave one run out over the 8 runs of Haxby et al. (2001), subject 1, one slice, 64 events of 8
categories: ``ours`` is the shipped default ViT (``decoding``), ``peer`` each rung, on the same
folds; the goal is that ours is not below. Cost: ``ours`` is seconds, ``peer`` the limit. The
audit is of the 312 real runs' tables, the linear rungs of a shard set given with ``--shards``, or,
with ``--simulated``, of four simulated data sets with as many subjects as the real ones: 338 runs,
182 of which are early or late (really 312 and 180). ``--seeds`` without a number asks no ViT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from spectrum.config import FoldsConfig, SequencesConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.shards import ShardSet
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.evaluation.ladder import LINEAR, run_ladder
from spectrum.evaluation.sources import open_source
from spectrum.evaluation.target_audit import audit_target
from spectrum.launch import local_ray
from spectrum.search.single import train_single
from spectrum.search.space import read_space
from spectrum.targets import read_target

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.decoding import config_of
from tests.benchmarks.findings import REAL
from tests.benchmarks.telling import measured_here, tell
from tests.benchmarks.truths import SPACE
from tests.realdata import FOUR, REALDATA

AUDIT_S = 60.0
LADDER_S = 300.0


def rungs_beside_the_model(seed: int) -> Iterator[dict[str, Any]]:
    config = config_of(seed)
    with local_ray(), tempfile.TemporaryDirectory() as folder:
        result = train_single(
            config,
            [REALDATA / "bold" / "haxby2001-1slice"],
            shards_root=Path(folder) / "shards",
            out=Path(folder) / "trained",
            on_epoch=lambda record: None,
        )
        shards = ShardSet.open(next((Path(folder) / "shards").glob("*/manifest.json")).parent)
        ladder = run_ladder(shards, read_target(config.target), config.folds, config.sequences)
    for rung in ladder.rungs:
        yield _row(
            f"Haxby 2001, one slice, 8 categories, leave one run out, seed {seed}: {rung.name}",
            result.score.value,
            rung.score.value,
            "not below",
            is_met=result.score.value >= rung.score.value,
            ours_ci95=result.score.ci95,
            peer_ci95=rung.score.ci95,
            peer_p=rung.score.p,
            ours_seconds=round(result.seconds, 1),
            peer_seconds=round(rung.seconds, 1),
        )


def costs(shards: Path | None) -> Iterator[dict[str, Any]]:
    tables = [str(root / name) for root in FOUR for name in ("mriqc_bold.tsv", "images.tsv")]
    for target, scheme in (
        ("early_late", "leave-one-dataset-out"),
        ("stage", "leave-one-subject-out"),
    ):
        begin = time.monotonic()
        folds = FoldsConfig.model_validate({"scheme": scheme})
        audit = audit_target(open_source(FOUR, quality=tables), read_target(target), folds)
        seconds = time.monotonic() - begin
        yield _cost(f"audit of 312 runs' tables: {audit.verdict}", seconds, AUDIT_S)
    if shards is not None:
        yield _cost_of_ladder(shards)


def cost_of_simulated() -> Iterator[dict[str, Any]]:
    """Tell what the linear rungs cost on as many runs as the four data sets have."""
    with tempfile.TemporaryDirectory() as folder, local_ray():
        config = SimulationConfig(truth="effect", num_subjects=REAL)
        roots = simulate(Path(folder) / "bids", config)
        recipe = read_space(SPACE).default_config.preprocessing
        made = prepare(index_bids(roots), recipe, shards_root=Path(folder) / "shards")
        yield _cost_of_ladder(made.shards)


def _cost_of_ladder(shards: Path) -> dict[str, Any]:
    begin = time.monotonic()
    opened = ShardSet.open(shards)
    run_ladder(opened, read_target("early_late"), FoldsConfig(), SequencesConfig(), names=LINEAR)
    seconds = time.monotonic() - begin
    return _cost(f"linear ladder of {len(opened.manifest.runs)} runs", seconds, LADDER_S)


def _cost(case: str, seconds: float, limit_s: float) -> dict[str, Any]:
    goal = f"under {limit_s:g} s"
    return _row(case, round(seconds, 1), limit_s, goal, is_met=seconds < limit_s)


def _row(
    case: str, ours: float, peer: float, goal: str, *, is_met: bool, **further: Any
) -> dict[str, Any]:
    return {
        "benchmark": "ladder",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer if peer else None,
        "goal": goal,
        "met": is_met,
        **further,
        **measured_here(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--shards", type=Path, help="a shard set, for the cost of the ladder")
    parser.add_argument("--simulated", action="store_true", help="the ladder of simulated runs")
    arguments = parser.parse_args()
    parts = [costs(arguments.shards), *map(rungs_beside_the_model, arguments.seeds)]
    parts += [cost_of_simulated()] if arguments.simulated else []
    for row in chain.from_iterable(parts):
        text = f"{row['case']}: {row['ours']:.3g} against {row['peer']:.3g}, {row['goal']}: "
        text += "met" if row["met"] else "MISSED"
        tell(row, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
