"""What a search would find in a store: whether it can be read, and the study's state there.

Nothing is written there. Not here: the plan of the search itself (``plan``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectrum.errors import SearchError, StorageError
from spectrum.search.stored import fetch_study
from spectrum.search.study_list import overview
from spectrum.search.view import view_study
from spectrum.storage import OF_COMMAND, Lease, ObjectStore, address_of

__all__ = ["plan_storage"]


def plan_storage(shards_root: Path, study: Path) -> list[dict[str, Any]]:
    """Return what is at the addresses of a search, whose study and shards may have one each.

    Returns
    -------
    places : one for each address; empty where all is on disks of this machine
        ``problem`` is why it cannot be read, or None; ``study``, at the study's address, what
        ``overview`` tells of it and ``searched_by``, or None where there is none.
    """
    places = []
    if (address := address_of(study)) is not None:
        places.append(_study_at(address, study))
    if (address := address_of(shards_root)) is not None:
        places.append(_readable(address))
    return places


def _readable(address: str) -> dict[str, Any]:
    """List a folder: it tells a bucket that is not there, and what may not be read."""
    try:
        folders = ObjectStore(address, patience=OF_COMMAND).folders()
    except StorageError as err:
        return {"address": address, "problem": str(err)}
    return {"address": address, "problem": None, "num_folders": len(folders)}


def _study_at(address: str, folder: Path) -> dict[str, Any]:
    told = _readable(address)
    if told["problem"] is not None:
        return told
    found: dict[str, Any] = {"address": address, "problem": None, "study": None}
    try:
        if fetch_study(folder, address, checkpoints=False):
            lease = Lease(ObjectStore(address, patience=OF_COMMAND), place=str(folder.resolve()))
            found["study"] = {**overview(view_study(folder)), "searched_by": lease.holder()}
    except (StorageError, SearchError) as err:
        found["problem"] = str(err)
    return found
