"""The checks tell a map of the truth from one of nothing, and peaks lie where they were put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectrum.config import ModelConfig
from spectrum.data.grids import common_grid
from spectrum.data.map_grid import MapGrid
from spectrum.evaluation.map_checks import FaithfulnessMeter, rank_correlation, region_auc
from spectrum.evaluation.map_peaks import find_peaks, write_peaks
from spectrum.training.explaining import Explained, average_maps
from tests.unit.model.models import SMALL, stirred
from tests.unit.training.planted import planted_data

GRID = MapGrid(affine=common_grid(4.0).affine, space="MNI152")
SIDES = common_grid(4.0).shape


def batch(maps_BSHW: np.ndarray, network: torch.nn.Module, slices: torch.Tensor) -> Explained:
    return Explained(
        table=planted_data().table,
        network=network,
        classes=(0, 1, 2),
        sequences=np.arange(len(slices)),
        slices_BTSHW=slices,
        targets_B=torch.full((len(slices),), 1),
        inputs={},
        maps_BSHW=maps_BSHW,
    )


def reading_one_patch() -> tuple[torch.nn.Module, torch.Tensor, np.ndarray]:
    """A model whose class 1 grows with the brightness of one patch of one slice alone."""
    model = stirred(ModelConfig(**SMALL), (3, 2, 8, 12))

    class Reads(torch.nn.Module):
        encoder = model.encoder

        def forward(self, slices: torch.Tensor) -> torch.Tensor:
            value = slices[:, :, 1, :4, 4:8].mean(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(value), 3 * value, torch.zeros_like(value)], 1)

    slices = torch.rand(6, 3, 2, 8, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    truth = np.zeros((6, 2, 8, 12), dtype=np.float32)
    truth[:, 1, :4, 4:8] = 1.0
    return Reads(), slices, truth


def test_a_true_map_is_faithful_and_its_opposite_is_not() -> None:
    network, slices, truth = reading_one_patch()
    for sign, is_right in ((1.0, True), (-1.0, False)):
        meter = FaithfulnessMeter(np.random.default_rng(0))
        meter.add(batch(sign * truth, network, slices))
        told = meter.result()
        assert told.passed is is_right
        assert (told.deletion < told.deletion_random) is is_right
        assert told.num_sequences == 6


def test_maps_are_averaged_by_subject_and_each_subject_counts_the_same() -> None:
    network, slices, truth = reading_one_patch()
    scaled = truth * np.arange(1, 7, dtype=np.float32)[:, None, None, None]
    maps = average_maps([batch(scaled, network, slices)], plane="axial")
    assert maps.num_sequences == 6
    subjects = [by_class["late"].max() for by_class in maps.of_subject.values()]
    assert maps.of_class["late"].max() == pytest.approx(np.mean(subjects))
    assert maps.of_class["late"].shape == (12, 8, 2)
    assert maps.inside_XYZ.all()


def test_a_map_correlates_with_itself_and_not_with_noise() -> None:
    rng, inside = np.random.default_rng(0), np.ones((9, 8, 7), dtype=bool)
    one, other = rng.normal(size=(2, 9, 8, 7))
    assert rank_correlation({"a": one}, [{"a": one**3}], inside) == pytest.approx(1.0)
    assert rank_correlation({"a": one}, [{"a": other}], inside) < 0.1
    assert rank_correlation({"a": one}, [{"a": np.zeros_like(one)}], inside) == 0.0


def test_a_region_is_told_from_the_rest_of_the_brain() -> None:
    region, inside = np.zeros((9, 8, 7), dtype=bool), np.ones((9, 8, 7), dtype=bool)
    region[2:4, 3:5, 1:3] = True
    noise = np.random.default_rng(0).normal(size=region.shape)
    assert region_auc(5.0 * region + noise, region, inside) > 0.99
    assert region_auc(noise, region, inside) == pytest.approx(0.5, abs=0.25)
    assert region_auc(noise, region, inside & ~region) is None


def test_peaks_lie_where_they_were_put_the_highest_first_with_the_region_nearby(
    tmp_path: Path,
) -> None:
    values = np.zeros(SIDES)
    for place_mm, height in (((-25.6, -11.8, -21.5), 2.0), ((4.0, 8.0, 40.0), 3.0)):
        at = np.linalg.solve(GRID.affine, [*place_mm, 1.0])[:3].round().astype(int)
        values[tuple(at)] = height
    values[at[0] + 2, at[1], at[2]] = 2.5
    peaks = find_peaks(values, np.ones(SIDES, dtype=bool), GRID)
    assert [peak.value for peak in peaks] == [3.0, 2.0], "8 mm from a higher one is no peak"
    assert peaks[1].region == "left hippocampus"
    assert peaks[1].distance_mm < 4.0
    write_peaks(tmp_path / "peaks.tsv", [("rollout", "early", peak) for peak in peaks])
    lines = (tmp_path / "peaks.tsv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].split("\t")[:4] == ["method", "class", "x_mm", "y_mm"]


def test_a_map_without_a_positive_value_has_no_peak_and_the_scanner_no_names() -> None:
    inside = np.ones(SIDES, dtype=bool)
    assert find_peaks(np.zeros(SIDES) - 1.0, inside, GRID) == ()
    values = np.zeros(SIDES)
    values[7, 8, 9] = 1.0
    (peak,) = find_peaks(values, inside, MapGrid(affine=GRID.affine, space="scanner"))
    assert (peak.region, peak.distance_mm) == ("", None)
