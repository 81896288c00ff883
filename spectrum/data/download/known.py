"""The four data sets of the project: their titles and the facts about their annexed files.

The tables under ``facts/`` hold key, version, size and MD5 of every annexed file: the 312 BOLD
images, anatomy and derivatives. They were read from the git-annex keys and the remote metadata of
the OpenNeuroDatasets mirrors at commits eeb195ca (ds000002), ba66c761 (ds000011), 8ee57b88
(ds000017) and b4de00c9 (ds000052); the MD5 that MRIQC recorded (OpenNeuroDerivatives
dsNNNNNN-mriqc c7ceb858, 5a84f861, 07ce7200, 9d4fc84e) is the same for all 312 images.
Not here: text files, which live in git and change; the listing tells their digests.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from spectrum.data.download.selection import is_bold

__all__ = ["KNOWN_DATASETS", "KnownDataset", "KnownFile", "known_files"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One annexed file as its key and the bucket's version tell it."""

    path: str
    num_bytes: int
    md5: str
    key: str
    version_id: str


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set that is known by name."""

    name: str
    title: str
    num_subjects: int

    @property
    def bold(self) -> tuple[KnownFile, ...]:
        """Its BOLD images."""
        return tuple(file for file in known_files(self.name).values() if is_bold(file.path))


KNOWN_DATASETS: Final = (
    KnownDataset("ds000002", "Classification learning", 17),
    KnownDataset("ds000011", "Classification learning and tone-counting", 14),
    KnownDataset("ds000017", "Classification learning and stop-signal", 8),
    KnownDataset("ds000052", "Classification learning and reversal", 13),
)
"""Titles and subjects with BOLD, from the data sets' own descriptions and READMEs."""


@cache
def known_files(dataset: str) -> Mapping[str, KnownFile]:
    """Return the annexed files of a data set by path; empty for one that is not known."""
    table = files("spectrum.data.download") / "facts" / f"{dataset}.tsv"
    if dataset not in {known.name for known in KNOWN_DATASETS}:
        return MappingProxyType({})
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader((line for line in lines if line[:1] != "#"), delimiter="\t")
    found = [
        KnownFile(row["path"], int(row["bytes"]), row["md5"], row["s3_key"], row["s3_version_id"])
        for row in rows
    ]
    return MappingProxyType({file.path: file for file in found})
