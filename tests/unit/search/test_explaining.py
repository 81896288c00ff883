"""Attention maps of a training: by folds that held a run out, whole in a folder, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from spectrum.data.shards import ShardSet
from spectrum.errors import SearchError
from spectrum.report.attention import attention_facts, write_attention_figure
from spectrum.report.run_map import draw_run_map
from spectrum.report.theme import LIGHT, Theme, render
from spectrum.search.explaining import ExplainOptions, explain_source
from spectrum.search.exporting import export_model
from spectrum.training.explaining import iter_explained
from spectrum.training.run_map import explain_run
from tests.tiny_bids import tiny_affine
from tests.unit.report.planted_shards import plant_shards
from tests.unit.search.test_exporting import trained

FEW = ExplainOptions(sequences_per_unit=2, fresh_seeds=(0,))


@pytest.fixture
def shards(tmp_path: Path, tiny_bids: Callable[..., Path]) -> ShardSet:
    # Images of one length would be copies of each other.
    lengths = iter(range(11, 19))
    keys = [(subject, "learn", run) for subject in "12" for run in "12"]
    roots = [tiny_bids(name, {key: next(lengths) for key in keys}) for name in ("ds1", "ds2")]
    made, _ = plant_shards(roots, tmp_path / "shards")
    return made


def test_every_run_is_explained_by_a_fold_that_never_trained_on_it(
    tmp_path: Path, shards: ShardSet
) -> None:
    folder, _ = trained(tmp_path / "trained", shards=shards)
    model = export_model(folder, tmp_path / "model")
    explained = []
    for fold in model.header.folds:
        alone = model.header.model_copy(update={"folds": (fold,)})
        one = type(model)(path=model.path, header=alone)
        for batch in iter_explained(one, shards, "rollout", sequences_per_unit=2):
            units = [batch.table.units[u] for u in batch.table.unit_of_sequence[batch.sequences]]
            assert not {str(unit.key) for unit in units} & set(fold.trained)
            explained += [unit.name for unit in units]
    assert sorted(explained) == sorted(2 * [str(run.key) for run in shards.manifest.runs])


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_folder_holds_maps_peaks_checks_and_a_figure(
    tmp_path: Path, shards: ShardSet, plane: str
) -> None:
    folder, _ = trained(tmp_path / "trained", shards=shards, sequences__plane=plane)
    out = tmp_path / "attention"
    told = explain_source(folder, [tmp_path / "shards"], out, options=FEW)
    assert told == json.loads((out / "checks.json").read_text())
    assert told["num_sequences"] == 16
    assert set(told["methods"]) == {"rollout", "gradients"}
    image = nib.load(out / "maps" / "gradients_class-early.nii.gz")
    assert image.shape == (7, 8, 9)
    np.testing.assert_allclose(image.affine, tiny_affine())
    assert np.isfinite(image.get_fdata()).all()
    assert len(list((out / "subjects").iterdir())) == 4 * 2 * 2
    png, svg = write_attention_figure(out)
    facts = attention_facts(out)
    assert facts is not None
    assert (facts.png, facts.svg) == (png, svg)
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert "fresh weights" in facts.sentences[0]


def test_a_region_is_scored_class_by_class(tmp_path: Path, shards: ShardSet) -> None:
    folder, _ = trained(tmp_path / "trained", shards=shards)
    region = np.zeros((7, 8, 9), dtype=np.float32)
    region[2:4, 3:6, 4:6] = 1.0
    nib.save(nib.Nifti1Image(region, tiny_affine()), tmp_path / "region.nii.gz")
    options = ExplainOptions(
        methods=("gradients",), fresh_seeds=(0,), regions={"late": tmp_path / "region.nii.gz"}
    )
    told = explain_source(folder, [tmp_path / "shards"], tmp_path / "maps", options=options)
    found = told["methods"]["gradients"]["region"]
    assert list(found) == ["late"]
    assert 0.0 <= found["late"]["auc"] <= 1.0
    assert len(found["late"]["auc_fresh"]) == 1


def test_what_cannot_be_explained_is_said_and_nothing_is_left(
    tmp_path: Path, shards: ShardSet
) -> None:
    folder, _ = trained(tmp_path / "trained", shards=shards)
    out = tmp_path / "attention"
    with pytest.raises(SearchError, match="The shard set of the model is not in"):
        explain_source(folder, [tmp_path / "nowhere"], out, options=FEW)
    assert not out.exists()
    assert attention_facts(out) is None
    out.mkdir()
    with pytest.raises(SearchError, match="exists already"):
        explain_source(folder, [tmp_path / "shards"], out, options=FEW)


def test_one_run_is_explained_for_one_class_by_the_models_that_are_asked(
    tmp_path: Path, shards: ShardSet
) -> None:
    folder, _ = trained(tmp_path / "trained", shards=shards)
    model = export_model(folder, tmp_path / "model")
    names = [fold.name for fold in model.header.folds]
    every = explain_run(model, shards, "rollout", class_index=1, folds=names)
    assert every.map_XYZ.shape == every.inside_XYZ.shape == (7, 8, 9)
    assert (every.num_sequences, every.num_models) == (8, len(names))
    alone = [explain_run(model, shards, "rollout", class_index=1, folds=[n]) for n in names]
    np.testing.assert_allclose(every.map_XYZ, np.mean([a.map_XYZ for a in alone], axis=0))
    fresh = explain_run(model, shards, "rollout", class_index=1, folds=names, fresh_seed=0)
    assert not np.allclose(fresh.map_XYZ, every.map_XYZ)
    with pytest.raises(SearchError, match="No model scores the class early"):
        explain_run(model, shards, "rollout", class_index=0, folds=[])


def test_a_map_of_a_run_is_drawn_over_its_mean() -> None:
    background, inside = np.ones((7, 8, 9)), np.zeros((7, 8, 9), dtype=bool)
    inside[2:5, 2:6, 1:8] = True
    values = np.where(inside, np.arange(9.0), 0.0)

    def draw(theme: Theme) -> Figure:
        return draw_run_map(
            theme,
            background_XYZ=background,
            map_XYZ=values,
            inside_XYZ=inside,
            voxel_mm=(3.0, 4.0),
        )

    figure = draw(LIGHT)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown[:7]] == [f"slice {z}" for z in range(1, 8)]
    assert render(draw, LIGHT, "png")[0][:4] == b"\x89PNG"
