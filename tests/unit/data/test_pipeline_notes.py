"""What a prepared set says of itself: a recipe without a mask is labelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from tests.tiny_bids import write_tiny_bids

pytestmark = pytest.mark.ray


def test_a_set_without_a_mask_is_labelled_made_or_reused(
    tmp_path: Path, ray_session: None
) -> None:
    table = index_bids([write_tiny_bids(tmp_path / "dsA")])
    recipe = PreprocessingConfig(
        grid="matrix", matrix=(5, 6, 4), high_pass_hz=0.0, brain_mask=False
    )
    for is_reused in (False, True):
        result = prepare(table, recipe, shards_root=tmp_path / "shards")
        assert result.reused is is_reused
        assert set(recipe.warnings) <= set(result.notes)
    masked = recipe.model_copy(update={"brain_mask": True})
    assert not any(
        "Unmasked" in note
        for note in prepare(table, masked, shards_root=tmp_path / "shards").notes
    )
