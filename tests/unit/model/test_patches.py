from __future__ import annotations

import pytest
import torch

from spectrum.model.patches import PatchFilters, cosine_filters


@pytest.mark.parametrize(("num_filters", "size"), [(1, 3), (9, 3), (16, 6), (36, 6)])
def test_filters_are_orthonormal_as_far_as_they_can_be(num_filters: int, size: int) -> None:
    flat = cosine_filters(num_filters, size).flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(num_filters), atol=1e-5, rtol=0)


def test_the_first_filter_is_the_mean_and_later_ones_are_finer() -> None:
    filters = cosine_filters(16, 4)
    torch.testing.assert_close(filters[0], torch.full((1, 4, 4), 0.25))
    changes = [float(f.diff(dim=1).abs().sum() + f.diff(dim=2).abs().sum()) for f in filters]
    assert changes[0] == pytest.approx(0.0, abs=1e-5)
    assert max(changes[1:3]) < min(changes[-3:])


def test_more_filters_than_voxels_are_all_different() -> None:
    filters = cosine_filters(7, 2).flatten(1)
    assert len({tuple(f) for f in filters.tolist()}) == 7


def test_amplitudes_forget_the_sign_and_signed_channels_turn_with_it() -> None:
    filters = PatchFilters(10, 4, amplitude_fraction=0.4)
    images = torch.randn(3, 1, 8, 12)
    with torch.no_grad():
        there, turned = filters(images), filters(-images)
    assert there.shape == (3, 10, 2, 3)
    torch.testing.assert_close(turned[:, :6], -there[:, :6])
    torch.testing.assert_close(turned[:, 6:], there[:, 6:])


def test_amplitudes_of_noise_are_centred() -> None:
    filters = PatchFilters(8, 4, amplitude_fraction=1.0)
    noise = torch.randn(500, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert filters(noise).mean().abs() < 0.01


def test_a_region_that_fluctuates_together_has_the_greater_amplitude() -> None:
    filters = PatchFilters(2, 4, amplitude_fraction=1.0)
    generator = torch.Generator().manual_seed(3)
    together = torch.randn(500, 1, 1, 1, generator=generator).expand(500, 1, 4, 4)
    apart = torch.randn(500, 1, 4, 4, generator=generator)
    with torch.no_grad():
        assert filters(together)[:, 0].mean() > filters(apart)[:, 0].mean() + 1.0


def test_without_a_share_no_channel_is_an_amplitude() -> None:
    filters = PatchFilters(3, 2, amplitude_fraction=0.0)
    images = torch.randn(1, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(filters(-images), -filters(images))
