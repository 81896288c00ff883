"""An S3 server on loopback (moto) whose bucket keeps versions, as OpenNeuro's does.

``python -m tests.s3_server BUCKET HOST`` runs one on an address of this machine until it is ended,
and prints its URL first.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "openneuro.org"
LOOPBACK = "127.0.0.1"


def s3_environment(url: str) -> dict[str, str]:
    """Return what has a client of S3 ask the server at ``url``."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def s3_process(bucket: str, host: str = LOOPBACK) -> Iterator[str]:
    """Run a server in a process of its own, which no other's reset empties; yields its address."""
    command = [sys.executable, "-m", "tests.s3_server", bucket, host]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@contextmanager
def s3_server(bucket: str = BUCKET, host: str = LOOPBACK) -> Iterator[str]:
    """Run the server on a free port; yields its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    url = f"http://{address}:{port}"
    _create_bucket(_client(url), bucket)
    yield url
    server.stop()


def _create_bucket(client: Any, bucket: str = BUCKET) -> None:
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


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


def main() -> None:
    with s3_server(*sys.argv[1:]) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
