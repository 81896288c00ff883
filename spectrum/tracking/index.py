"""Aim finds runs by parameter only once they are in its index; this puts them there.

Aim itself indexes only while its UI runs. A UI that runs at the same time holds the index for
short moments; it indexes the same runs, so giving way to it loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["count_runs", "index_repo", "index_runs"]

NUM_ATTEMPTS = 10
PAUSE_S = 0.2


def index_repo(repo: Path) -> int:
    """Index every run of a repository whose files have changed since it was indexed.

    Parameters
    ----------
    repo : folder that holds ``.aim``

    Returns
    -------
    num_indexed : count
        0 where there is no repository, or nothing was out of date.
    """
    if not (repo / ".aim").is_dir():
        return 0
    from aim import Repo

    return index_runs(Repo.from_path(str(repo)), None)


def count_runs(repo: Path) -> tuple[int, int]:
    """Count the runs of a repository, and those whose files have changed since it was indexed.

    Parameters
    ----------
    repo : folder that holds ``.aim``
    """
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    opened = Repo.from_path(str(repo))
    manager = RepoIndexManager.get_index_manager(opened)
    num_runs = sum(path.is_dir() for path in manager.chunks_dir.iterdir())
    return num_runs, len(_outdated(opened, manager))


def index_runs(repo: Any, hashes: Iterable[str] | None) -> int:
    """Index the given runs of an open Aim repository, or with None those that are out of date."""
    from aim.sdk.index_manager import RepoIndexManager

    manager = RepoIndexManager.get_index_manager(repo)
    wanted = _outdated(repo, manager) if hashes is None else tuple(hashes)
    num_indexed = sum(_index_run(manager, run_hash) for run_hash in wanted)
    repo.container_pool.clear()
    return num_indexed


def _outdated(repo: Any, manager: Any) -> tuple[str, ...]:
    repo.container_pool.clear()
    index = repo.request_tree("meta", read_only=True)
    return tuple(
        path.name
        for path in sorted(manager.chunks_dir.iterdir())
        if path.is_dir() and manager._is_run_index_outdated(path.name, index)
    )


def _index_run(manager: Any, run_hash: str) -> bool:
    for attempt in range(NUM_ATTEMPTS):
        try:
            return bool(manager.index(run_hash))
        except Exception as err:
            if "lock" not in str(err).lower():
                raise
            if attempt + 1 < NUM_ATTEMPTS:
                time.sleep(PAUSE_S)
    return False
