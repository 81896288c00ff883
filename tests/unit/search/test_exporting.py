"""A model out of its study: what it says is what its folds said, wherever the folder lies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.config import TrialConfig, canonical_json, fingerprint
from spectrum.data.folds import fold_manifest
from spectrum.data.runs import Event
from spectrum.data.sequences import stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.errors import CheckpointError, DataError, SearchError, SpectrumError
from spectrum.records import FoldRecord
from spectrum.search.exporting import export_model
from spectrum.search.images import seen_images
from spectrum.search.json_lines import write_json
from spectrum.targets import read_target
from spectrum.training.exported import read_model
from spectrum.training.predicting import Predictions, predict_shards
from spectrum.training.trial import draw_trial_folds, fit_trial
from tests.unit.data.fake_shards import FakeRun, FakeShards, key
from tests.unit.training.planted import tiny_config

RUNS_TARGET = """
classes: [early, late]
paired: true
rules:
  - {dataset: ds1, task: learn, run: 1, class: early, source: test}
  - {dataset: ds1, task: learn, run: 2, class: late, source: test}
  - {dataset: ds2, task: learn, run: 1, class: early, source: test}
  - {dataset: ds2, task: learn, run: 2, class: late, source: test}
"""
EVENTS_TARGET = """
classes: [face, house]
event: {trial_types: {Face: face, House: house}, hrf_delay_s: 5.0}
"""


class NoisyShards(FakeShards):
    """Volumes differ by the run's voxels alone, wherever the run stands."""

    def read_run(self, run: FakeRun) -> NDArray[np.float16]:
        rng = np.random.default_rng(sum(map(ord, run.voxels_sha256)))
        noise = rng.normal(size=(run.num_volumes, *self.shape_SHW))
        noise[..., 0] = 0.0
        return noise.astype(np.float16)


def runs(subjects: str = "123", **fields: Any) -> tuple[FakeRun, ...]:
    return tuple(
        FakeRun(
            key=key(dataset=dataset, subject=subject, run=run),
            voxels_sha256=f"v-{dataset}-{subject}-{run}",
            image_sha256=f"i-{dataset}-{subject}-{run}",
            **fields,
        )
        for dataset in ("ds1", "ds2")
        for subject in subjects
        for run in ("1", "2")
    )


def shards_of(made: tuple[FakeRun, ...], **fields: Any) -> ShardSet:
    return cast(ShardSet, NoisyShards(made, **fields))


def trained(
    folder: Path, *, shards: ShardSet | None = None, target: str = RUNS_TARGET, **paths: Any
) -> tuple[Path, tuple[FoldRecord, ...]]:
    """Train on shards without files; leave the folder that ``spectrum train`` leaves."""
    folder.mkdir()
    (folder.parent / "mine.yaml").write_text(target, encoding="utf-8")
    paths = {"folds__scheme": "grouped-k-fold", "folds__num_folds": 2, **paths}
    config = tiny_config(target=str(folder.parent / "mine.yaml"), **paths)
    shards = shards or shards_of(runs(scale=3.0))
    chosen = read_target(config.target)
    data = stream_sequences(shards, chosen, config.sequences)
    folds = draw_trial_folds(data, config)
    *_, last = (
        fitted := _Fitted(fit_trial(data, folds, config, checkpoints=folder / "checkpoints"))
    )
    write_json(folder / "images.json", seen_images(shards.manifest))
    write_json(folder / "folds.json", fold_manifest(folds, data.table, config.folds))
    target_hash = fingerprint(chosen.model_dump(mode="json"))
    plain = config.model_dump(mode="json")
    write_json(folder / "train.json", {"config": plain, "data": {"target": target_hash}})
    score = {"score": last.score.value, "ci95": list(last.score.ci95), "chance": 0.5}
    told = [{"held_out": record.held_out, "score": record.score} for record in fitted.records]
    floor = {"floor": {"score": 0.625}, "folds": told}
    write_json(folder / "result.json", {**score, **floor, "config": plain})
    return folder, fitted.records


class _Fitted:
    """Goes through a fit and keeps what it returns."""

    def __init__(self, fitting: Any) -> None:
        self._fitting = fitting
        self.records: tuple[FoldRecord, ...] = ()

    def __iter__(self) -> Any:
        self.records = yield from self._fitting


def predicted(model: Path, shards: ShardSet) -> Predictions:
    paths = {str(run.key): f"/bids/{run.key}.nii" for run in shards.manifest.runs}
    return predict_shards(read_model(model), shards, paths)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "harmonised": {
        "training__harmonisation": "dataset",
        "preprocessing__standardization": "none",
        "folds__scheme": "leave-one-dataset-out",
    },
    "millimetres and seconds": {
        "model__slice_position": "mm",
        "model__temporal_position": "seconds",
    },
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_fold_says_of_its_held_out_runs_what_it_said_in_training(
    tmp_path: Path, setting: str
) -> None:
    shards = shards_of(runs(scale=3.0))
    folder, records = trained(tmp_path / "trained", shards=shards, **SETTINGS[setting])
    for number, record in enumerate(records):
        model = export_model(folder, tmp_path / f"model-{number}", fold=record.fold).path
        told = {p.unit.name: p for p in predicted(model, shards).predictions}
        for of_unit in record.predictions:
            again = told[of_unit.unit]
            assert list(again.probabilities.values()) == pytest.approx(
                of_unit.probabilities, abs=1e-6
            )
            assert (again.seen, again.held_out) == (True, True)
        assert sum(p.seen and not p.held_out for p in told.values()) == 12 - len(
            record.predictions
        )


