"""A training that was interrupted goes on to the result of an undisturbed one, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import spectrum.targets
from spectrum.config import MODEL_VERSION, TrialConfig, set_paths
from spectrum.data.bids import index_bids
from spectrum.data.folds import draw_folds, fold_manifest, write_folds
from spectrum.data.pipeline import prepare
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.errors import SearchError
from spectrum.search.objective import SharedInputs, StudyObjective
from spectrum.search.single import TrainEpoch, TrainResult, train_single
from spectrum.targets import read_target
from tests.integration.test_workers_ray import CONFIG, RUNS
from tests.tiny_bids import write_tiny_bids

pytestmark = pytest.mark.ray

ONE_WORKER = TrialConfig.model_validate(
    set_paths(
        CONFIG.model_dump(mode="json"),
        {"training.workers": 1, "training.num_epochs": 3, "training.min_steps_per_epoch": 2},
    )
)


@dataclass(frozen=True)
class Prepared:
    """A tree and the root of its shard set."""

    root: Path
    shards_root: Path
    shards: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Prepared:
    folder = tmp_path_factory.mktemp("train-resume")
    root = write_tiny_bids(folder / "ds000002", RUNS)
    table, shards_root = index_bids([root]), folder / "shards"
    made = prepare(table, ONE_WORKER.preprocessing, shards_root=shards_root)
    return Prepared(root, shards_root, made.shards)


@pytest.fixture
def train(prepared: Prepared, tmp_path: Path) -> Callable[..., TrainResult]:
    def call(out: str, *, stop_at: int | None = None, **options: Any) -> TrainResult:
        def stop(epoch: TrainEpoch) -> None:
            told.append(epoch)
            if epoch.record.epoch == stop_at:
                raise KeyboardInterrupt

        told: list[TrainEpoch] = []
        paths = options.pop("paths", {})
        return train_single(
            TrialConfig.model_validate(set_paths(ONE_WORKER.model_dump(mode="json"), paths)),
            [prepared.root],
            shards_root=prepared.shards_root,
            out=tmp_path / out,
            on_epoch=stop,
            **options,
        )

    return call


def weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))]


def result_of(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "result.json").read_text())
    return {name: told[name] for name in ("score", "ci95", "floor", "folds", "notes")}


def test_an_interrupted_training_goes_on_to_the_undisturbed_result(
    train: Callable[..., TrainResult], tmp_path: Path
) -> None:
    train("calm")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", stop_at=1)
    train("stopped", resume=True)
    assert result_of(tmp_path / "stopped") == result_of(tmp_path / "calm")
    assert weights(tmp_path / "stopped/checkpoints") == weights(tmp_path / "calm/checkpoints")
    assert not (tmp_path / "stopped/state").exists()


def test_a_wrong_start_of_a_training_is_refused_with_what_to_do(
    train: Callable[..., TrainResult], tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=r"No training was begun in .*Leave --resume away"):
        train("t", resume=True)
    with pytest.raises(KeyboardInterrupt):
        train("t", stop_at=0)
    with pytest.raises(SearchError, match=r"holds an interrupted training.*with --resume"):
        train("t")
    with pytest.raises(
        SearchError, match=r"config\.optimizer\.lr was 0\.002 and is 0\.1\. Restore"
    ):
        train("t", resume=True, paths={"optimizer.lr": 0.1})
    train("t", resume=True, paths={"training.stream_gib": 1.0})
    with pytest.raises(SearchError, match=r"is finished: its score is in result\.json"):
        train("t", resume=True)
    with pytest.raises(SearchError, match=r"t exists already\. Give another folder"):
        train("t")


def test_a_training_whose_target_file_was_edited_is_refused(
    train: Callable[..., TrainResult], tmp_path: Path
) -> None:
    """Early and late change places: folds and volumes stay, and every label is another."""
    shipped = Path(spectrum.targets.__file__).with_name("early_late.yaml")
    target = tmp_path / "mine.yaml"
    text = shipped.read_text(encoding="utf-8").replace("name: early_late", "name: mine")
    target.write_text(text, encoding="utf-8")
    paths = {"target": str(target)}
    with pytest.raises(KeyboardInterrupt):
        train("t", stop_at=0, paths=paths)
    begun = json.loads((tmp_path / "t/train.json").read_text())
    assert begun["code"] == {"model": MODEL_VERSION}
    swapped = text.replace("class: early", "class: x").replace("class: late", "class: early")
    target.write_text(swapped.replace("class: x", "class: late"), encoding="utf-8")
    with pytest.raises(SearchError, match=r"data\.target was .* and is .*Restore"):
        train("t", resume=True, paths=paths)
    target.write_text(text, encoding="utf-8")
    train("t", resume=True, paths=paths)


def test_a_trial_of_a_study_goes_on_from_its_last_epoch(
    prepared: Prepared, tmp_path: Path
) -> None:
    table, target = index_bids([prepared.root]), read_target(ONE_WORKER.target)
    data = read_sequences(ShardSet.open(prepared.shards), target, ONE_WORKER.sequences)
    folds = draw_folds(data.table, ONE_WORKER.folds, paired=True)
    write_folds(fold_manifest(folds, data.table, ONE_WORKER.folds), tmp_path / "folds.json")
    shared = SharedInputs(
        table=table,
        target=target,
        shards_root=prepared.shards_root,
        folds=tmp_path / "folds.json",
        trials=tmp_path / "trials",
    )
    stopped = StudyObjective(shared)(1, ONE_WORKER)
    assert len(list(islice(stopped, 2))) == 2
    stopped.close()
    states = sorted((tmp_path / "trials/1/state").glob("*/state.json"))
    assert {json.loads(path.read_text())["content"]["epoch"] for path in states} == {2}
    records = [list(StudyObjective(shared)(number, ONE_WORKER)) for number in (0, 1)]
    assert records[0] == records[1]
