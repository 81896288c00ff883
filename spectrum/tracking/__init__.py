"""Trials in Aim: the one doorway to aim, behind the protocol of ``spectrum.search.tracker``.

Importing this package imports no aim; the process that writes does (``follower``). Not here: the
truth, which is the study folder. Aim is a copy of it that can be made again at any time
(``show_study``).
"""

from spectrum.tracking.index import index_repo
from spectrum.tracking.run_map import num_missing
from spectrum.tracking.tracker import (
    AimTracker,
    Shown,
    repo_of_study,
    show_behind,
    show_study,
    told_repo,
)
from spectrum.tracking.ui import AimUi, example_queries, open_ui

__all__ = [
    "AimTracker",
    "AimUi",
    "Shown",
    "example_queries",
    "index_repo",
    "num_missing",
    "open_ui",
    "repo_of_study",
    "show_behind",
    "show_study",
    "told_repo",
]
