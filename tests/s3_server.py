"""An S3 server on loopback (moto) whose bucket keeps versions, as OpenNeuro's does."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "openneuro.org"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server on a free port; yields its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    _create_bucket(_client(url))
    yield url
    server.stop()


def _create_bucket(client: Any) -> None:
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})


def _client(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


class ObjectStore:
    """Puts objects into the bucket, as the owner of a data set would."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = _client(url)

    def put(self, dataset: str, files: Mapping[str, bytes], **options: Any) -> dict[str, str]:
        """Put files under a data set's prefix; returns their versions by path."""
        return {
            path: self._client.put_object(
                Bucket=BUCKET, Key=f"{dataset}/{path}", Body=body, ACL="public-read", **options
            )["VersionId"]
            for path, body in files.items()
        }

    def put_in_parts(self, dataset: str, path: str, body: bytes) -> None:
        """Upload as S3 clients upload large files: its ETag is then no MD5 of the object."""
        key = f"{dataset}/{path}"
        upload = self._client.create_multipart_upload(Bucket=BUCKET, Key=key, ACL="public-read")[
            "UploadId"
        ]
        cut = 5 * 1024**2
        parts = []
        for number, piece in enumerate((body[:cut], body[cut:]), start=1):
            answer = self._client.upload_part(
                Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=piece
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._client.complete_multipart_upload(
            Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def empty(self) -> None:
        """Remove every version of every object, at once."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request).close()
        _create_bucket(self._client)
