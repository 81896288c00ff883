"""Looking without judging: planted files, folders, servers and processes."""

from __future__ import annotations

import os
import re
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from spectrum.doctor.asking import ask_probe
from spectrum.doctor.libraries import count_pci_gpus
from spectrum.doctor.machine import see_disk, see_memory
from spectrum.doctor.requirements import see_packages
from spectrum.doctor.services import see_aim, see_data, see_ray, see_token
from spectrum.doctor.tested import TESTED

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


class _Dashboard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_ours = self.headers.get("Authorization") == "Bearer right"
        self.send_response(200 if is_ours else 401)
        self.end_headers()
        self.wfile.write(b'{"ray_version": "2.60.0"}' if is_ours else b"no")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def dashboard() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Dashboard)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("token", "status"), [("right", 200), ("wrong", 401), (None, None)])
def test_a_dashboard_is_asked_without_and_with_the_token(
    dashboard: str, token: str | None, status: int | None
) -> None:
    seen = see_ray(dashboard, token)
    assert (seen.error, seen.status_without_token, seen.status_with_token) == (None, 401, status)
    assert seen.version == ("2.60.0" if token == "right" else None)
    assert abs(seen.clock_ahead_s or 99) < 30


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "http://127.0.0.1:1", "//"]
)
def test_an_address_where_nobody_listens_is_told_not_raised(address: str) -> None:
    assert see_ray(address, None).error


def test_the_token_is_looked_for_where_ray_and_spectrum_look(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert see_token(home).source is None
    own = tmp_path / ".spectrum" / "ray_token"
    own.parent.mkdir()
    own.write_text("secret")
    own.chmod(0o640)
    assert (see_token(home).source, see_token(home).mode) == (str(own), 0o640)
    assert see_token({**home, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}).error
    assert see_token({**home, "RAY_AUTH_TOKEN": "secret"}).source == "RAY_AUTH_TOKEN"
    assert "secret" not in repr(see_token(home))


def test_gpus_are_counted_on_the_bus_without_their_driver(tmp_path: Path) -> None:
    rows = [("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")]
    for index, (vendor, kind) in enumerate(rows):
        device = tmp_path / "sys/bus/pci/devices" / f"0000:0{index}:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "class").write_text(kind + "\n")
    assert count_pci_gpus(tmp_path) == 1
    assert count_pci_gpus(tmp_path / "nothing") == 0


@pytest.mark.parametrize("names", [("memory.max", "memory.current"), None])
def test_the_limit_of_a_container_is_read_in_both_layouts(
    tmp_path: Path, names: tuple[str, str] | None
) -> None:
    limit, used = names or ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    (tmp_path / limit).parent.mkdir(exist_ok=True)
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / used).write_text("300\n")
    seen = see_memory(cgroup=tmp_path)
    assert (seen.limit_bytes, seen.limit_used_bytes) == (1000, 300)
    (tmp_path / limit).write_text("max\n")
    assert see_memory(cgroup=tmp_path).limit_bytes is None


def test_a_folder_below_a_file_is_seen_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not see_disk("shards", tmp_path / "file" / "shards").is_folder
    assert see_disk("shards", tmp_path / "not" / "yet").existing == str(tmp_path)


def test_folders_that_are_no_data_sets_are_named(tmp_path: Path) -> None:
    for name in ("ds000002", "half", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "ds000002" / "dataset_description.json").touch()
    seen = see_data(tmp_path)
    assert (seen.num_datasets, seen.strangers) == (1, ("half",))


def test_a_broken_aim_repository_is_told_not_raised(tmp_path: Path) -> None:
    (tmp_path / ".aim").mkdir()
    (tmp_path / ".aim" / "VERSION").write_text("no version")
    assert see_aim(tmp_path).error


def test_the_death_of_a_probe_names_the_import_at_which_it_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    answer = ask_probe("imports", "json", "deadly", "csv")
    assert answer.death == "its process was ended by signal 9"
    assert [said["begun"] for said in answer.said if "begun" in said] == ["json", "deadly"]


def test_every_dependency_is_looked_up_and_was_tested_within_its_range() -> None:
    lines = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=]", line)[0] for line in lines}
    assert names == set(TESTED) == {seen.name for seen in see_packages()}
    assert all(SpecifierSet(seen.wanted).contains(seen.tested or "") for seen in see_packages())
