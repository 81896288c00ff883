"""Stored values in the unit of their recipe: each run's times its factor, in every mode alike.

Volumes are stored as float16, and a run whose values would leave its range is stored divided by a
factor. Slices are multiplied once they are float32 and on the device, sums of squares in double
precision, so that every mode computes the same bits. Not here: how the factor was chosen
(``spectrum.data``), and scales that training sets fit (``harmonising``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectrum.data.units import SequenceTable
from spectrum.training.levels import VolumeSum

__all__ = ["RecipeUnit", "factor_of"]


def factor_of(table: SequenceTable, run: int) -> float:
    """Return what a run's stored values are multiplied by."""
    return table.factor_of_run[run] if table.factor_of_run else 1.0


class RecipeUnit:
    """Puts slices and sums of the sequences of a table into the recipe's unit.

    Parameters
    ----------
    table : its factors are all 1 in most sets, where nothing is multiplied
    device : of the slices
    """

    def __init__(self, table: SequenceTable, device: torch.device) -> None:
        self._table = table
        self._factor_of_sequence: Tensor | None = None
        if any(factor_of(table, run) != 1.0 for run in table.used_runs):
            factors = [factor_of(table, run) for run in table.run_of_sequence.tolist()]
            self._factor_of_sequence = torch.tensor(factors, dtype=torch.float32, device=device)

    def of_slices(self, slices_BTSHW: Tensor, sequences: Tensor) -> Tensor:
        """Return the float32 slices of some sequences (B,) in the recipe's unit."""
        if self._factor_of_sequence is None:
            return slices_BTSHW
        factors = self._factor_of_sequence[sequences.to(self._factor_of_sequence.device)]
        return slices_BTSHW * factors[:, None, None, None, None]

    def of_sum(self, told: VolumeSum, run: int) -> VolumeSum:
        """Return the sum of a volume of a run in the recipe's unit, squared."""
        squares, num_voxels = told
        return squares * factor_of(self._table, run) ** 2, num_voxels
