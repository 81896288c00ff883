"""Whether a map means anything: three checks that a pretty picture can fail.

- *Deletion and insertion* (Petsiuk, Das & Saenko 2018): patches taken away in the order of the map
  must cost the class its probability sooner than in random order, and given back, restore it
  sooner.
- *Randomised weights* (Adebayo et al. 2018): a model that learned nothing must give another map.
- *A region*, where one is known: how well the map tells its voxels from those of the rest of the
  brain.

Not here: how maps are made (``spectrum.training.explaining``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectrum.training.explaining import Explained

__all__ = ["Faithfulness", "FaithfulnessMeter", "rank_correlation", "region_auc"]

SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of the patches that are taken away; dense where a good order already shows."""

RANDOM_ORDERS: Final = 3
"""Random orders beside each map's own."""

MAX_SEQUENCES: Final = 48
"""Sequences measured; each takes 60 passes of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faithfulness:
    """Mean probability of the true class over the curve, in the map's order and at random.

    ``deletion`` should be lower than at random, ``insertion`` higher. ``share`` of the sequences
    have their gap between insertion and deletion above that at random.
    """

    deletion: float
    deletion_random: float
    insertion: float
    insertion_random: float
    share: float
    num_sequences: int

    @property
    def passed(self) -> bool:
        """Whether both curves are on the right side, and so for most sequences."""
        is_right = self.deletion < self.deletion_random and self.insertion > self.insertion_random
        return is_right and self.share > 0.5

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        names = ("deletion", "deletion_random", "insertion", "insertion_random", "share")
        numbers = {name: round(getattr(self, name), 4) for name in names}
        return {**numbers, "num_sequences": self.num_sequences, "passed": self.passed}


class FaithfulnessMeter:
    """Measures deletion and insertion on some of the explained sequences.

    Parameters
    ----------
    rng : of the random orders
    every : of so many batches one is measured, >= 1
    """

    def __init__(self, rng: np.random.Generator, *, every: int = 1) -> None:
        self._rng = rng
        self._every = every
        self._num_batches = 0
        self._rows: list[NDArray[np.float64]] = []

    def add(self, batch: Explained) -> None:
        """Measure the sequences of a batch, where it is its turn."""
        is_due = self._num_batches % self._every == 0
        self._num_batches += 1
        if is_due and sum(map(len, self._rows)) < MAX_SEQUENCES:
            self._rows.append(_curves(batch, self._rng))

    def result(self) -> Faithfulness:
        """Return the means over all that was measured."""
        rows_N4 = np.concatenate(self._rows)
        deletion, deletion_random, insertion, insertion_random = rows_N4.mean(axis=0).tolist()
        gaps = rows_N4[:, 2] - rows_N4[:, 0] > rows_N4[:, 3] - rows_N4[:, 1]
        return Faithfulness(
            deletion=deletion,
            deletion_random=deletion_random,
            insertion=insertion,
            insertion_random=insertion_random,
            share=float(gaps.mean()),
            num_sequences=len(rows_N4),
        )


def _curves(batch: Explained, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return deletion, the same at random, insertion, the same at random, of each sequence."""
    cells_SHW, num_cells = _cells(batch)
    own_BC = _cell_sums(batch.maps_BSHW, cells_SHW, num_cells)
    used_BC = _cell_sums(_magnitudes(batch), cells_SHW, num_cells) > 0
    own = _areas(batch, np.where(used_BC, own_BC, -np.inf), used_BC, cells_SHW)
    drawn = [
        _areas(batch, np.where(used_BC, rng.random(used_BC.shape), -np.inf), used_BC, cells_SHW)
        for _ in range(RANDOM_ORDERS)
    ]
    at_random = np.mean(drawn, axis=0)
    return np.stack([own[0], at_random[0], own[1], at_random[1]], axis=1)


def _cells(batch: Explained) -> tuple[NDArray[np.int64], int]:
    """Return the number of the patch of each voxel (S, H, W), and how many patches there are."""
    num_slices, height, width = batch.maps_BSHW.shape[1:]
    patch_h, patch_w = batch.network.encoder.patch_embed.patch_size
    rows, columns = batch.network.encoder.patch_embed.grid_size
    s, h, w = np.ix_(np.arange(num_slices), np.arange(height), np.arange(width))
    return (s * rows + h // patch_h) * columns + w // patch_w, num_slices * rows * columns


def _magnitudes(batch: Explained) -> NDArray[np.float32]:
    return batch.slices_BTSHW.abs().sum(dim=1).cpu().numpy()


def _cell_sums(
    values_BSHW: NDArray[np.float32], cells_SHW: NDArray[np.int64], num_cells: int
) -> NDArray[np.float64]:
    flat = cells_SHW.ravel()
    return np.stack([np.bincount(flat, v.ravel(), minlength=num_cells) for v in values_BSHW])


def _areas(
    batch: Explained,
    order_BC: NDArray[np.float64],
    used_BC: NDArray[np.bool_],
    cells_SHW: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean probability of the true class over deletion, and over insertion, (B,)."""
    rank_BC = np.argsort(np.argsort(-order_BC, axis=1, kind="stable"), axis=1)
    counts_B = used_BC.sum(axis=1)
    deletion, insertion = [], []
    for share in SHARES:
        first_BC = rank_BC < np.round(share * counts_B)[:, None]
        keep = torch.from_numpy(~first_BC[:, cells_SHW]).to(batch.slices_BTSHW.device)[:, None]
        deletion.append(_probability(batch, batch.slices_BTSHW * keep))
        insertion.append(_probability(batch, batch.slices_BTSHW * ~keep))
    return np.mean(deletion, axis=0), np.mean(insertion, axis=0)


def _probability(batch: Explained, slices_BTSHW: Tensor) -> NDArray[np.float64]:
    """Return the probability of each sequence's own class among the scored ones."""
    with torch.no_grad():
        logits_BK = batch.network(slices_BTSHW, **batch.inputs)
    scored = torch.full_like(logits_BK, float("-inf"))
    scored[:, list(batch.classes)] = logits_BK[:, list(batch.classes)]
    chosen = scored.double().softmax(dim=1).gather(1, batch.targets_B[:, None])
    own: NDArray[np.float64] = chosen[:, 0].cpu().numpy()
    return own


def rank_correlation(
    maps: Mapping[str, NDArray[Any]],
    others: Sequence[Mapping[str, NDArray[Any]]],
    inside_XYZ: NDArray[np.bool_],
) -> float:
    """Return the mean of Spearman's |rho| between maps of the same class, over the brain's voxels.

    A map of one value correlates with none: 0.
    """
    from scipy.stats import spearmanr

    found = [
        abs(float(np.nan_to_num(spearmanr(maps[name][inside_XYZ], other[name][inside_XYZ])[0])))
        for other in others
        for name in maps
        if np.ptp(maps[name][inside_XYZ]) > 0 and np.ptp(other[name][inside_XYZ]) > 0
    ]
    return float(np.mean(found)) if found else 0.0


def region_auc(
    map_XYZ: NDArray[Any], region_XYZ: NDArray[np.bool_], inside_XYZ: NDArray[np.bool_]
) -> float | None:
    """Return how well a map tells a region from the rest of the brain; 0.5 by chance.

    None where the brain has no voxel of the region, or no other.
    """
    from sklearn.metrics import roc_auc_score

    truth = region_XYZ[inside_XYZ]
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, map_XYZ[inside_XYZ]))
