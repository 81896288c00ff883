"""A folder and its generations in a store: what is pushed is pulled whole, or not at all.

A generation is one object, ``latest.json``, that names each file with its digest and the object
that holds it; an object is named by path and digest and never written again. ``latest.json`` is
written last, so a kill or a store that goes away leaves the generation before. Who pushes has to
have pushed or pulled the last generation: of two machines that write, the second is refused
instead of undoing the first's work.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from spectrum.errors import StorageError
from spectrum.owners import written_aside
from spectrum.storage.generations import (
    BOOK_NAME,
    FILES,
    Look,
    StoredFile,
    digest_of,
    generation_in,
    is_of_mirror,
    look_at,
    read_book,
    stored_file,
    stored_of,
    told_generation,
    write_book,
)
from spectrum.storage.objects import ObjectStore

__all__ = ["LATEST_NAME", "Mirror"]

LATEST_NAME: Final = "latest.json"
NUM_AT_ONCE: Final = 8
"""Objects that travel at a time: a small one costs a round trip, not bandwidth."""

MAX_LATEST_BYTES: Final = 2**28
"""A generation is never larger: a file takes some 200 bytes."""

SETTLED_NS: Final = 2 * 10**9
"""A file that was written more lately may be written again without another time of change."""

NUM_LOOKS: Final = 50
"""Attempts to read files that belong together without one being written meanwhile."""

NUM_ATTEMPTS: Final = 5
"""Generations that a reader begins with before it gives up on one that stays."""

Given = TypeVar("Given")
Found = TypeVar("Found")


class _MovedError(Exception):
    """What was read is not what it was when it was looked at."""


class Mirror:
    """A folder of this machine and its generations in a store.

    Parameters
    ----------
    folder : made when pulled into
    store : holds the generations, and nothing else
    skips : tells of a path, relative and with slashes, whether it is of this machine alone
    together : files that say something of each other, read at a moment when none is written; each
        may speak of the others and of all that is written before it
    book : file for what this machine knows; in the folder where None
    allowed : raises StorageError where this process may not push any more

    Attributes
    ----------
    generation : the last one that this machine pushed or pulled; 0 before the first
    """

    def __init__(
        self,
        folder: Path,
        store: ObjectStore,
        *,
        skips: Callable[[str], bool] = lambda path: False,
        together: Sequence[str] = (),
        book: Path | None = None,
        allowed: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.store = folder, store
        self._allowed = allowed
        self._skips, self._together = skips, tuple(together)
        self._book_path = book or folder / BOOK_NAME
        self._book = read_book(self._book_path)

    @property
    def generation(self) -> int:
        """The last generation that this machine pushed or pulled."""
        return self._book.generation

    @property
    def is_pushed(self) -> bool:
        """Whether the folder is as it was in the last generation that this machine knows."""
        return self._book.generation > 0 and not self.changed()

    def changed(self) -> set[str]:
        """Return the files that are not as in the last generation that this machine knows."""
        files, known = self._scanned()[0], self._book.files
        return {path for path in {*files, *known} if files.get(path) != known.get(path)}

    def holds(self, path: str) -> bool:
        """Return whether the last generation in the store has a file."""
        latest = self._latest()
        return latest is not None and path in latest[1]

    @property
    def has_latest(self) -> bool:
        """Whether the store holds a generation."""
        return self._latest()[0] > 0

    def push(self, *, anew: bool = False) -> bool:
        """Make the folder the next generation; return whether there was anything to push.

        Parameters
        ----------
        anew : whether the folder counts whatever another machine pushed

        Raises
        ------
        StorageError
            Another machine pushed since; or the store's.
        """
        files, contents = self._scanned()
        known = self._book
        if anew:
            known.generation, known.files = self._latest()
        # A folder that never had a file is none in the store either.
        if files == known.files and (known.generation or not files):
            return False
        self._refuse_foreign()
        had = {stored.object_of(path) for path, stored in known.files.items()}
        new = [path for path, stored in files.items() if stored.object_of(path) not in had]
        self._upload({path: files[path] for path in new}, contents)
        # Looked at again: uploads take a while, in which another may have pushed.
        self._refuse_foreign()
        self._publish(files)
        keeps = {stored.object_of(path) for path, stored in files.items()}
        _at_once(self.store.remove, sorted(had - keeps))
        return True

    def pull(self) -> bool:
        """Make the folder what the last generation is; return whether there is any.

        What is only here goes, but for what is skipped: ask ``is_pushed`` before.
        """
        for _ in range(NUM_ATTEMPTS):
            latest = self._latest()
            if not latest[0]:
                return False
            try:
                self._fetch(latest[1])
            except _MovedError:
                continue
            self._forget_others(latest[1])
            self._know(*latest)
            write_book(self._book_path, self._book)
            return True
        raise StorageError(
            f"{self.store.address} lacks objects that its {LATEST_NAME} names, or has other "
            "content there. Objects were removed or damaged: restore them from a backup."
        )

    def fetch_one(self, path: str, to: Path) -> bool:
        """Write one file of the last generation somewhere; return whether it has the file."""
        for _ in range(NUM_ATTEMPTS):
            stored = self._latest()[1].get(path)
            if stored is None:
                return False
            try:
                self._fetch_to(to, path, stored)
            except _MovedError:
                continue
            return True
        raise StorageError(f"{self.store.address} lacks {path}, which its {LATEST_NAME} names.")

    def catch_up(self, *, yields: bool = False) -> bool:
        """Pull where another machine pushed since; return whether the folder was changed.

        Parameters
        ----------
        yields : whether changes of the folder's own are given up then

        Raises
        ------
        StorageError
            The folder has changes of its own too, so that one of the two would be lost.
        """
        latest = self._latest()
        if self._knows(*latest):
            return False
        if not latest[0]:
            return self._begin_anew(yields=yields)
        if not yields and self.folder.is_dir() and self._scanned()[0] and not self.is_pushed:
            raise StorageError(
                f"{self.folder} holds work that was never stored, and {self.store.address} "
                f"generation {latest[0]} of another machine, where this one knows "
                f"{self._book.generation}. Go on there; or move {self.folder} away and go on here "
                "from what is stored."
            )
        return self.pull()

    def sweep(self) -> int:
        """Remove objects that no generation names, left by a kill; return how many.

        For who alone writes: another's next generation may be on its way.
        """
        named = {stored.object_of(path) for path, stored in self._book.files.items()}
        lost = [name for name in self.store.names(FILES) if name not in named]
        _at_once(self.store.remove, lost)
        return len(lost)

    def _scanned(self) -> tuple[dict[str, StoredFile], dict[str, bytes]]:
        """Return the files of the folder, and the contents of those that are read together.

        These are read first: what a line of theirs speaks of was written before it.
        """
        contents = self._read_together()
        files = {path: stored_of(content) for path, content in contents.items()}
        for path in self._paths():
            if path not in self._together:
                # What was removed, or renamed to its final name, since it was listed is not there.
                with suppress(FileNotFoundError):
                    files[path] = self._look_at(path)
        self._book.seen = {p: seen for p, seen in self._book.seen.items() if p in files}
        return files, contents

    def _look_at(self, path: str) -> StoredFile:
        look = look_at(self.folder / path)
        seen = self._book.seen.get(path)
        if seen is not None and seen[0] == look:
            return seen[1]
        stored = stored_file(self.folder / path)
        if time.time_ns() - look[0] > SETTLED_NS:
            self._book.seen[path] = (look, stored)
        return stored

    def _paths(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        found = (
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
        return sorted(path for path in found if not is_of_mirror(path) and not self._skips(path))

    def _read_together(self) -> dict[str, bytes]:
        paths = [self.folder / name for name in self._together]
        for _ in range(NUM_LOOKS):
            before = _looks_of(paths)
            contents = {
                name: path.read_bytes()
                for name, path in zip(self._together, paths, strict=True)
                if path.is_file()
            }
            if _looks_of(paths) == before:
                return contents
        raise StorageError(
            f"{self.folder}: {', '.join(self._together)} are written too often to be read "
            "together. They will be stored at another time."
        )

    def _upload(self, files: Mapping[str, StoredFile], contents: Mapping[str, bytes]) -> None:
        def send(path: str) -> bool:
            name = files[path].object_of(path)
            if path in contents:
                self.store.put(name, contents[path])
                return True
            try:
                return self.store.put_file(name, self.folder / path) == files[path].sha256
            except FileNotFoundError:
                return False

        changed = [path for path, same in _at_once(send, list(files)) if not same]
        for path in changed:
            self.store.remove(files[path].object_of(path))
        if changed:
            raise StorageError(
                f"{self.folder / changed[0]} was written to while it was stored. It will be "
                "stored at another time."
            )

    def _publish(self, files: dict[str, StoredFile]) -> None:
        generation = self._book.generation + 1
        self._book.begun = digest_of(generation, files)
        write_book(self._book_path, self._book)
        self.store.put(LATEST_NAME, told_generation(generation, files))
        self._know(generation, files)
        write_book(self._book_path, self._book)

    def _know(self, generation: int, files: dict[str, StoredFile]) -> None:
        self._book.generation, self._book.files, self._book.begun = generation, files, ""

    def _knows(self, generation: int, files: dict[str, StoredFile]) -> bool:
        """Return whether a generation is the last one of this machine, by what it holds.

        A number alone may be another's: of a study that was removed and begun again, or of two
        that published at the same moment.
        """
        book = self._book
        if (generation, files) == (book.generation, book.files):
            return True
        is_begun = bool(book.begun) and digest_of(generation, files) == book.begun
        if is_begun:
            self._know(generation, files)
            write_book(self._book_path, book)
        return is_begun

    def _begin_anew(self, *, yields: bool) -> bool:
        """Take a store that is empty now for a new one, or refuse that."""
        if not yields:
            raise StorageError(
                f"{self.store.address} holds nothing, and this machine knows generation "
                f"{self._book.generation} of it: it was removed there. Remove {self._book_path} "
                f"to store {self.folder} again, or the whole folder to begin anew."
            )
        self._know(0, {})
        write_book(self._book_path, self._book)
        return False

    def _latest(self) -> tuple[int, dict[str, StoredFile]]:
        """Return number and files of the last generation; 0 and none where there is none."""
        content = self.store.get(LATEST_NAME, max_bytes=MAX_LATEST_BYTES)
        if content is None:
            return 0, {}
        try:
            generation, files = generation_in(content)
            if own := [path for path in files if self._skips(path)]:
                raise ValueError(f"the path {own[0]!r}, which is never stored")
            return generation, files
        except (ValueError, KeyError, TypeError) as err:
            raise StorageError(
                f"{self.store.address}/{LATEST_NAME} is not what Spectrum wrote: {err}. "
                "Restore it, or give another address."
            ) from err

    def _refuse_foreign(self) -> None:
        self._allowed()
        latest = self._latest()
        if not self._knows(*latest):
            raise StorageError(
                f"{self.store.address} holds generation {latest[0]}, and this machine knows "
                f"{self._book.generation}: another one works on it. Let it end, and go on there "
                "or, with a copy that is caught up, here."
            )

    def _fetch(self, files: Mapping[str, StoredFile]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = [path for path, stored in files.items() if not self._has(path, stored)]
        _at_once(lambda path: self._fetch_to(self.folder / path, path, files[path]), wanted)

    def _fetch_to(self, to: Path, path: str, stored: StoredFile) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(to) as aside:
            found = self.store.get_file(stored.object_of(path), aside, max_bytes=stored.num_bytes)
            if found != stored.sha256:
                raise _MovedError

    def _has(self, path: str, stored: StoredFile) -> bool:
        here = self.folder / path
        if not here.is_file() or here.stat().st_size != stored.num_bytes:
            return False
        return self._look_at(path) == stored

    def _forget_others(self, files: Mapping[str, StoredFile]) -> None:
        """Remove what the generation does not have, and folders that are empty then."""
        for path in self._paths():
            if path not in files:
                (self.folder / path).unlink(missing_ok=True)
        for folder in sorted(self.folder.rglob("*"), reverse=True):
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)


def _looks_of(paths: Iterable[Path]) -> list[Look | None]:
    return [look_at(path) if path.is_file() else None for path in paths]


def _at_once(call: Callable[[Given], Found], values: Sequence[Given]) -> list[tuple[Given, Found]]:
    if not values:
        return []
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        return list(zip(values, pool.map(call, values), strict=True))
