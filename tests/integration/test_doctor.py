"""``spectrum doctor`` names each of eight defects, planted where a user would meet them."""

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


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with _mounted(tmp_path / "small", "size=1m") as small:
        code, told = _doctor(tmp_path, "--shards", str(small / "shards"))
    assert code == 1
    assert "no space" in told["disk-shards"]["message"]
    assert "prune" in told["disk-shards"]["remedy"]


def test_tiny_shared_memory_is_named(tmp_path: Path) -> None:
    with _mounted(tmp_path / "shm", "size=64m") as shm:
        told = findings(machine={"memory": see_memory(shm=shm)})
    (found,) = (one for one in told if one.code == "shared-memory")
    assert found.level == "warning"
    assert "64 MiB" in found.message
    assert "--shm-size" in found.remedy


def test_a_torchvision_of_another_torch_is_named(tmp_path: Path) -> None:
    package = tmp_path / "fake" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(*a): ...\n"
    )
    code, told = _doctor(tmp_path, PYTHONPATH=_path(tmp_path / "fake"))
    assert code == 1
    assert "operator torchvision::nms does not exist" in told["torchvision-mismatch"]["message"]
    assert "torch torchvision" in told["torchvision-mismatch"]["remedy"]


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with _mounted(tmp_path / "studies", "size=1m") as studies:
        (studies / ".aim").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(studies)], check=True)
        code, told = _doctor(tmp_path, "--studies", str(studies))
    assert code == 1
    assert "not-writable-studies" in told
    assert "cannot be written" in told["aim-not-writable"]["message"]


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    code, told = _doctor(tmp_path, "--address", "127.0.0.1:1", HOME=str(tmp_path))
    assert code == 1
    assert {"no-token", "ray-unreachable"} <= set(told)


def test_an_old_pyarrow_is_named(tmp_path: Path) -> None:
    _package(tmp_path / "fake", "pyarrow", "14.0.0")
    code, told = _doctor(tmp_path, PYTHONPATH=_path(tmp_path / "fake"))
    assert code == 1
    assert "pyarrow 14.0.0 is installed, >=24" in told["package-pyarrow"]["message"]
    assert 'pip install "pyarrow>=24"' in told["package-pyarrow"]["remedy"]


def test_a_gpu_without_its_driver_is_named(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    seen = replace(LIBRARIES, gpus=(), torch=None, pci_gpus=count_pci_gpus(tmp_path))
    told = findings_of(Seen(machine=MACHINE, libraries=seen, services=SERVICES))
    (found,) = (one for one in told if one.level != "ok")
    assert (found.code, found.level) == ("gpu-driver", "error")


def test_a_driver_that_does_not_answer_is_named(tmp_path: Path) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'Driver/library version mismatch'; exit 18\n")
    smi.chmod(0o755)
    code, told = _doctor(tmp_path, PATH=f"{smi.parent}{os.pathsep}{os.environ['PATH']}")
    assert code == 1
    assert "Driver/library version mismatch" in told["gpu-driver"]["message"]


def test_a_low_file_limit_is_named_and_the_doctor_lives_with_it(tmp_path: Path) -> None:
    code, told = _doctor(tmp_path, before="ulimit -n 64; ")
    assert code == 1
    assert "64 files open" in told["open-files"]["message"]
    assert "ulimit -n" in told["open-files"]["remedy"]


def test_a_torch_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "torch.py").write_text("raise ImportError('libcudart.so.13: no file')")
    code, told = _doctor(tmp_path, PYTHONPATH=_path(tmp_path / "fake"))
    assert code == 1
    assert "libcudart.so.13" in told["import-torch"]["message"]
