"""Who is joined: only a cluster that demands a token, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from spectrum.errors import ConfigError, LaunchError
from spectrum.launch import AUTO, joined_ray
from spectrum.launch.joining import OPENS


class Head(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    """Answers for the head of a cluster, to anyone or to those with a token."""

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open

    def GetAllNodeInfo(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
        if not self.is_open:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return gcs_service_pb2.GetAllNodeInfoReply()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = Head(is_open=request.param)
    gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture(autouse=True)
def without_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("address", [True], indirect=True)
def test_a_cluster_that_demands_no_token_is_refused_and_told_what_it_opens(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    with pytest.raises(LaunchError, match=f"{OPENS}.*--insecure"), joined_ray(address):
        pass


@pytest.mark.parametrize("address", [False], indirect=True)
def test_a_cluster_whose_token_is_not_here_is_refused_with_the_place_for_it(
    address: str, tmp_path: Path
) -> None:
    expected = rf"no token at {tmp_path}/\.spectrum/ray_token or {tmp_path}/\.ray/auth_token"
    with pytest.raises(LaunchError, match=expected), joined_ray(address):
        pass


@pytest.mark.parametrize("address", [False], indirect=True)
def test_a_token_that_others_can_read_is_not_sent(address: str, tmp_path: Path) -> None:
    token = tmp_path / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    with pytest.raises(LaunchError, match=f"chmod 600 {token}"), joined_ray(address):
        pass


@pytest.mark.parametrize("address", [False], indirect=True)
def test_a_cluster_that_has_another_token_is_told_at_once_without_ours(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    with pytest.raises(LaunchError, match="takes another token") as caught:  # noqa: SIM117
        with joined_ray(address):
            pass
    assert "ours" not in str(caught.value)


@pytest.mark.parametrize("address", [False], indirect=True)
def test_insecure_does_not_help_where_a_token_is_demanded(address: str) -> None:
    with pytest.raises(LaunchError, match="takes no request without a token"):  # noqa: SIM117
        with joined_ray(address, insecure=True):
            pass


def test_an_address_where_nobody_answers_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    with pytest.raises(LaunchError, match=r"No Ray answers at 127\.0\.0\.1:1 "):  # noqa: SIM117
        with joined_ray("127.0.0.1:1"):
            pass


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            "http://head:8265",
            r"of a dashboard.*head:6379.*submit \.\.\. --address http://head:8265",
        ),
        ("https://head/ray/", r"of a dashboard.*head:6379.*--address https://head/ray/"),
        ("http://[::1]:8265", r"of a dashboard.*\[::1\]:6379"),
        ("ray://head:10001", r"Ray Client.*head:6379.*--address http://head:8265"),
        ("tcp://head:6379", r"no HOST:PORT.*head:6379"),
        ("head", r"no host and port.*head:6379"),
        (":6379", r"no host and port.*HOST:6379"),
        ("head:", r"ends in nothing, which is no port.*head:6379"),
        ("head:gcs", r"ends in gcs, which is no port.*head:6379"),
        ("head:65536", r"ends in 65536, which is no port"),
        ("head:0", r"ends in 0, which is no port"),
    ],
)
def test_an_address_that_no_head_can_have_is_refused_before_a_token_is_read(
    wrong: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=f"^--address .*{told}"), joined_ray(wrong):
        pass
    monkeypatch.setenv("RAY_ADDRESS", wrong)
    with pytest.raises(ConfigError, match=f"^RAY_ADDRESS .*{told}"), joined_ray(AUTO):
        pass
