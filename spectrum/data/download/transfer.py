"""The bytes of one extent: asked for, counted, written, noted; tried again from where it broke.

A connection that is alive must bring a minimum over a while, or it counts as starving and is cut.
Not here: which extents there are (``part_file``), and who fetches when (``crew``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spectrum.data.download.bucket import Bucket, Extent
from spectrum.data.download.config import FetchConfig
from spectrum.data.download.faults import StoppedError, TransferError
from spectrum.data.download.meter import Meter
from spectrum.data.download.part_file import PartFile
from spectrum.data.download.patience import Patience
from spectrum.data.download.world import World

__all__ = ["Source", "fetch_extent", "iter_well_fed"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where bytes come from, and with how much patience."""

    bucket: Bucket
    config: FetchConfig
    world: World
    meter: Meter

    @property
    def patience(self) -> Patience:
        """Of this source."""
        return Patience(self.config, self.world, self.meter)


def fetch_extent(
    source: Source, key: str, part: PartFile, extent: Extent, *, in_one_piece: bool = False
) -> None:
    """Fetch some bytes of an object into its part file.

    Parameters
    ----------
    source : of the bytes
    key : of the object
    part : receives and notes them
    extent : which bytes
    in_one_piece : the server sends whole objects only
        Then a broken connection means from the start again.

    Raises
    ------
    TransferError : after ``max_attempts`` tries in a row that brought less than a block
    DownloadError : what trying again does not mend
    """
    at, num_failed = extent.start, 0
    while at < extent.stop:
        stream = _Stream(source, key, part, Extent(at, extent.stop))
        try:
            stream.receive()
        except TransferError as fault:
            is_progress = stream.at - at >= source.config.block_bytes and not in_one_piece
            num_failed = 1 if is_progress else num_failed + 1
            source.patience.bear(fault, num_failed)
        at = extent.start if in_one_piece and stream.at < extent.stop else stream.at


def iter_well_fed(
    chunks: Iterator[bytes], key: str, config: FetchConfig, clock: Callable[[], float]
) -> Iterator[bytes]:
    """Yield chunks as they arrive; raise TransferError where too few bytes come over a while."""
    since, num_bytes = clock(), 0
    for chunk in chunks:
        num_bytes += len(chunk)
        elapsed = clock() - since
        if elapsed >= config.starvation_s:
            if num_bytes < config.min_bytes_per_s * elapsed:
                raise TransferError(
                    f"{key}: {num_bytes} bytes arrived in {elapsed:.0f} s, at least "
                    f"{config.min_bytes_per_s:g} a second are expected. Try again later.",
                    code="starved",
                    path=key,
                )
            since, num_bytes = clock(), 0
        yield chunk


@dataclass(slots=True)
class _Stream:
    """One answer of the server, on its way to the disk."""

    source: Source
    key: str
    part: PartFile
    extent: Extent
    at: int = -1

    def receive(self) -> None:
        self.at = self.extent.start
        with self.source.bucket.open_range(self.key, self.part.state, self.extent) as answer:
            self.part.version_id = answer.version_id or self.part.version_id
            block = _Block(self.part, self.at)
            try:
                for chunk in iter_well_fed(
                    answer.chunks, self.key, self.source.config, self.source.world.clock
                ):
                    self._take(block, chunk)
            finally:
                block.end(flush=False)
        if self.at < self.extent.stop:
            raise TransferError(
                f"{self.key}: the answer ended {self.extent.stop - self.at} bytes early. "
                "Check the network and try again.",
                code="short-body",
                path=self.key,
            )

    def _take(self, block: _Block, chunk: bytes) -> None:
        if self.at + len(chunk) > self.extent.stop:
            raise TransferError(
                f"{self.key}: more bytes arrived than were asked for. Try again later.",
                code="long-body",
                path=self.key,
            )
        block.add(self.at, chunk)
        self.at += len(chunk)
        self.source.meter.count_received(len(chunk))
        is_last = self.at == self.extent.stop
        if is_last or block.num_bytes >= self.source.config.block_bytes:
            block.end(flush=is_last)
        if self.source.world.stopped.is_set():
            raise StoppedError("stopped", code="stopped", path=self.key)


@dataclass(slots=True)
class _Block:
    """Bytes that are written and not noted yet."""

    part: PartFile
    start: int
    num_bytes: int = 0
    crc32: int = 0

    def add(self, at: int, chunk: bytes) -> None:
        self.part.write(at, chunk)
        self.num_bytes += len(chunk)
        self.crc32 = zlib.crc32(chunk, self.crc32)

    def end(self, *, flush: bool) -> None:
        """Note what there is, and begin the next block after it."""
        if self.num_bytes:
            extent = Extent(self.start, self.start + self.num_bytes)
            self.part.note(extent, self.crc32, flush=flush)
            self.start, self.num_bytes, self.crc32 = extent.stop, 0, 0
