"""Dissociations ask no model about a subject that it was trained on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from spectrum.data.runs import RunTable
from spectrum.errors import LeakageError
from spectrum.search.exporting import export_model
from spectrum.training.exported import ExportedModel
from spectrum.training.other_subjects import ask_other_subjects, judgeable
from spectrum.training.predicting import predict_shards
from tests.unit.data.fake_shards import FakeRun, key
from tests.unit.search.test_exporting import runs, shards_of, trained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    """Two folds, each of which holds out one of two data sets."""
    folder = tmp_path_factory.mktemp("model")
    trained(folder / "trained", folds__scheme="leave-one-dataset-out")
    return export_model(folder / "trained", folder / "out")


def other_task(subject: str, dataset: str = "ds2", **fields: Any) -> FakeRun:
    run_key = key(dataset=dataset, subject=subject, task="reversal", run="1")
    return FakeRun(key=run_key, voxels_sha256=f"v-{run_key}", image_sha256="new", **fields)


def test_other_runs_of_a_subject_are_judged_by_the_folds_that_held_the_subject_out(
    model: ExportedModel,
) -> None:
    shards = shards_of((*runs("1"), other_task("1"), other_task("9")))
    told = predict_shards(model, shards, {}, ask=ask_other_subjects)
    folds_of = {str(one.unit.key): one.folds for one in told.predictions}
    for name, folds in folds_of.items():
        for fold in (fold for fold in model.header.folds if fold.name in folds):
            assert name.split("_")[0] not in {run.split("_")[0] for run in fold.trained}
    assert len(folds_of[str(other_task("1").key)]) == 1
    assert len(folds_of[str(other_task("9").key)]) == 2


def test_a_subject_that_every_model_was_trained_on_is_refused_by_name(
    model: ExportedModel,
) -> None:
    both = tuple(
        fold.model_copy(update={"trained": (*fold.trained, "ds2/sub-1_task-learn_run-1")})
        for fold in model.header.folds
    )
    known = replace(model, header=model.header.model_copy(update={"folds": both}))
    listed = tuple(SimpleNamespace(key=other_task(subject).key) for subject in "12")
    table = RunTable(runs=cast(Any, listed), problems=())
    asked = judgeable(known, table, [run.key for run in listed])
    assert asked.trained == ("ds2/sub-1",)
    assert [run.key.subject for run in asked.table.runs] == ["2"]


def test_an_image_that_a_model_was_trained_on_is_known_under_any_name(
    model: ExportedModel,
) -> None:
    image = next(i for i in model.header.images if i.run.startswith("ds1/sub-1"))
    copied = FakeRun(key=other_task("77").key, voxels_sha256=image.voxels_sha256)
    asked = ask_other_subjects(cast(Any, copied), model.header)
    assert [fold.held_out for fold in model.header.folds if fold.name in asked.folds] == ["ds1"]


def test_a_person_under_another_name_is_no_other_subject(
    model: ExportedModel,
) -> None:
    run = other_task("1", person="ds1/sub-1")
    with pytest.raises(LeakageError, match="trained on ds1/sub-1, under this or another name"):
        ask_other_subjects(cast(Any, run), model.header)
