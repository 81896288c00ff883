"""A mistyped ``--resume`` with credentials that may list nothing but their own study."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.stored import stored_study
from spectrum.storage import working_copy
from tests.s3_server import s3_environment

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _OwnPrefixAlone(BaseHTTPRequestHandler):
    """A bucket that holds nothing and lets nobody list it."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        is_listing = "list-type" in self.path
        self.send_response(403 if is_listing else 404)
        self.send_header("Content-Length", str(len(DENIED) if is_listing else 0))
        self.end_headers()
        self.wfile.write(DENIED if is_listing else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Tell nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _OwnPrefixAlone) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_study_that_is_not_there_is_told_where_the_others_may_not_be_listed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**s3_environment(url), "SPECTRUM_STORAGE_CACHE": str(tmp_path)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    wrong = StudyFolder(working_copy("s3://lab/studies").path / "wrong")
    told = r"There is no study at s3://lab/studies/wrong\..* of one that was begun\."
    with pytest.raises(SearchError, match=told), stored_study(wrong, print, resume=True):
        pass
