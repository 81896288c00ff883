"""Who does what when: files and their extents over a few workers, from one thread.

The calling thread hands out steps and takes their results, so nothing here needs a lock. Steps of
files that are open come first, so that few files are unfinished at a time. A file that fails is
named and the others go on; a full disk, or a server that nobody can reach, stops everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from spectrum.data.download.bucket import Extent
from spectrum.data.download.faults import (
    DiskError,
    ObjectChangedError,
    RangeIgnoredError,
    StoppedError,
)
from spectrum.data.download.plan import PlannedFile
from spectrum.data.download.report import FileRecord
from spectrum.data.download.steps import Opened, Site, finish_file, open_file
from spectrum.data.download.transfer import Source, fetch_extent
from spectrum.data.runs import Problem
from spectrum.errors import DownloadError

__all__ = ["Crew"]

TICK_S: Final = 0.2
MAX_STARTS: Final = 3
"""Times that a file is begun; an object that changes each time is given up."""
MAX_WRONG: Final = 2
"""Times that wrong bytes are fetched: what is wrong twice is wrong on the server."""

Step = Callable[[], Opened | FileRecord | None]


@dataclass(slots=True, eq=False)
class _Fetch:
    """One file on its way."""

    file: PlannedFile
    begun_bytes: int
    opened: Opened | None = None
    waiting: deque[Extent] = field(default_factory=deque)
    num_flying: int = 0
    is_opening: bool = True
    fault: DownloadError | None = None
    num_starts: int = 1
    is_anew: bool = False
    in_one_piece: bool = False


@dataclass(slots=True)
class Crew:
    """Fetches files into one folder.

    Parameters
    ----------
    source : of the bytes
    site : where they go
    on_progress : called several times a second, by the calling thread
    """

    source: Source
    site: Site
    on_progress: Callable[[], None]
    records: list[FileRecord] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _queue: deque[PlannedFile] = field(default_factory=deque)
    _active: list[_Fetch] = field(default_factory=list)
    _flying: dict[Future[Opened | FileRecord | None], _Fetch] = field(default_factory=dict)

    def fetch(self, files: Iterable[PlannedFile]) -> None:
        """Fetch all files; ``records`` and ``problems`` tell what became of each one."""
        self._queue.extend(files)
        num_workers = self.source.config.workers
        pool = ThreadPoolExecutor(num_workers, thread_name_prefix="download")
        try:
            while self._queue or self._active:
                self._launch(pool, num_workers)
                self._collect()
                self.on_progress()
        except BaseException:
            self.source.world.stopped.set()
            self.source.bucket.hang_up()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._close_parts()

    def _launch(self, pool: ThreadPoolExecutor, num_workers: int) -> None:
        while len(self._flying) < num_workers:
            found = self._next_step()
            if found is None:
                return
            fetch, step = found
            fetch.num_flying += 1
            self._flying[pool.submit(step)] = fetch

    def _next_step(self) -> tuple[_Fetch, Step] | None:
        limit = self.source.config.max_connections_per_file
        for fetch in self._active:
            if fetch.is_opening and not fetch.num_flying:
                return fetch, self._opening(fetch)
            if fetch.waiting and fetch.num_flying < limit:
                return fetch, self._fetching(fetch, fetch.waiting.popleft())
            if fetch.opened is not None and not (fetch.waiting or fetch.num_flying):
                return fetch, self._finishing(fetch.opened)
        if not self._queue:
            return None
        fetch = _Fetch(self._queue.popleft(), self.source.meter.received_bytes)
        self._active.append(fetch)
        return fetch, self._opening(fetch)

    def _opening(self, fetch: _Fetch) -> Step:
        return lambda: open_file(
            self.source,
            self.site,
            fetch.file,
            anew=fetch.is_anew,
            in_one_piece=fetch.in_one_piece,
        )

    def _fetching(self, fetch: _Fetch, extent: Extent) -> Step:
        assert fetch.opened is not None
        key, part = fetch.file.key, fetch.opened.part
        return lambda: fetch_extent(
            self.source, key, part, extent, in_one_piece=fetch.in_one_piece
        )

    def _finishing(self, opened: Opened) -> Step:
        return lambda: finish_file(self.source, self.site, opened)

    def _collect(self) -> None:
        done, _ = wait(self._flying, timeout=TICK_S, return_when=FIRST_COMPLETED)
        for future in done:
            fetch = self._flying.pop(future)
            fetch.num_flying -= 1
            try:
                self._take(fetch, future.result())
            except (DiskError, StoppedError):
                raise
            except DownloadError as fault:
                fetch.fault = fetch.fault or fault
                fetch.waiting.clear()
            if fetch.fault is not None and not fetch.num_flying:
                self._give_up_or_restart(fetch, fetch.fault)

    def _take(self, fetch: _Fetch, result: Opened | FileRecord | None) -> None:
        if isinstance(result, Opened):
            fetch.opened, fetch.file = result, result.file
            fetch.waiting.extend(result.missing)
            fetch.is_opening = False
        elif isinstance(result, FileRecord):
            self.records.append(result)
            self._active.remove(fetch)

    def _give_up_or_restart(self, fetch: _Fetch, fault: DownloadError) -> None:
        is_piece = isinstance(fault, RangeIgnoredError) and not fetch.in_one_piece
        is_changed = isinstance(fault, ObjectChangedError)
        is_wrong = fault.code == "wrong-bytes" and fetch.num_starts < MAX_WRONG
        if (is_piece or is_changed or is_wrong) and fetch.num_starts < MAX_STARTS:
            self._restart(fetch)
            fetch.in_one_piece = fetch.in_one_piece or is_piece
            fetch.is_anew = fetch.is_anew or is_changed
            return
        if fault.code == "unreachable" and self._is_silent_since(fetch):
            raise fault
        self._active.remove(fetch)
        if fetch.opened is not None:
            fetch.opened.part.close()
        self.problems.append(Problem(code=fault.code, path=fetch.file.path, message=fault.message))

    def _is_silent_since(self, fetch: _Fetch) -> bool:
        """Tell whether nothing has come for any file since this one was begun."""
        return self.source.meter.received_bytes == fetch.begun_bytes

    def _restart(self, fetch: _Fetch) -> None:
        if fetch.opened is not None:
            fetch.opened.part.discard()
        fetch.opened, fetch.fault, fetch.is_opening = None, None, True
        fetch.num_starts += 1
        self.source.meter.count_retry()

    def _close_parts(self) -> None:
        for fetch in self._active:
            if fetch.opened is not None:
                fetch.opened.part.close()
