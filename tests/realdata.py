"""Where the real BIDS trees and labelled images lie, if they are there."""

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "realdata"

REALDATA = Path(os.environ.get("SPECTRUM_REALDATA", _BESIDE_THE_CHECKOUT))
FOUR = tuple(REALDATA / name for name in ("ds000002", "ds000011", "ds000017", "ds000052"))

needs_trees = pytest.mark.skipif(
    not all(root.is_dir() for root in FOUR),
    reason="SPECTRUM_REALDATA does not hold the trees of the four data sets",
)
needs_bold = pytest.mark.skipif(
    not (REALDATA / "bold" / "haxby2001-1slice").is_dir(),
    reason="SPECTRUM_REALDATA does not hold labelled BOLD",
)
