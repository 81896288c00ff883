"""Figures as Plotly descriptions, read without drawing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.search.view import view_study
from spectrum.tracking.figures import parallel_figure
from tests.unit.report.planted_study import write_study


def test_a_rate_over_decades_is_on_a_logarithmic_axis_and_a_width_is_not(tmp_path: Path) -> None:
    figure = parallel_figure(view_study(write_study(tmp_path / "planted")), {})
    assert figure is not None
    axes = {axis["label"]: axis for axis in figure["data"][0]["dimensions"]}
    rates = axes["lr"]
    assert rates["ticktext"] == ["1e-05", "0.0001", "0.001", "0.01"]
    assert [10**value for value in sorted(rates["values"])][:2] == pytest.approx([1e-5, 1e-4])
    assert sorted(set(axes["fwhm_mm"]["values"])) == [0.0, 4.0, 6.0]
    assert axes["patch_pooling"]["ticktext"] == ["attention", "cls", "mean"]
