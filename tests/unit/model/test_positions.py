from __future__ import annotations

import pytest
import torch

from spectrum.config import ModelConfig
from spectrum.errors import ConfigError
from spectrum.model.positions import MM_WAVELENGTHS, WavePositions, table
from tests.unit.model.models import SMALL, stirred

SHAPE = (4, 3, 7, 10)


@pytest.mark.parametrize("std", [0.02, 0.5, 2.0])
def test_fresh_waves_are_as_large_as_fresh_vectors(std: float) -> None:
    embedded = WavePositions(512, MM_WAVELENGTHS, std=std)(torch.linspace(-90.0, 90.0, 33)[None])
    assert embedded.shape == (1, 33, 512)
    for fresh in (embedded, table(33, 512, std=std)):
        assert fresh.detach().std().item() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_the_cut_of_fresh_vectors_takes_nothing_from_their_standard_deviation(std: float) -> None:
    torch.manual_seed(3)
    values = table(64, 1024, std=std).detach()
    assert values.std().item() == pytest.approx(std, rel=0.01)
    assert values.abs().max().item() == pytest.approx(2.0 * std / 0.8796, rel=0.01)


def test_near_slices_are_alike_and_all_slices_of_a_head_differ() -> None:
    waves = WavePositions(256, MM_WAVELENGTHS, std=0.5)
    places = torch.arange(-90.0, 90.0, 2.5)[None]
    embedded = waves(places)[0]
    apart = torch.cdist(embedded, embedded)
    neighbours = apart.diagonal(1)
    others = apart[(places.T - places).abs() > 40.0]
    assert neighbours.min() > 0
    assert neighbours.max() < others.min()


def test_stacks_share_positions_in_millimetres_whatever_their_number_of_slices() -> None:
    waves = WavePositions(16, MM_WAVELENGTHS, std=0.5)
    thin, thick = torch.arange(-60.0, 61.0, 3.0)[None], torch.arange(-60.0, 61.0, 6.0)[None]
    torch.testing.assert_close(waves(thin)[:, ::2], waves(thick))


@pytest.mark.parametrize(
    ("field", "kind", "argument", "shape"),
    [
        ("slice_position", "mm", "slice_mm_BS", (2, 3)),
        ("temporal_position", "seconds", "volume_s_BT", (2, 4)),
    ],
)
def test_a_model_that_knows_units_reads_them_and_asks_for_them(
    field: str, kind: str, argument: str, shape: tuple[int, int]
) -> None:
    model = stirred(ModelConfig.model_validate({**SMALL, field: kind}), SHAPE)
    slices = torch.randn(2, *SHAPE)
    places = 2.0 * torch.arange(shape[1]).float().expand(shape)
    assert not torch.allclose(
        model(slices, **{argument: places}), model(slices, **{argument: 1.5 * places}), atol=1e-5
    )
    with pytest.raises(ConfigError, match=f"Pass .*{argument}"):
        model(slices)


@pytest.mark.parametrize("axis", [1, 2])
def test_without_positions_order_is_not_seen_by_attention_and_its_pools(axis: int) -> None:
    config = {"slice_position": "none", "temporal_position": "none", "slice_pooling": "cls"}
    model = stirred(
        ModelConfig.model_validate({**SMALL, **config, "temporal_pooling": "attention"}), SHAPE
    )
    slices = torch.randn(2, *SHAPE)
    torch.testing.assert_close(model(slices), model(slices.flip(axis)), atol=1e-5, rtol=1e-5)
