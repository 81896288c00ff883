"""Ray's door: no switch that runs code from data, and a token that nobody else can read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum import launch
from spectrum.errors import LaunchError


@pytest.mark.parametrize("switch", launch.PICKLE_SWITCHES)
def test_a_switch_that_lets_parquet_run_code_is_refused(switch: str) -> None:
    with pytest.raises(LaunchError, match=f"Unset {switch}"):
        launch.refuse_unsafe_switches({switch: "1"})


def test_a_switch_that_is_off_is_accepted() -> None:
    launch.refuse_unsafe_switches(dict.fromkeys(launch.PICKLE_SWITCHES, "0"))


def test_the_token_is_readable_by_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    launch.require_token(tmp_path / "state")
    token = tmp_path / "state" / "ray_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert len(token.read_text()) == 2 * launch.TOKEN_BYTES


def test_a_token_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    token = tmp_path / "ray_token"
    token.write_text("secret")
    token.chmod(0o644)
    with pytest.raises(LaunchError, match="chmod 600"):
        launch.require_token(tmp_path)


def test_a_start_of_ray_that_fails_is_one_sentence(tmp_path: Path) -> None:
    script = "from spectrum.launch import local_ray\nwith local_ray(num_cpus=1): pass"
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    environment = os.environ | {"RAY_TMPDIR": str(deep), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Set RAY_TMPDIR to a folder with a short path.")
    assert "LaunchError: Ray did not start" in done.stderr
