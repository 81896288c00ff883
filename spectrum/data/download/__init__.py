"""Fetch OpenNeuro data sets from the public bucket: verified, resumable, file by file."""

from __future__ import annotations

from spectrum.data.download.config import DownloadRequest
from spectrum.data.download.known import KNOWN_DATASETS, KnownDataset
from spectrum.data.download.service import download, plan_download, verify
from spectrum.data.download.world import World

__all__ = [
    "KNOWN_DATASETS",
    "DownloadRequest",
    "KnownDataset",
    "World",
    "download",
    "plan_download",
    "verify",
]
