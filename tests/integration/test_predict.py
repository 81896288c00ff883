"""A model from a training on a tiny tree, asked about trees of other scanners."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.config import TrialConfig, set_paths
from spectrum.data.bids import index_bids
from spectrum.errors import DataError
from spectrum.search.exporting import export_model
from spectrum.search.single import train_single
from spectrum.training.predicting import is_ready, predict_table
from tests.tiny_bids import TASK

RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2) for r in (1, 2)}
SMALL = {
    "folds.scheme": "leave-one-subject-out",
    "preprocessing.grid": "native",
    "preprocessing.high_pass_hz": 0.0,
    "sequences.num_volumes": 3,
    "model.embed_dim": 8,
    "model.depth": 1,
    "model.patch_size": 4,
    "training.num_epochs": 1,
    "training.min_steps_per_epoch": 1,
}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_runs_of_another_shape_are_refused_by_name_even_where_they_are_most(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    shards = tmp_path / "shards"
    train_single(
        TrialConfig.model_validate(set_paths({}, SMALL)),
        [tiny_bids(runs=RUNS)],
        shards_root=shards,
        out=tmp_path / "trained",
        on_epoch=lambda epoch: None,
    )
    model = export_model(tmp_path / "trained", tmp_path / "model")
    site = tiny_bids("site", {("9", "rest", "1"): 12})
    others = tiny_bids("others", {(s, "rest", "1"): 12 for s in "34"}, shape=(6, 8, 9))
    table = index_bids([site, others], model.header.config.data)
    assert not is_ready(model, table, shards)
    told = predict_table(model, table, shards_root=shards)
    assert [p.unit.key.dataset for p in told.predictions] == ["site"]
    assert Path(told.predictions[0].path).is_file()
    assert [(p.code, p.path.split("_")[0]) for p in told.refused] == [
        ("other-shape", "others/sub-3"),
        ("other-shape", "others/sub-4"),
    ]
    assert "takes (9, 8, 7)" in told.refused[0].message
    alone = index_bids([others], model.header.config.data)
    with pytest.raises(DataError, match="None of 2 runs fits the model"):
        predict_table(model, alone, shards_root=shards)
    assert is_ready(model, index_bids([site], model.header.config.data), shards)
