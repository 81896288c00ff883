from __future__ import annotations

import torch

from spectrum.training.mixing import draw_mixing

BATCH = torch.tensor([12, 3, 40, 17, 22])


def test_partners_are_the_batch_in_another_order_and_the_larger_share_is_a_sequences_own() -> None:
    mixing = draw_mixing(BATCH, alpha=0.4, seed=3, batch_index=1)
    assert sorted(mixing.partners.tolist()) == sorted(BATCH.tolist())
    assert bool((mixing.share_B >= 0.5).all() and (mixing.share_B <= 1.0).all())


def test_each_batch_is_mixed_in_its_own_way_and_the_same_way_again() -> None:
    one, again, other = (draw_mixing(BATCH, alpha=0.4, seed=3, batch_index=i) for i in (1, 1, 2))
    assert torch.equal(one.share_B, again.share_B)
    assert not torch.equal(one.share_B, other.share_B)


def test_slices_are_mixed_by_the_share() -> None:
    mixing = draw_mixing(BATCH, alpha=1.0, seed=3, batch_index=0)
    ones, threes = torch.ones(5, 3, 2, 7, 9), torch.full((5, 3, 2, 7, 9), 3.0)
    mixed = mixing.mix(torch.cat([ones, threes]))
    torch.testing.assert_close(mixed[:, 0, 0, 0, 0], 3.0 - 2.0 * mixing.share_B)


def test_an_empty_part_is_mixed_to_nothing() -> None:
    mixing = draw_mixing(BATCH, alpha=1.0, seed=3, batch_index=0).part(slice(2, 2))
    assert mixing.mix(torch.ones(0, 3, 2, 7, 9)).shape == (0, 3, 2, 7, 9)
