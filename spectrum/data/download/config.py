"""What a user asks for, and how patient the fetching is. Not here: what is fetched (``plan``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from spectrum.config.frozen import FrozenConfig

__all__ = ["ENDPOINT_URL", "SNAPSHOTS_URL", "DownloadRequest", "FetchConfig", "Filters"]

ENDPOINT_URL: Final = "https://s3.amazonaws.com"
"""Where the bucket lives, as the git-annex remotes of the OpenNeuroDatasets mirrors say."""

SNAPSHOTS_URL: Final = "https://openneuro.org/crn/graphql"
"""OpenNeuro's listing of a snapshot, whose ids carry the digest of every file."""

MIB: Final = 1024**2


class Filters(FrozenConfig):
    """Which files are wanted, by BIDS entities; an empty tuple leaves nothing out."""

    subject: tuple[str, ...] = ()
    """Subjects, with or without ``sub-``."""
    session: tuple[str, ...] = ()
    """Sessions, with or without ``ses-``."""
    task: tuple[str, ...] = ()
    """Tasks in their exact case, with or without ``task-``."""
    run: tuple[str, ...] = ()
    """Runs; they compare as numbers, so ``1`` is ``run-1`` and ``run-01``."""
    everything: bool = False
    """Also anatomy, derivatives and all else; else BOLD, events, sidecars, top-level text."""


class FetchConfig(FrozenConfig):
    """How files are fetched."""

    workers: int = Field(default=8, ge=1, le=64)
    """Connections at once. 8 fill a fast line from S3 and stay polite."""
    part_bytes: int = Field(default=8 * MIB, ge=64)
    """Bytes of one ranged GET; what AWS's own transfer manager takes as its default."""
    blocks_of_part: int = Field(default=8, ge=1)
    """Times within a part that progress is noted. With as many connections on one file at most,
    an interruption at any moment costs less than one part of that file."""
    max_attempts: int = Field(default=6, ge=1)
    """Tries in a row that bring nothing before a file is given up."""
    backoff_s: float = Field(default=0.5, ge=0)
    """Seconds, the longest wait after the first failure; it doubles with each one after it."""
    max_backoff_s: float = Field(default=20.0, ge=0)
    """Seconds, where the doubling ends."""
    connect_timeout_s: float = Field(default=4.0, gt=0)
    """Seconds until a connection that is not made counts as failed; each address of a host is
    tried for so long, and S3 has up to eight."""
    read_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds without a byte until a connection counts as dead."""
    starvation_s: float = Field(default=30.0, gt=0)
    """Seconds over which a connection must bring ``min_bytes_per_s`` on average."""
    min_bytes_per_s: float = Field(default=1024.0, ge=0)
    """Bytes per second below which a connection is alive but starves."""

    @property
    def block_bytes(self) -> int:
        """Bytes after which progress within a part is noted."""
        return max(1, self.part_bytes // self.blocks_of_part)

    @property
    def max_connections_per_file(self) -> int:
        """Each can lose less than one block, all together less than one part."""
        return self.blocks_of_part


class DownloadRequest(FrozenConfig):
    """One call of ``spectrum download``."""

    datasets: tuple[str, ...] = Field(min_length=1)
    """OpenNeuro accessions, such as ``ds000002``."""
    out: Path = Path("data/raw")
    """Folder that holds one folder per data set."""
    filters: Filters = Filters()
    endpoint_url: str = ENDPOINT_URL
    """Where the bucket ``openneuro.org`` is served. Nothing that could log in is ever sent."""
    snapshots_url: str | None = None
    """The snapshot listing; None means OpenNeuro's own for the real bucket, and none for a mirror,
    so that a mirror in a closed network is asked for nothing else."""
    force: bool = False
    """Fetch again what is there, and replace it once the new bytes are verified."""
    fetch: FetchConfig = FetchConfig()

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint_url(cls, url: str) -> str:
        """Refuse what is no host; the value is not repeated, since it may hold a password."""
        if not (re.fullmatch(r"https?://[^/@\s?#]+/?", url) and _has_host(url)):
            raise ValueError(
                "endpoint_url must be http:// or https:// and a host, without user, password "
                "or path"
            )
        return url.rstrip("/")

    @field_validator("snapshots_url")
    @classmethod
    def _check_snapshots_url(cls, url: str | None) -> str | None:
        is_sound = url is None or (re.fullmatch(r"https?://[^@\s]+", url) and _has_host(url))
        if not is_sound:
            raise ValueError("snapshots_url must be http:// or https://, without user or password")
        return url

    @model_validator(mode="after")
    def _fill_snapshots_url(self) -> DownloadRequest:
        if self.snapshots_url is None and self.endpoint_url == ENDPOINT_URL:
            object.__setattr__(self, "snapshots_url", SNAPSHOTS_URL)
        return self


def _has_host(url: str) -> bool:
    """Tell whether an address can be read: brackets are closed, and a port is a number."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
