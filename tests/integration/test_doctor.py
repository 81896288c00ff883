"""``spectrum doctor`` names each of many defects, planted where a user would meet them.

What can be wrong at one time is planted at one time, since each look starts three processes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectrum.doctor.examination import findings_of
from spectrum.doctor.libraries import count_pci_gpus
from spectrum.doctor.machine import see_memory
from spectrum.doctor.seen import Seen
from tests.unit.doctor.healthy import LIBRARIES, MACHINE, SERVICES, findings

COMMAND = [sys.executable, "-c", "from spectrum.cli import main; main()", "doctor", "--json"]


def _without_ray() -> dict[str, str]:
    """The environment without the token of a Ray that other tests share with this process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}


def _doctor(
    cwd: Path, *arguments: str, before: str = "", **environment: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command in a shell; return its exit code and its findings that are not ok."""
    done = subprocess.run(
        ["bash", "-c", f'{before}exec "$@"', "doctor", *COMMAND, *arguments],
        cwd=cwd,
        env={**_without_ray(), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stdout)["findings"]
    assert all(set(one) == {"code", "level", "message", "remedy"} for one in told)
    return done.returncode, {one["code"]: one for one in told if one["level"] != "ok"}


@contextmanager
def _mounted(at: Path, options: str) -> Iterator[Path]:
    at.mkdir()
    mount = shutil.which("mount") or "mount"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", str(at)], check=False)
    if done.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield at
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(at)], check=True)


def _package(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def _path(folder: Path) -> str:
    return f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What is told of a machine of old packages, another torchvision, a dead driver, no token."""
    folder = tmp_path_factory.mktemp("sick")
    _package(folder / "fake", "pyarrow", "14.0.0")
    _torchvision_of_another_torch(folder / "fake" / "torchvision")
    environment = {
        "PYTHONPATH": _path(folder / "fake"),
        "PATH": f"{_driver_without_answer(folder / 'bin')}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
    }
    code, told = _doctor(folder, "--address", "127.0.0.1:1", **environment)
    assert code == 1
    return told


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What is told where few files may be open and torch cannot be imported."""
    folder = tmp_path_factory.mktemp("short")
    path = _path(_torch_without_cuda(folder / "fake"))
    code, told = _doctor(folder, before="ulimit -n 64; ", PYTHONPATH=path)
    assert code == 1
    return told


def _torch_without_cuda(folder: Path) -> Path:
    folder.mkdir()
    (folder / "torch.py").write_text("raise ImportError('libcudart.so.13: no file')")
    return folder


def _torchvision_of_another_torch(package: Path) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(*a): ...\n"
    )


def _driver_without_answer(folder: Path) -> Path:
    folder.mkdir()
    (folder / "nvidia-smi").write_text(
        "#!/bin/sh\necho 'Driver/library version mismatch'; exit 18\n"
    )
    (folder / "nvidia-smi").chmod(0o755)
    return folder


def test_a_full_disk_and_a_repository_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with (
        _mounted(tmp_path / "small", "size=1m") as small,
        _mounted(tmp_path / "studies", "size=1m") as studies,
    ):
        (studies / ".aim").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(studies)], check=True)
        folders = ("--shards", str(small / "shards"), "--studies", str(studies))
        # A torch that fails at once is no part of this, and spares its import.
        path = _path(_torch_without_cuda(tmp_path / "fake"))
        code, told = _doctor(tmp_path, *folders, PYTHONPATH=path)
    assert code == 1
    assert told["disk-shards"]["level"] == told["not-writable-studies"]["level"] == "error"
    assert "no space" in told["disk-shards"]["message"]
    assert "prune" in told["disk-shards"]["remedy"]
    assert "cannot be written" in told["aim-not-writable"]["message"]


def test_tiny_shared_memory_is_named(tmp_path: Path) -> None:
    with _mounted(tmp_path / "shm", "size=64m") as shm:
        told = findings(machine={"memory": see_memory(shm=shm)})
    (found,) = (one for one in told if one.code == "shared-memory")
    assert found.level == "warning"
    assert "64 MiB" in found.message
    assert "--shm-size" in found.remedy


def test_a_torchvision_of_another_torch_is_named(sick: Told) -> None:
    found = sick["torchvision-mismatch"]
    assert found["level"] == "error"
    assert "operator torchvision::nms does not exist" in found["message"]
    assert "torch torchvision" in found["remedy"]


def test_a_missing_token_is_named(sick: Told) -> None:
    assert sick["no-token"]["level"] == sick["ray-unreachable"]["level"] == "error"


def test_an_old_pyarrow_is_named(sick: Told) -> None:
    found = sick["package-pyarrow"]
    assert found["level"] == "error"
    assert "pyarrow 14.0.0 is installed, >=24" in found["message"]
    assert 'pip install "pyarrow>=24"' in found["remedy"]


def test_a_gpu_without_its_driver_is_named(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    seen = replace(LIBRARIES, gpus=(), torch=None, pci_gpus=count_pci_gpus(tmp_path))
    told = findings_of(Seen(machine=MACHINE, libraries=seen, services=SERVICES))
    (found,) = (one for one in told if one.level != "ok")
    assert (found.code, found.level) == ("gpu-driver", "error")


def test_a_driver_that_does_not_answer_is_named(sick: Told) -> None:
    assert sick["gpu-driver"]["level"] == "error"
    assert "Driver/library version mismatch" in sick["gpu-driver"]["message"]


def test_a_low_file_limit_is_named_and_the_doctor_lives_with_it(short: Told) -> None:
    assert short["open-files"]["level"] == "error"
    assert "64 files open" in short["open-files"]["message"]
    assert "ulimit -n" in short["open-files"]["remedy"]


def test_a_torch_that_cannot_be_imported_is_named(short: Told) -> None:
    assert short["import-torch"]["level"] == "error"
    assert "libcudart.so.13" in short["import-torch"]["message"]
