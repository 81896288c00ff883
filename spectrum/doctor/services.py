"""Asks Ray's address, looks for its token, at Aim and at the data; starts and judges nothing."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from spectrum.doctor.asking import ask_probe
from spectrum.doctor.requirements import installed_version
from spectrum.doctor.seen import AimSeen, DataSeen, RaySeen, ServicesSeen, TokenSeen
from spectrum.launch import PICKLE_SWITCHES

__all__ = ["see_aim", "see_data", "see_ray", "see_services", "see_token"]

WAIT_S: Final = 5.0
RAY_PORT: Final = 6379
MAX_ANSWER_BYTES: Final = 100_000
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
OFF: Final = ("", "0", "false", "False")


def see_services(
    *, address: str | None, studies: Path, data: Path, environment: Mapping[str, str]
) -> ServicesSeen:
    """Look at everything that runs or lies beside Spectrum.

    Parameters
    ----------
    address : of a Ray cluster; None asks none
    studies, data : folders
    environment : as ``os.environ`` has it
    """
    token = see_token(environment)
    return ServicesSeen(
        ray=see_ray(address, _token_text(environment)),
        token=token,
        aim=see_aim(studies),
        data=see_data(data),
        unsafe_switches={
            name: environment[name]
            for name in PICKLE_SWITCHES
            if environment.get(name, "") not in OFF
        },
    )


def _token_file(environment: Mapping[str, str]) -> tuple[str, Path]:
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    own = Path(environment.get("HOME") or Path.home()) / ".spectrum" / "ray_token"
    return (named, Path(named)) if named else (str(own), own)


def see_token(environment: Mapping[str, str]) -> TokenSeen:
    """Look where Ray's token would come from, in the order in which Ray and Spectrum look."""
    if environment.get("RAY_AUTH_TOKEN"):
        return TokenSeen(source="RAY_AUTH_TOKEN")
    source, path = _token_file(environment)
    is_named = bool(environment.get("RAY_AUTH_TOKEN_PATH"))
    try:
        mode = path.stat().st_mode & 0o777
        is_empty = not path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as err:
        return TokenSeen(source=source if is_named else None, error=str(err) if is_named else None)
    except (OSError, UnicodeDecodeError) as err:
        return TokenSeen(source=source, error=str(err))
    return TokenSeen(source=source, mode=mode, error="it is empty" if is_empty else None)


def _token_text(environment: Mapping[str, str]) -> str | None:
    if environment.get("RAY_AUTH_TOKEN"):
        return environment["RAY_AUTH_TOKEN"]
    try:
        return _token_file(environment)[1].read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def see_ray(address: str | None, token: str | None) -> RaySeen:
    """Ask whether something answers at an address, and whether it wants a token."""
    own = installed_version("ray")
    if address is None:
        return RaySeen(own_version=own)
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if not parts.hostname:
            raise ValueError("it names no host")
        if parts.scheme in ("http", "https"):
            return RaySeen(address=address, own_version=own, **_ask_dashboard(parts, token))
        socket.create_connection((parts.hostname, parts.port or RAY_PORT), WAIT_S).close()
    except (OSError, ValueError, http.client.HTTPException) as err:
        return RaySeen(address=address, own_version=own, error=str(err))
    return RaySeen(address=address, own_version=own)


def _ask_dashboard(parts: SplitResult, token: str | None) -> dict[str, Any]:
    status, version, ahead_s = _version(parts, None)
    told = {"status_without_token": status, "version": version, "clock_ahead_s": ahead_s}
    if status < 400 or token is None:
        return told
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return {**told, "is_token_withheld": True}
    status, version, ahead_s = _version(parts, token)
    return {**told, "status_with_token": status, "version": version}


def _version(parts: SplitResult, token: str | None) -> tuple[int, str | None, float | None]:
    """Return status, Ray's version and the clock's lead of one question to a dashboard."""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=WAIT_S)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", "/api/version", headers=headers)
        answer = connection.getresponse()
        body, date = answer.read(MAX_ANSWER_BYTES), answer.getheader("Date")
    finally:
        connection.close()
    ahead_s = parsedate_to_datetime(date).timestamp() - time.time() if date else None
    return answer.status, _ray_version(body), ahead_s


def _ray_version(body: bytes) -> str | None:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    version = told.get("ray_version") if isinstance(told, dict) else None
    return str(version)[:40] if version else None


def see_aim(folder: Path) -> AimSeen:
    """Look at the Aim repository of a folder of studies, in a process of its own."""
    repo = folder / ".aim"
    if not repo.is_dir():
        return AimSeen(folder=str(folder), exists=False)
    if not os.access(repo, os.W_OK | os.X_OK):
        return AimSeen(folder=str(folder), exists=True, is_writable=False)
    answer = ask_probe("aim", str(folder))
    told = next((said["aim"] for said in answer.said if "aim" in said), {"error": answer.death})
    return AimSeen(folder=str(folder), exists=True, **told)


def see_data(folder: Path) -> DataSeen:
    """Look which folders of the raw data are BIDS data sets."""
    if not folder.is_dir():
        return DataSeen(folder=str(folder), exists=False)
    inside = [at for at in sorted(folder.iterdir()) if at.is_dir() and at.name[0] not in "._"]
    strangers = [at.name for at in inside if not (at / "dataset_description.json").is_file()]
    return DataSeen(
        folder=str(folder),
        exists=True,
        num_datasets=len(inside) - len(strangers),
        strangers=tuple(strangers),
    )