def test_the_ensemble_asks_of_its_own_runs_the_fold_that_held_them_out(tmp_path: Path) -> None:
    shards = shards_of(runs())
    folder, records = trained(tmp_path / "trained", shards=shards)
    export_model(folder, tmp_path / "model")
    told = predicted(tmp_path / "model", shards)
    of_unit = {p.unit: p for record in records for p in record.predictions}
    for again in told.predictions:
        before = of_unit[again.unit.name]
        assert again.folds == (before.fold,)
        assert list(again.probabilities.values()) == pytest.approx(before.probabilities, abs=1e-6)
    assert any("folds alone that held them out" in note for note in told.notes)


def test_new_runs_get_the_mean_over_the_folds_and_need_no_class(tmp_path: Path) -> None:
    folder, records = trained(tmp_path / "trained")
    export_model(folder, tmp_path / "model")
    new = shards_of(
        tuple(
            FakeRun(key=key(dataset="site", subject=s, task="rest", run=""), voxels_sha256=s * 3)
            for s in ("7", "8")
        )
    )
    told = predicted(tmp_path / "model", new).predictions
    alone = []
    for record in records:
        export_model(folder, tmp_path / record.fold, fold=record.fold)
        alone.append(predicted(tmp_path / record.fold, new).predictions)
    assert len(alone) == 2
    for index, whole in enumerate(told):
        assert (whole.seen, whole.held_out, len(whole.folds)) == (False, False, 2)
        parts = [list(part[index].probabilities.values()) for part in alone]
        assert list(whole.probabilities.values()) == pytest.approx(np.mean(parts, axis=0))
        assert sum(whole.probabilities.values()) == pytest.approx(1.0)
        plain = json.loads(json.dumps(whole.to_json()))
        assert plain["path"] == f"/bids/{whole.unit.key}.nii"
        assert plain["probabilities"][plain["class"]] == max(plain["probabilities"].values())


def test_a_copy_under_another_name_is_known_and_a_namesake_is_told(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path / "trained")
    model = export_model(folder, tmp_path / "model", fold=_first_fold(folder))
    seen = next(r for r in runs() if str(r.key) in model.header.folds[0].trained)
    copy = replace(seen, key=key(dataset="elsewhere", subject="x"), image_sha256="zipped again")
    namesake = replace(seen, voxels_sha256="other", image_sha256="other")
    told = predicted(model.path, shards_of((copy, namesake)))
    assert [(p.seen, p.held_out) for p in told.predictions] == [(True, False), (False, False)]
    assert any(
        "1 of 2 predictions are of images that the model was trained on" in note
        for note in told.notes
    )
    assert any(f"{seen.key} has the name of a run" in note for note in told.notes)


def _first_fold(folder: Path) -> str:
    return str(json.loads((folder / "folds.json").read_text())["folds"][0]["name"])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [("plain", "another time than in training"), ("millimetres and seconds", "and follow")],
)
def test_another_repetition_time_is_told_and_what_follows(
    tmp_path: Path, setting: str, sentence: str
) -> None:
    folder, _ = trained(tmp_path / "trained", **SETTINGS[setting])
    export_model(folder, tmp_path / "model")
    near, far = (
        predicted(tmp_path / "model", shards_of(runs("7", tr_s=tr_s))).notes
        for tr_s in (2.04, 3.0)
    )
    assert not any("TR" in note for note in near)
    assert sum(sentence in note for note in far) == 3


def test_every_event_is_predicted_whatever_its_type(tmp_path: Path) -> None:
    events = tuple(
        Event(onset_s=6.0 * i, duration_s=8.0, trial_type=("Face", "House", "Dog")[i % 3])
        for i in range(3)
    )
    shards = shards_of(runs(events=events, num_volumes=30))
    folder, records = trained(tmp_path / "trained", shards=shards, target=EVENTS_TARGET)
    export_model(folder, tmp_path / "model")
    told = predicted(tmp_path / "model", shards).predictions
    before = {p.unit: p.probabilities for record in records for p in record.predictions}
    assert (len(told), len(before)) == (36, 24)
    for again in told:
        plain = again.to_json()
        if again.unit.name in before:
            assert list(again.probabilities.values()) == pytest.approx(
                before[again.unit.name], abs=1e-6
            )
        assert plain["event"]["trial_type"] == ("Face", "House", "Dog")[plain["event"]["index"]]


