"""The one doorway to boto3: list, look at and read objects of the public bucket, unsigned.

No credentials are looked up and none are sent; configuration files and profiles of this machine
are not read. A redirect is never followed: the bytes of a data set come from the host that the
user named, or not at all. botocore tries each request once; the patience is ours (``patience``).
Not here: what is fetched, and what becomes of the bytes.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import botocore
import botocore.exceptions
import botocore.parsers
import botocore.session
import urllib3.exceptions
from botocore.config import Config

from spectrum.data.download.config import FetchConfig
from spectrum.data.download.faults import (
    ObjectChangedError,
    RangeIgnoredError,
    TransferError,
    VersionUnknownError,
)
from spectrum.errors import ConfigError, DownloadError

__all__ = ["Answer", "Bucket", "Extent", "ListedObject", "ObjectState"]

BUCKET: Final = "openneuro.org"
READ_BYTES: Final = 256 * 1024
"""Asked for at once; ``read1`` returns what has arrived, so that a slow line is noticed."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
"""HTTP answers that ask to try again: S3's SlowDown and InternalError, gateways, time-outs."""
MANAGED_KEYS: Final = frozenset({"aws:kms", "aws:kms:dsse"})
"""Encryption under which an ETag is no MD5 (S3 API reference, Object)."""
NO_PROFILE: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One line of the bucket's listing."""

    key: str
    num_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What all parts of one file must agree on; an empty string where it is not known."""

    num_bytes: int
    etag: str
    version_id: str = ""
    is_etag_md5: bool = True


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Bytes from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def num_bytes(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes as they arrive, at most those asked for, and the version that they are of."""

    chunks: Iterator[bytes]
    version_id: str


class Bucket:
    """Objects of the bucket ``openneuro.org`` at one endpoint.

    Parameters
    ----------
    endpoint_url : scheme and host
    config : time-outs, and the number of connections kept
    """

    def __init__(self, endpoint_url: str, config: FetchConfig) -> None:
        self.endpoint_url = endpoint_url
        session = botocore.session.Session(session_vars=NO_PROFILE)
        try:
            self._client = boto3.session.Session(botocore_session=session).client(
                "s3",
                region_name="us-east-1",
                endpoint_url=endpoint_url,
                config=_client_config(config),
            )
        except ValueError:
            raise ConfigError(
                f"endpoint_url {endpoint_url} names no host. Give http:// or https:// and a host."
            ) from None
        self._client.meta.events.register("before-send.s3", self._check_request)
        self._open_answers: set[Any] = set()

    def list_objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield the current objects under a prefix; keys that end in ``/`` mark folders only."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=prefix
        )
        with self._translated(prefix):
            for page in pages:
                yield from (
                    ListedObject(line["Key"], line["Size"], line.get("ETag", ""))
                    for line in page.get("Contents", ())
                    if not line["Key"].endswith("/")
                )

    def look(self, key: str, *, version_id: str = "") -> ObjectState:
        """Return size, ETag and version of an object."""
        wanted = {"VersionId": version_id} if version_id else {}
        with self._translated(key, version_id=version_id):
            answer = self._client.head_object(Bucket=BUCKET, Key=key, **wanted)
            return ObjectState(
                num_bytes=answer["ContentLength"],
                etag=answer.get("ETag", ""),
                version_id=_version(answer),
                is_etag_md5=answer.get("ServerSideEncryption") not in MANAGED_KEYS,
            )

    @contextmanager
    def open_range(self, key: str, state: ObjectState, extent: Extent) -> Iterator[Answer]:
        """Open some bytes of an object that must still be in the given state.

        Yields
        ------
        answer : its bytes may end early; the caller counts

        Raises
        ------
        TransferError, ObjectChangedError, RangeIgnoredError, VersionUnknownError, DownloadError
        """
        is_whole = extent == Extent(0, state.num_bytes)
        wanted = {
            "VersionId": state.version_id,
            "IfMatch": state.etag,
            "Range": "" if is_whole else f"bytes={extent.start}-{extent.stop - 1}",
        }
        with self._translated(key, version_id=state.version_id):
            answer = self._client.get_object(
                Bucket=BUCKET, Key=key, **{name: value for name, value in wanted.items() if value}
            )
        with answer["Body"] as raw:
            _check_answer(answer, key, state, extent)
            self._open_answers.add(raw)
            try:
                yield Answer(_iter_chunks(raw, key), _version(answer))
            finally:
                self._open_answers.discard(raw)

    def hang_up(self) -> None:
        """End all answers that are being read, so that their readers need not wait for more."""
        for raw in tuple(self._open_answers):
            with suppress(ValueError, RuntimeError, OSError):
                raw.shutdown()

    def _check_request(self, request: Any, **_: Any) -> None:
        """Stand between botocore and the wire: one host, and nothing that could log in."""
        if urlsplit(request.url).netloc != urlsplit(self.endpoint_url).netloc:
            raise _redirected(self.endpoint_url, request.url)
        for name in ("Authorization", "Cookie", "X-Amz-Security-Token"):
            if name in request.headers:
                del request.headers[name]

    @contextmanager
    def _translated(self, key: str, *, version_id: str = "") -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as err:
            raise self._of_answer(err.response, key, version_id) from err
        except botocore.exceptions.SSLError as err:
            raise DownloadError(
                f"{self.endpoint_url} does not show a certificate that this machine trusts. "
                "Check the address and the clock, or set AWS_CA_BUNDLE.",
                code="tls",
                path=key,
            ) from err
        except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError) as err:
            raise _unreachable(self.endpoint_url, key, err) from err
        except (KeyError, ValueError, botocore.parsers.ResponseParserError) as err:
            raise DownloadError(
                f"{self.endpoint_url} sent an answer about {key} that is not S3's. "
                "Check the address, or name another mirror with --endpoint-url.",
                code="bad-answer",
                path=key,
            ) from err

    def _of_answer(self, answer: Mapping[str, Any], key: str, version_id: str) -> DownloadError:
        meta = answer.get("ResponseMetadata", {})
        status, code = meta.get("HTTPStatusCode", 0), answer.get("Error", {}).get("Code", "")
        if status in REDIRECTS:
            return _redirected(self.endpoint_url, meta.get("HTTPHeaders", {}).get("location", ""))
        if status == 412:
            return _changed(key, "its ETag is another one")
        if version_id and status in (400, 404):
            return VersionUnknownError(
                f"{self.endpoint_url} does not have version {version_id} of {key}.",
                code="no-version",
                path=key,
            )
        if status in PASSING or code in ("SlowDown", "InternalError"):
            return TransferError(
                f"{_answered(self.endpoint_url, status, code)} for {key}. Try again later.",
                code="server-error",
                path=key,
            )
        return _refused(self.endpoint_url, key, status, code)


