"""Runs with numbers of their acquisition, wherever measured: all that a floor reads.

A shard set is one (``ShardSet`` fits these protocols as it is); a BIDS tree with a table of image
quality numbers is another (``tables``). Not here: which of the numbers may stand in a floor
(``predictors``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import numpy as np

    from spectrum.data.runs import Event
    from spectrum.entities import RunKey

__all__ = ["MeasuredManifest", "MeasuredRun", "MeasuredRuns"]


class MeasuredRun(Protocol):
    """One run: numbers of ``data.quality`` by name, None where unknown."""

    @property
    def key(self) -> RunKey:
        """Which BIDS run this is."""

    @property
    def tr_s(self) -> float:
        """Seconds between the starts of two volumes."""

    @property
    def num_volumes(self) -> int:
        """Volumes of the run."""

    @property
    def quality(self) -> Mapping[str, float | None]:
        """Numbers of the run as scanned."""

    @property
    def events(self) -> Sequence[Event]:
        """Events; onsets count from the first volume, in seconds."""

    @property
    def person(self) -> str:
        """First name of a person with several; empty for all others."""

    @property
    def voxels_sha256(self) -> str:
        """Digest of the voxels; empty where unknown."""


class MeasuredManifest(Protocol):
    """The runs, in the order of their keys."""

    @property
    def runs(self) -> Sequence[MeasuredRun]:
        """All runs."""


class MeasuredRuns(Protocol):
    """Runs, and the numbers of their volumes where there are any."""

    @property
    def manifest(self) -> MeasuredManifest:
        """Which runs there are."""

    def read_volume_quality(self, run: Any) -> Mapping[str, NDArray[np.float64]]:
        """Return numbers of each volume by name, (V,); empty where none were measured."""
