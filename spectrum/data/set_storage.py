"""Shard sets in an object store: fetched where this machine lacks a whole one, stored when made.

A set is never changed, so it has one generation. Not here: what a store is
(``spectrum.storage``).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from spectrum.data.manifest import MANIFEST_NAME, read_manifest
from spectrum.errors import ShardError
from spectrum.owners import aside_path, folder_written_aside
from spectrum.storage import Lease, Mirror, ObjectStore, Patience, address_of
from spectrum.storage.generations import BOOK_NAME, StoredFile, read_book, stored_file

__all__ = ["SetStorage", "discard", "is_whole"]

logger = logging.getLogger(__name__)

MAKING: Final = ".making"
"""Folder of the leases of those who make sets, one a recipe."""

PATIENT: Final = Patience()


class SetStorage:
    """The sets below an address.

    Parameters
    ----------
    address : of the folder of all shard sets; asked when something has to be read or stored
    place : folder of this machine where sets are made
    patience : for how long the store may be away
    """

    def __init__(self, address: str, place: Path, patience: Patience) -> None:
        self._address, self._place, self._patience = address, place, patience

    @cached_property
    def _store(self) -> ObjectStore:
        # Opening one looks up its bucket's region, which a store that is away does not tell.
        return ObjectStore(self._address, patience=self._patience)

    @classmethod
    def of(cls, shards_root: Path, patience: Patience = PATIENT) -> SetStorage | None:
        """Return where the sets of a folder are stored; None where they are here alone."""
        address = address_of(shards_root)
        return None if address is None else cls(address, shards_root, patience)

    def making(self, recipe_name: str) -> AbstractContextManager[None]:
        """Hold the right to make sets of a recipe in the whole cluster; wait for who has it."""
        store = self._store.under(f"{MAKING}/{recipe_name}")
        return Lease(store, place=str(self._place)).held(waits=True)

    def has_any(self, recipe_name: str) -> bool:
        """Return whether a set of a recipe is stored, whatever its inputs."""
        return any(name.startswith(f"{recipe_name}-") for name in self._store.folders())

    def fetch(self, folder: Path) -> bool:
        """Fetch a set to its folder, where a damaged one may be; return whether it is stored."""
        mirror = self._mirror(folder.name)
        if not mirror.has_latest:
            return False
        with folder_written_aside(folder) as aside:
            found = self._mirror(folder.name, aside).pull()
            if folder.exists():
                logger.warning("The damaged copy in %s is fetched anew.", folder)
                discard(folder)
        return found

    def fetch_by_content(self, content_hash: str) -> Path | None:
        """Fetch a set with a content hash; return its folder, or None where none is stored."""
        for name in self._store.folders():
            folder = self._place / name
            is_wanted = not (folder.exists() and is_whole(folder))
            if is_wanted and self._holds(name, content_hash) and self.fetch(folder):
                return folder
        return None

    def _holds(self, name: str, content_hash: str) -> bool:
        with tempfile.TemporaryDirectory() as aside:
            manifest = Path(aside) / MANIFEST_NAME
            if not self._mirror(name, manifest.parent).fetch_one(MANIFEST_NAME, manifest):
                return False
            # One of another version is not the one.
            with suppress(ShardError):
                return read_manifest(manifest.parent).content_hash == content_hash
        return False

    def keep(self, folder: Path) -> None:
        """Store a set that is here; ask nothing where this machine knows that it is stored."""
        if read_book(folder / BOOK_NAME).generation:
            return
        mirror = self._mirror(folder.name, folder)
        if not mirror.has_latest:
            mirror.push()

    def _mirror(self, name: str, folder: Path | None = None) -> Mirror:
        # What stands before the name is of this machine: when a set was used last.
        return Mirror(
            folder or self._place / name,
            self._store.under(name),
            skips=lambda path: path.startswith("."),
        )


def is_whole(folder: Path) -> bool:
    """Return whether the files of a set are as they were stored or fetched.

    Their sizes are compared, and the content of those alone that were written since. A set that
    was neither stored nor fetched has nothing to be compared with, and counts as whole. One that
    another process evicts meanwhile does not.
    """
    try:
        return _is_as_stored(folder)
    except FileNotFoundError:
        return False


def _is_as_stored(folder: Path) -> bool:
    book = folder / BOOK_NAME
    stored = read_book(book)
    if not stored.generation:
        return True
    since_ns = book.stat().st_mtime_ns
    paths = {folder / name: one for name, one in stored.files.items()}
    if not all(_has_size(path, one) for path, one in paths.items()):
        return False
    written = [path for path in paths if path.stat().st_mtime_ns >= since_ns]
    is_same = all(stored_file(path) == paths[path] for path in written)
    if written and is_same:
        # So that they are not read again.
        book.touch()
    return is_same


def discard(folder: Path) -> None:
    """Remove a damaged set; who reads it goes on with the files that are open."""
    aside = aside_path(folder)
    with suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _has_size(path: Path, stored: StoredFile) -> bool:
    return path.is_file() and path.stat().st_size == stored.num_bytes