def _client_config(config: FetchConfig) -> Config:
    return Config(
        signature_version=botocore.UNSIGNED,
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=config.connect_timeout_s,
        read_timeout=config.read_timeout_s,
        max_pool_connections=config.workers,
        s3={"addressing_style": "path"},
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
        ignore_configured_endpoint_urls=True,
        use_dualstack_endpoint=False,
        use_fips_endpoint=False,
        tcp_keepalive=True,
    )


def _check_answer(answer: Mapping[str, Any], key: str, state: ObjectState, extent: Extent) -> None:
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    is_whole = extent == Extent(0, state.num_bytes)
    _check_state(answer, key, state)
    if status != 206 and not is_whole:
        raise RangeIgnoredError(
            f"{key}: asked for a range, the server sent the whole object.",
            code="range-ignored",
            path=key,
        )
    if status == 206:
        expected = f"bytes {extent.start}-{extent.stop - 1}/{state.num_bytes}"
        found = answer.get("ContentRange", "")
        if found != expected:
            raise TransferError(
                f"{key}: the server sent {found!r}, not {expected!r}. Try again later.",
                code="wrong-range",
                path=key,
            )
    length = answer["ResponseMetadata"]["HTTPHeaders"].get("content-length")
    if length is not None and int(length) != extent.num_bytes:
        raise TransferError(
            f"{key}: the server announced {length} bytes, expected {extent.num_bytes}. "
            "Try again later.",
            code="wrong-length",
            path=key,
        )


def _check_state(answer: Mapping[str, Any], key: str, state: ObjectState) -> None:
    etag, version_id = answer.get("ETag", ""), _version(answer)
    if state.etag and etag and etag != state.etag:
        raise _changed(key, "its ETag is another one")
    if state.version_id and version_id and version_id != state.version_id:
        raise _changed(key, "its version is another one")


def _version(answer: Mapping[str, Any]) -> str:
    """Return the version; S3 calls it ``null`` where the bucket keeps none."""
    found = str(answer.get("VersionId") or "")
    return "" if found == "null" else found


def _iter_chunks(raw: Any, key: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = raw.read1(READ_BYTES, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as err:
            raise TransferError(
                f"{key}: nothing arrived for a while. Check the network and try again.",
                code="read-timeout",
                path=key,
            ) from err
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as err:
            raise TransferError(
                f"{key}: the connection was cut. Check the network and try again.",
                code="cut",
                path=key,
            ) from err
        if not chunk:
            return
        yield chunk


def _changed(key: str, how: str) -> ObjectChangedError:
    return ObjectChangedError(
        f"{key} changed on the server while it was fetched: {how}. Try again later.",
        code="object-changed",
        path=key,
    )


def _redirected(endpoint_url: str, location: str) -> DownloadError:
    target = urlsplit(location).netloc or "another address"
    return DownloadError(
        f"{endpoint_url} redirects to {target}. Redirects are not followed; if you trust it, "
        "name that address with --endpoint-url.",
        code="redirected",
    )


def _unreachable(endpoint_url: str, key: str, err: Exception) -> TransferError:
    is_slow = isinstance(
        err, botocore.exceptions.ConnectTimeoutError | botocore.exceptions.ReadTimeoutError
    )
    cause = "no answer in time" if is_slow else "no connection"
    return TransferError(
        f"{endpoint_url} cannot be reached: {cause}. Check the network (a proxy is taken from "
        "HTTPS_PROXY) or name a mirror with --endpoint-url; what has arrived is kept.",
        code="unreachable",
        path=key,
    )


def _refused(endpoint_url: str, key: str, status: int, code: str) -> DownloadError:
    if status == 404:
        return DownloadError(f"{endpoint_url} has no {key}.", code="not-found", path=key)
    if status in (401, 403):
        return DownloadError(
            f"{endpoint_url} does not let {key} be read without logging in. "
            "Only public data sets can be fetched.",
            code="forbidden",
            path=key,
        )
    return DownloadError(
        f"{_answered(endpoint_url, status, code)} for {key}. Check the address.",
        code="refused",
        path=key,
    )


def _answered(endpoint_url: str, status: int, code: str) -> str:
    return f"{endpoint_url} answered {status}{'' if code in ('', str(status)) else f' {code}'}"
