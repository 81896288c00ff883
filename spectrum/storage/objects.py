"""Whole contents by name in an object store.

The only importer of ``pyarrow.fs``, whose addresses and settings count: ``s3://bucket/folder`` and
``gs://bucket/folder``, credentials, region and ``AWS_ENDPOINT_URL`` from the environment or the
machine, ``file:///folder`` for a mounted disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from spectrum.errors import StorageError
from spectrum.storage.asking import Contact, Patience, ask, contact_of, endpoint, reason_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["ObjectStore"]

Answer = TypeVar("Answer")

BLOCK_BYTES: Final = 8 * 2**20
"""Bytes read at a time; S3 takes parts of at least 5 MiB."""

NUM_ATTEMPTS: Final = 3
"""Requests that Arrow itself makes before it tells of a failure; asking again is done here."""

AT_FIRST: Final = 1
"""The same before the store has answered: one that takes connections alone costs 3 s each time."""

TO_GIVE_UP_S: Final = 5
"""The same in seconds for Google's client, which would ask for 15 minutes."""


class ObjectStore:
    """Contents by name below one address.

    Parameters
    ----------
    address : such as ``s3://bucket/folder``
    patience : for how long a request is made again; ten minutes where None

    Raises
    ------
    StorageError
        By every method, where the store refuses, or does not answer within the patience.
    """

    def __init__(self, address: str, *, patience: Patience | None = None) -> None:
        self.address = address.rstrip("/")
        self._patience = patience or Patience()
        self._contact = contact_of(self.address)
        # Asked as well: the region of a bucket is looked up. Nobody need have answered then.
        opening = Contact(self._contact.address, has_answered=self._contact.has_answered)
        opened = ask(
            lambda: _opened(self.address),
            f"{self.address}: it cannot be opened",
            patience=self._patience,
            contact=opening,
        )
        self._systems, self._root = opened

    def under(self, name: str) -> ObjectStore:
        """Return the store of the contents whose names begin with ``name/``."""
        return self._like(f"{self.address}/{name}", f"{self._root}/{name}", self._patience)

    def with_patience(self, seconds: float) -> ObjectStore:
        """Return the same store, asked again for another time."""
        patience = replace(self._patience, seconds=seconds)
        return self._like(self.address, self._root, patience)

    def put(self, name: str, content: bytes) -> None:
        """Write a content; it is there whole or as it was before."""

        def write() -> None:
            self._make_room(name)
            with self._system.open_output_stream(self._path(name)) as stream:
                stream.write(content)

        self._asked(write, f"{name} cannot be written")

    def put_file(self, name: str, path: Path) -> str:
        """Write a file's content; return the SHA-256 of what was read."""

        def write() -> str:
            self._make_room(name)
            digest = hashlib.sha256()
            with path.open("rb") as file:
                content = file.read(BLOCK_BYTES)
                # Opened when there is something to write: what fails before leaves no object.
                with self._system.open_output_stream(self._path(name)) as stream:
                    while content:
                        digest.update(content)
                        stream.write(content)
                        content = file.read(BLOCK_BYTES)
            return digest.hexdigest()

        return self._asked(write, f"{name} cannot be written")

    def get(self, name: str, *, max_bytes: int) -> bytes | None:
        """Return a content, or None where there is none; one that is larger is refused."""

        def read() -> bytes | None:
            content = b"".join(self._blocks(name, max_bytes))
            if len(content) > max_bytes:
                raise StorageError(
                    f"{self.address}/{name} is larger than {max_bytes} bytes, so it is not what "
                    "Spectrum wrote there. Look at the address."
                )
            return content

        try:
            return self._asked(read, f"{name} cannot be read")
        except FileNotFoundError:
            return None

    def get_file(self, name: str, path: Path, *, max_bytes: int) -> str | None:
        """Write a content to a file; return its SHA-256, or None where there is no content.

        No more than ``max_bytes`` and a block are written.
        """

        def read() -> str:
            digest = hashlib.sha256()
            with path.open("wb") as file:
                for block in self._blocks(name, max_bytes):
                    digest.update(block)
                    file.write(block)
            return digest.hexdigest()

        try:
            return self._asked(read, f"{name} cannot be read")
        except FileNotFoundError:
            return None

    def names(self, below: str = "") -> list[str]:
        """Return the names that begin with ``below/``, sorted; all without it."""
        from pyarrow.fs import FileSelector, FileType

        root = f"{self._root}/{below}" if below else self._root
        selector = FileSelector(root, recursive=True, allow_not_found=True)
        found = self._asked(lambda: self._system.get_file_info(selector), "it cannot be listed")
        return sorted(
            info.path.removeprefix(f"{self._root}/")
            for info in found
            if info.type == FileType.File
        )

    def folders(self) -> list[str]:
        """Return the first parts of all names that have several, sorted.

        Not those that begin with a dot: no study and no set does, and a bucket may hold "..".
        """
        from pyarrow.fs import FileSelector, FileType

        # Strictly: else a bucket that is not there is one that holds nothing.
        selector = FileSelector(self._root, recursive=False)
        try:
            found = self._asked(
                lambda: self._system.get_file_info(selector), "it cannot be listed"
            )
        except FileNotFoundError:
            return []
        names = (info.base_name for info in found if info.type == FileType.Directory)
        return sorted(name for name in names if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove a content; do nothing where there is none."""
        try:
            self._asked(
                lambda: self._system.delete_file(self._path(name)), f"{name} cannot be removed"
            )
        except FileNotFoundError:
            return

    def _like(self, address: str, root: str, patience: Patience) -> ObjectStore:
        other = object.__new__(ObjectStore)
        other.address, other._root, other._patience = address, root, patience
        other._systems, other._contact = self._systems, self._contact
        return other

    @property
    def _system(self) -> FileSystem:
        at_first, later = self._systems
        return later if self._contact.has_answered else at_first

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_room(self, name: str) -> None:
        """Make the folder of a name where the store is a disk; others have no folders."""
        if self._system.type_name == "local":
            Path(self._path(name)).parent.mkdir(parents=True, exist_ok=True)

    def _blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
        with self._system.open_input_stream(self._path(name)) as stream:
            num_bytes = 0
            while num_bytes <= max_bytes and (block := stream.read(BLOCK_BYTES)):
                num_bytes += len(block)
                yield block

    def _asked(self, call: Callable[[], Answer], fault: str) -> Answer:
        told = f"{self.address}: {fault}"
        return ask(call, told, patience=self._patience, contact=self._contact)


def _opened(address: str) -> tuple[tuple[FileSystem, FileSystem], str]:
    """Return what asks a store at first and what asks it later, and the folder there."""
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    is_google = address.startswith(("gs://", "gcs://"))
    setting = f"?retry_limit_seconds={TO_GIVE_UP_S}" if is_google else ""
    try:
        system, root = FileSystem.from_uri(f"{address}{setting}")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as err:
        raise StorageError(
            f"{address} is no address of a store: {reason_of(err)}. Give one such as "
            "s3://bucket/folder, gs://bucket/folder or file:///folder."
        ) from err
    if not root.strip("/"):
        raise StorageError(f"{address} names no folder. Give one such as s3://bucket/folder.")
    if system.type_name != "s3":
        return (system, system), root.rstrip("/")
    return (_s3(system.region, AT_FIRST), _s3(system.region, NUM_ATTEMPTS)), root.rstrip("/")


def _s3(region: str, num_attempts: int) -> FileSystem:
    """Return a client that soon tells of a failure; Arrow's own takes up to 99 s for it."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        region=region,
        endpoint_override=endpoint(),
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=num_attempts),
    )
