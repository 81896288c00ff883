"""Whether every node of a cluster reaches the stores of a study.

Credentials and endpoint are each node's own: one that lacks them would fail its trials one after
the other, or write to another store of the same name. Each node reads a mark that this process
wrote, and writes one. Not here: who asks the nodes (``shared_storage``).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from spectrum.errors import StorageError
from spectrum.storage import OF_COMMAND, ObjectStore, Patience

__all__ = ["StoreMarks", "marked", "reach"]

SETTINGS: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
"""By which a machine knows a store and is known there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMarks:
    """What the study's driver wrote to its stores, and which settings it has; plain values."""

    addresses: tuple[str, ...]
    name: str
    settings: tuple[str, ...]


@contextmanager
def marked(addresses: Sequence[str]) -> Iterator[StoreMarks]:
    """Write a mark to each store, which goes in the end.

    Raises
    ------
    StorageError
        This machine cannot write there.
    """
    name = f".seen-{uuid.uuid4().hex[:12]}"
    stores = [ObjectStore(address, patience=OF_COMMAND) for address in addresses]
    settings = tuple(setting for setting in SETTINGS if os.environ.get(setting))
    try:
        for store in stores:
            store.put(name, name.encode())
        yield StoreMarks(addresses=tuple(addresses), name=name, settings=settings)
    finally:
        for store in stores:
            # What made it fail is told; a mark that stays is one small object.
            with suppress(StorageError):
                store.with_patience(0.0).remove(name)


def reach(marks: StoreMarks, node_id: str, patience: Patience = OF_COMMAND) -> list[str]:
    """Use each store from a node; return what is wrong there.

    Parameters
    ----------
    node_id : of the node, for the names of what it writes
    patience : for how long each store may not answer
    """
    tried = (_try(address, marks.name, node_id, patience) for address in marks.addresses)
    # The first is enough: what is lacking is the same for all, and each may take a while to fail.
    problem = next(filter(None, tried), None)
    if problem is None:
        return []
    missing = [setting for setting in marks.settings if not os.environ.get(setting)]
    lacks = [f"lacks {', '.join(missing)}, set where the search began"] if missing else []
    return [*lacks, problem]


def _try(address: str, name: str, node_id: str, patience: Patience) -> str:
    own = f"{name}.{node_id}"
    try:
        store = ObjectStore(address, patience=patience)
        if store.get(name, max_bytes=len(name)) is None:
            return f"finds another store at {address}, without what was just written there"
        store.put(own, node_id.encode())
        store.remove(own)
    except StorageError as err:
        return f"cannot use {str(err).rstrip('.')}"
    return ""
