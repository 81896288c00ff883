"""What a file must be to count as right: a digest, and how far one can be trusted.

``md5`` and ``sha256`` come from git-annex keys, ``git-sha1`` is the name of a git blob: facts that
were fixed when the data set was published. ``etag`` is the MD5 of what was uploaded to the bucket,
told by the same server that sends the bytes: it proves the transfer, not the upload. ``none``
means that nothing is known to compare with. Not here: where they are found (``plan``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["UNKNOWN", "Digest", "DigestKind", "digest_of", "digest_of_etag", "digest_of_id"]

DigestKind = Literal["md5", "sha256", "git-sha1", "etag", "none"]

CHUNK_BYTES: Final = 1024**2

_ANNEX_KEY = re.compile(r"^(MD5E?|SHA256E?)-s([0-9]+)--([0-9a-f]+)(?:\.[^/]*)?$")
_LENGTHS: Final = {"md5": 32, "sha256": 64}
_GIT_BLOB = re.compile(r"^[0-9a-f]{40}$")
_SINGLE_PART_ETAG = re.compile(r"^[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class Digest:
    """A kind of digest and its value in lower-case hexadecimal; empty for ``none``."""

    kind: DigestKind
    value: str

    @property
    def is_known(self) -> bool:
        """There is something to compare with."""
        return self.kind != "none"


UNKNOWN: Final = Digest("none", "")


def digest_of_id(text: str, *, num_bytes: int) -> Digest:
    """Read the digest from a file's id in OpenNeuro's snapshot listing.

    Parameters
    ----------
    text : the id
        A git-annex key such as ``MD5E-s<bytes>--<md5>.nii.gz`` for annexed files, the SHA-1 of the
        git blob for the others (OpenNeuro's ``datalad_service/common/annex.py``).
    num_bytes : the size that the listing gives
        A key that gives another size is not believed.

    Returns
    -------
    digest : ``none`` for an id of any other form

    Examples
    --------
    >>> digest_of_id("MD5E-s3--900150983cd24fb0d6963f7d28e17f72.txt", num_bytes=3).kind
    'md5'
    """
    if _GIT_BLOB.match(text):
        return Digest("git-sha1", text)
    match = _ANNEX_KEY.match(text)
    if match is None or int(match[2]) != num_bytes:
        return UNKNOWN
    kind: Literal["md5", "sha256"] = "md5" if match[1].startswith("MD5") else "sha256"
    return Digest(kind, match[3]) if len(match[3]) == _LENGTHS[kind] else UNKNOWN


def digest_of_etag(etag: str) -> Digest:
    """Read an ETag; only one of a single-part upload is an MD5 (a multipart one has a dash)."""
    bare = etag.strip('"').lower()
    return Digest("etag", bare) if _SINGLE_PART_ETAG.match(bare) else UNKNOWN


def digest_of(
    path: Path, kind: DigestKind, *, on_chunk: Callable[[], None] | None = None
) -> Digest:
    """Compute the digest of a file.

    Parameters
    ----------
    path : a file
    kind : which one
        For ``none`` the MD5 of what is there, so that a later change can be seen.
    on_chunk : called after each mebibyte; may raise to stop
    """
    hasher = hashlib.sha256() if kind == "sha256" else hashlib.md5(usedforsecurity=False)
    if kind == "git-sha1":
        hasher = hashlib.sha1(usedforsecurity=False)
        hasher.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            if on_chunk is not None:
                on_chunk()
    return Digest(kind, hasher.hexdigest())
