"""OpenNeuro's listing of the latest snapshot: the digest and the bucket's version of every file.

The ids in it are git-annex keys or git blob names, as OpenNeuro's own service makes them
(``services/datalad/datalad_service/common/annex.py``, ``_read_tree_pygit2``). Nothing is fetched
from the addresses in it; only a version id is read from one that names this very object.
Not here: what happens when there is no listing (``plan``).
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from spectrum.data.download.digests import Digest, digest_of_id
from spectrum.data.download.faults import TransferError

__all__ = ["Snapshot", "SnapshotFile", "read_snapshot"]

QUERY: Final = (
    'query {{ dataset(id: "{dataset}") {{ latestSnapshot {{ id '
    "files(recursive: true) {{ filename urls size id }} }} }} }}"
)
UNREADABLE: Final = (
    OSError,
    http.client.HTTPException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What an answer of any form can raise while it is read."""
MAX_BYTES: Final = 256 * 1024**2
"""A listing is never larger: at about 300 bytes a file, nearly a million files."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """What a snapshot says of one file."""

    num_bytes: int
    digest: Digest
    version_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a snapshot by path."""

    name: str
    files: Mapping[str, SnapshotFile]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: the digests come from the named host, or not at all."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def read_snapshot(url: str, dataset: str, *, timeout_s: float) -> Snapshot:
    """Read the listing of a data set's latest snapshot.

    Parameters
    ----------
    url : of the GraphQL service
    dataset : accession
    timeout_s : seconds without a byte, > 0

    Raises
    ------
    TransferError : code ``no-snapshot``
    """
    try:
        request = urllib.request.Request(
            url,
            data=json.dumps({"query": QUERY.format(dataset=dataset)}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as answer:
            text = answer.read(MAX_BYTES + 1)
        snapshot = json.loads(text)["data"]["dataset"]["latestSnapshot"]
        return Snapshot(str(snapshot["id"]), dict(_iter_files(dataset, snapshot["files"])))
    except UNREADABLE as err:
        raise TransferError(
            f"The snapshot listing of {dataset} at {url} cannot be read ({_cause(err)}).",
            code="no-snapshot",
        ) from err


def _cause(err: Exception) -> str:
    if isinstance(err, urllib.error.HTTPError):
        return f"answer {err.code}"
    return "no connection" if isinstance(err, OSError) else "not a listing"


def _iter_files(dataset: str, lines: Any) -> Iterator[tuple[str, SnapshotFile]]:
    for line in lines:
        path, num_bytes = str(line["filename"]), int(line["size"] or 0)
        digest = digest_of_id(str(line["id"]), num_bytes=num_bytes)
        version_id = _version_of(line.get("urls") or (), f"{dataset}/{path}")
        yield path, SnapshotFile(num_bytes, digest, version_id)


def _version_of(urls: Any, key: str) -> str:
    """Return the version that an address of this object names; empty where none does."""
    for url in urls:
        parts = urlsplit(str(url))
        versions = parse_qs(parts.query).get("versionId", [])
        if versions and unquote(parts.path).endswith(f"/{key}"):
            return versions[0]
    return ""
