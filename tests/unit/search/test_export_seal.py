"""What an exported model, and the page that serves it, say of the people kept from its search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from spectrum.data.seals import Seal
from spectrum.search.exporting import export_model
from spectrum.search.folder import StudyFolder
from spectrum.search.json_lines import append_line
from spectrum.search.manifest import build_manifest
from spectrum.search.sealing import OPENINGS_NAME, SEALED_NAME, UNSEALED_NAME
from spectrum.serve.answers import Answerer
from tests.unit.report.planted_study import PlantedTrial, floor_json, line_of
from tests.unit.search.fakes import small_space
from tests.unit.search.test_exporting import trained

TRIAL = 3
WHO = Seal(asked=0.25, seed=1, groups=("ds1/sub-8", "ds2/sub-9"))


def study_of(tmp_path: Path, seal: Seal | None) -> Path:
    """Make a study of one trial, whose folds are those of a training."""
    begun, _ = trained(tmp_path / "begun", training__num_epochs=1)
    study = StudyFolder(tmp_path / "study")
    place = study.path / "trials" / str(TRIAL)
    place.mkdir(parents=True)
    shutil.move(begun / "checkpoints", place / "checkpoints")
    shutil.copy(begun / "folds.json", study.path)
    study.write("floor.json", {**floor_json(), "scheme": "grouped-k-fold"})
    if seal is not None:
        study.write(SEALED_NAME, seal.to_json())
    target = json.loads((begun / "train.json").read_text())["data"]["target"]
    manifest = build_manifest(
        small_space(),
        name="study",
        data={"target": target, "runs": {}},
        files=study.digests_of(SEALED_NAME) if seal is not None else None,
    )
    study.write_manifest(manifest)
    trial = PlantedTrial(number=TRIAL, params={}, state="complete", score=0.78)
    append_line(study.path / "trials.jsonl", line_of(trial))
    return study.path


def open_seal(study: Path, *trials: int) -> None:
    """Note an opening for each of some trials."""
    for look, trial in enumerate(trials, start=1):
        opening = {"look": look, "trial": trial, "opened": "2026-02-03T04:05:06+00:00"}
        append_line(study / OPENINGS_NAME, opening)
        scored = {"score": {"value": 0.71, "ci95": [0.6, 0.8]}, "floor": {"value": 0.55}}
        append_line(study / UNSEALED_NAME, {**opening, **scored, "p_corrected": 0.03 * look})


def told_of(study: Path) -> str:
    """Export the study, and return what the page of the model says of the seal."""
    model = export_model(study, study.parent / "model")
    nothing = cast(Any, None)
    told = Answerer(model=model, draw=nothing, draw_map=nothing).about()["seal"]
    assert isinstance(told, str)
    return told


def test_a_model_of_a_study_that_seals_no_one_says_so(tmp_path: Path) -> None:
    assert told_of(study_of(tmp_path, None)).startswith("No one was kept from the search")


def test_a_seal_that_is_not_opened_is_told_as_it_was_at_the_export(tmp_path: Path) -> None:
    assert told_of(study_of(tmp_path, WHO)) == (
        "Sealed and not opened: 2 subjects, 0.25 of each data set. So it was at the export; until "
        "they are asked, no score is free of selection."
    )


def test_a_seal_that_was_opened_is_told_with_its_score(tmp_path: Path) -> None:
    study = study_of(tmp_path, WHO)
    open_seal(study, TRIAL)
    assert told_of(study) == (
        "Sealed: 2 subjects, 0.25 of each data set. Opened on 2026-02-03: 0.710 [0.600, 0.800] "
        "beside a floor of 0.550, p = 0.0300. A refit of this configuration was asked, not these "
        "very models."
    )


@pytest.mark.parametrize(
    ("later", "sentence"), [((), "was never asked"), ((TRIAL,), "was asked at a later look")]
)
def test_the_score_of_another_trial_on_the_sealed_is_not_taken_for_that_of_the_model(
    tmp_path: Path, later: tuple[int, ...], sentence: str
) -> None:
    study = study_of(tmp_path, WHO)
    open_seal(study, 1, *later)
    told = told_of(study)
    assert "0.710 [0.600, 0.800]" in told
    assert f"That is trial 1, not this one, trial 3, which {sentence}" in told
    assert "A refit of this configuration" not in told