def test_a_short_run_is_refused_by_its_path_and_others_are_predicted(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path / "trained")
    export_model(folder, tmp_path / "model")
    long, short = runs("7")[:2]
    told = predicted(tmp_path / "model", shards_of((long, replace(short, num_volumes=2))))
    assert [p.unit.key for p in told.predictions] == [long.key]
    assert [(p.code, p.path) for p in told.refused] == [("too-short", f"/bids/{short.key}.nii")]
    with pytest.raises(DataError, match="longest of 1 runs has 2"):
        predicted(tmp_path / "model", shards_of((replace(short, num_volumes=2),)))


def test_a_model_survives_a_move_and_the_loss_of_all_it_came_from(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path / "trained")
    model = export_model(folder, tmp_path / "model")
    assert (model.header.score.floor, model.header.score.selected) == (0.625, False)
    assert model.header.score.scheme == "grouped-k-fold"
    before = [p.to_json() for p in predicted(model.path, shards_of(runs("7"))).predictions]
    shutil.rmtree(folder)
    (tmp_path / "mine.yaml").unlink()
    (tmp_path / "far").mkdir()
    shutil.move(model.path, tmp_path / "far" / "away")
    again = predicted(tmp_path / "far" / "away", shards_of(runs("7"))).predictions
    assert [p.to_json() for p in again] == before
    files = {path.suffix for path in (tmp_path / "far").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}


def _cut_weights(model: Path) -> None:
    path = next(model.glob("folds/*/model.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])


def _flip_weights(model: Path) -> None:
    path = next(model.glob("folds/*/model.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def _change(name: str, value: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        path = model / "model.json"
        told = json.loads(path.read_text())
        *parents, last = name.split(".")
        inner = told
        for parent in parents:
            inner = inner[int(parent)] if parent.isdigit() else inner[parent]
        inner[last] = value
        path.write_text(canonical_json(told))

    return change


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda model: (model / "model.json").unlink(), "model.json is missing"),
        (lambda model: (model / "model.json").write_text("{"), "no model of this version"),
        (lambda model: (model / "model.json").write_text("[]"), "no model of this version"),
        (_change("folds.0.folder", "../../x"), "folds.0.folder"),
        (_change("extra", 1), "extra"),
        (_change("shape_TSHW", [3, 2, 3, 6]), "is of sequences"),
        (_change("versions.model", -1), "weights of model version -1"),
        (_cut_weights, "bytes where"),
        (_flip_weights, "does not have the digest"),
        (lambda m: next(m.glob("folds/*/model.json")).unlink(), "model.json is missing"),
        (lambda m: next(m.glob("folds/*/model.json")).write_text("{}"), "not what was exported"),
    ],
)
def test_a_damaged_or_foreign_folder_is_one_sentence(
    tmp_path: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    folder, _ = trained(tmp_path / "trained", training__num_epochs=1)
    model = export_model(folder, tmp_path / "model").path
    damage(model)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        read_model(model)
    assert "\n" not in str(caught.value)


def _touch_target(folder: Path) -> None:
    path = folder.parent / "mine.yaml"
    path.write_text(path.read_text().replace("ds2", "ds3"))


@pytest.mark.parametrize(
    ("spoil", "fold", "sentence"),
    [
        (lambda folder: (folder.parent / "model").mkdir(), None, "model exists already"),
        (lambda folder: (folder / "result.json").unlink(), None, "an unfinished training"),
        (lambda folder: (folder / "train.json").unlink(), None, "holds no model"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), None, "no checkpoint of the fold"),
        (
            lambda folder: next(folder.rglob("model.json")).write_text("{}"),
            None,
            "is no checkpoint header",
        ),
        (lambda folder: None, "nowhere", "'nowhere' is no fold"),
        (_touch_target, None, "was changed since the model was trained"),
        (
            lambda folder: next(folder.rglob("*.safetensors")).write_bytes(b""),
            None,
            "does not have the digest",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[Path], object], fold: str | None, sentence: str
) -> None:
    folder, _ = trained(tmp_path / "trained", training__num_epochs=1)
    spoil(folder)
    with pytest.raises(SpectrumError, match=sentence):
        export_model(folder, tmp_path / "model", fold=fold)
    assert {path.name for path in tmp_path.iterdir()} <= {"trained", "mine.yaml", "model"}
    assert not list((tmp_path / "model").glob("*"))


def test_a_model_is_never_written_over(tmp_path: Path) -> None:
    folder, _ = trained(tmp_path / "trained", training__num_epochs=1)
    export_model(folder, tmp_path / "model")
    with pytest.raises(SearchError, match="exists already"):
        export_model(folder, tmp_path / "model")


def test_the_configuration_of_a_model_is_that_of_its_training(tmp_path: Path) -> None:
    folder, records = trained(tmp_path / "trained", training__num_epochs=1)
    header = export_model(folder, tmp_path / "model").header
    told = json.loads((folder / "train.json").read_text())["config"]
    assert header.config == TrialConfig.model_validate(told)
    assert header.target == read_target(header.config.target)
    assert [fold.score for fold in header.folds] == [record.score for record in records]
