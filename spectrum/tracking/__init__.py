"""Trials in Aim: the one doorway to aim, behind the protocol of ``spectrum.search.tracker``.

Importing this package imports no aim; the first use does. Not here: the truth, which is the study
folder. Aim is a copy of it that can be made again at any time (``AimTracker.sync``).
"""

from spectrum.tracking.index import index_repo
from spectrum.tracking.tracker import AimTracker
from spectrum.tracking.ui import AimUi, example_queries, open_ui

__all__ = ["AimTracker", "AimUi", "example_queries", "index_repo", "open_ui"]
