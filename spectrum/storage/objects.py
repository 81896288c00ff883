"""Whole contents by name in an object store; asked again for a while where the store is away.

The only importer of ``pyarrow.fs``, whose addresses and settings count: ``s3://bucket/folder`` and
``gs://bucket/folder``, credentials, region and ``AWS_ENDPOINT_URL`` from the environment or the
machine, ``file:///folder`` for a mounted disk.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from spectrum.errors import StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["ObjectStore", "Patience"]

Answer = TypeVar("Answer")

BLOCK_BYTES: Final = 8 * 2**20
"""Bytes read at a time; S3 takes parts of at least 5 MiB."""

MAX_WAIT_S: Final = 10.0
"""Seconds between two attempts, at most; they begin at half a second and double."""

HOPELESS: Final = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH"
    r"|INVALID_SIGNATURE|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|Permission denied"
    r"|Read-only file system|HTTP status 403|Bucket '[^']*' not found",
    re.IGNORECASE,
)
"""What asking again does not mend, in the words of Arrow, which has no classes for it."""

WRONG_PLACE: Final = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
"""The same of a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how long a store may be away, in seconds, and the clock by which that is told."""

    seconds: float = 600.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class ObjectStore:
    """Contents by name below one address.

    Parameters
    ----------
    address : such as ``s3://bucket/folder``
    patience : for how long a request is made again

    Raises
    ------
    StorageError
        By every method, where the store refuses, or does not answer within the patience.
    """

    def __init__(self, address: str, *, patience: Patience | None = None) -> None:
        self.address = address.rstrip("/")
        self._patience = patience or Patience()
        # Asked as well: the region of a bucket is looked up.
        self._system, self._root = self._asked(
            lambda: _opened(self.address), "it cannot be opened"
        )

    def under(self, name: str) -> ObjectStore:
        """Return the store of the contents whose names begin with ``name/``."""
        return self._like(f"{self.address}/{name}", f"{self._root}/{name}", self._patience)

    def with_patience(self, seconds: float) -> ObjectStore:
        """Return the same store, asked again for another time."""
        patience = Patience(
            seconds=seconds, clock=self._patience.clock, sleep=self._patience.sleep
        )
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
        """Return the first parts of all names that have several, sorted."""
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self._root, recursive=False, allow_not_found=True)
        found = self._asked(lambda: self._system.get_file_info(selector), "it cannot be listed")
        return sorted(info.base_name for info in found if info.type == FileType.Directory)

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
        other.address, other._root = address, root
        other._system, other._patience = self._system, patience
        return other

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

    def _asked(self, ask: Callable[[], Answer], fault: str) -> Answer:
        patience, wait_s = self._patience, 0.5
        until = patience.clock() + patience.seconds
        while True:
            try:
                return ask()
            except (FileNotFoundError, StorageError):
                raise
            except OSError as err:
                reason = _reason(err)
                if isinstance(err, WRONG_PLACE) or HOPELESS.search(reason):
                    raise StorageError(
                        f"{self.address}: {fault}: {reason}. Look at the address, and at what "
                        "this machine's credentials may do there."
                    ) from err
                if patience.clock() + wait_s > until:
                    raise StorageError(
                        f"{self.address}: {fault}{_for(patience.seconds)}: {reason}. See that "
                        "the store answers, and go on with the same command."
                    ) from err
            patience.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)


def _opened(address: str) -> tuple[FileSystem, str]:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    try:
        system, root = FileSystem.from_uri(address)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as err:
        raise StorageError(
            f"{address} is no address of a store: {_reason(err)}. Give one such as "
            "s3://bucket/folder, gs://bucket/folder or file:///folder."
        ) from err
    if not root.strip("/"):
        raise StorageError(f"{address} names no folder. Give one such as s3://bucket/folder.")
    return system, root.rstrip("/")


def _for(seconds: float) -> str:
    return f" for {seconds:g} s" if seconds else ""


def _reason(err: Exception) -> str:
    """Return the words of an error on one line, without what Arrow says twice."""
    return " ".join(str(err).partition("; Details:")[0].split())[:300].rstrip(".")
