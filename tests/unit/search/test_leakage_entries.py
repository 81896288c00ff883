"""One person on both sides is leakage before the first epoch, at whatever entry the folds come in.

Two doors: the images of a subject stand under another name as well, in a manifest that does not
know it for one person; or folds were changed by hand, so that a subject stands on two sides. Here
without files and Ray; sealed studies as a whole are in ``tests/integration/test_sealed_study.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectrum.config import FoldsConfig, SequencesConfig, TrialConfig, fingerprint
from spectrum.data.folds import draw_folds, fold_manifest, hold_out, write_folds
from spectrum.data.sequences import build_table
from spectrum.data.units import Fold, SequenceTable
from spectrum.errors import LeakageError
from spectrum.evaluation.ladder import LINEAR, RUNGS, run_ladder
from spectrum.search.objective import folds_of_trial
from spectrum.training.trial import draw_trial_folds
from tests.unit.data.fake_shards import FakeShards
from tests.unit.evaluation.planted import PAIRED, paired_shards

LODO = FoldsConfig(scheme="leave-one-dataset-out")
CONFIG = TrialConfig(folds=LODO)
SUBJECTS = (("a", "03"), ("b", "05"))


def shards_with_copy() -> FakeShards:
    """Return runs of which those of a subject of ``b`` are those of one of ``a``, renamed."""
    renamed = {f"{SUBJECTS[1][0]}/sub-{SUBJECTS[1][1]}": f"{SUBJECTS[0][0]}/sub-{SUBJECTS[0][1]}"}
    return FakeShards(
        runs=tuple(
            replace(
                run,
                voxels_sha256=f"{renamed.get(run.key.group, run.key.group)} {run.key.run}",
            )
            for run in paired_shards(leak=0.0).runs
        )
    )


def table_of_copy() -> SequenceTable:
    return build_table(shards_with_copy().runs, PAIRED, SequencesConfig())  # type: ignore[arg-type]


def enter_train() -> None:
    draw_trial_folds(SimpleNamespace(table=table_of_copy(), paired=True), CONFIG)  # type: ignore[arg-type]


def enter_baselines(names: tuple[str, ...]) -> None:
    run_ladder(shards_with_copy(), PAIRED, LODO, SequencesConfig(), names=names)  # type: ignore[arg-type]


def enter_unseal() -> None:
    hold_out(table_of_copy(), lambda unit: unit.key.dataset == "b", name="sealed", paired=True)


@pytest.mark.parametrize(
    "enter",
    [
        enter_train,
        enter_unseal,
        lambda: enter_baselines(LINEAR),
        lambda: enter_baselines(tuple(RUNGS)),
    ],
    ids=["train", "unseal", "search's ladder", "baselines"],
)
def test_a_subject_under_another_name_is_leakage(enter: Callable[[], None]) -> None:
    with pytest.raises(LeakageError, match=r"the image a/sub-03 0\d stands on two sides"):
        enter()


def write_study_folds(path: Path, change: Callable[[dict[str, Any]], None]) -> SequenceTable:
    """Write the folds of a search, changed by someone who makes their hash fit."""
    table = build_table(paired_shards(leak=0.0).runs, PAIRED, SequencesConfig())  # type: ignore[arg-type]
    manifest = fold_manifest(draw_folds(table, LODO, paired=True), table, LODO)
    told = json.loads(json.dumps(manifest))
    change(told)
    del told["content_hash"]
    write_folds({**told, "content_hash": fingerprint(told)}, path)
    return table


def move_one_run(told: dict[str, Any]) -> None:
    """Give the training side of a fold one of the two runs that it holds out of a subject."""
    fold = told["folds"][0]
    fold["training"].append(fold["validation"].pop())


def train_on_held_out(told: dict[str, Any]) -> None:
    """Train on a whole held-out subject, too."""
    fold = told["folds"][0]
    fold["training"] += fold["validation"][-2:]


def keep_as_it_is(told: dict[str, Any]) -> None:
    del told["notes"][:]


def test_folds_of_a_search_are_checked_in_every_trial(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    folds: tuple[Fold, ...] = folds_of_trial(path, write_study_folds(path, keep_as_it_is), CONFIG)
    assert len(folds) == 3
    for change in (move_one_run, train_on_held_out):
        table = write_study_folds(path, change)
        with pytest.raises(LeakageError, match="stands on two sides"):
            folds_of_trial(path, table, CONFIG)


def test_images_of_a_search_are_checked_in_every_trial(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    write_study_folds(path, keep_as_it_is)
    with pytest.raises(LeakageError, match=r"the image a/sub-03 0\d stands on two sides"):
        folds_of_trial(path, table_of_copy(), CONFIG)
