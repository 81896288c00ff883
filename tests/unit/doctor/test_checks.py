"""One defect at a time on a healthy machine gives exactly one finding, with a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spectrum.doctor.examination import findings_of
from spectrum.doctor.seen import ImportSeen, Seen, TokenSeen
from tests.unit.doctor.healthy import (
    ASKED,
    CPU,
    DISK,
    GIB,
    GPU,
    MEMORY,
    PYARROW,
    SERVICES,
    TORCH,
    bad,
    findings,
)

NMS = "RuntimeError: operator torchvision::nms does not exist"

PLANTED: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("machine", {"python": "3.13.0"}, ("error", "python-version")),
    ("machine", {"cpu": replace(CPU, quota_cpus=2.0)}, ("warning", "cpu-quota")),
    ("machine", {"cpu": replace(CPU, load_1min=17.0)}, ("warning", "cpu-oversubscribed")),
    ("machine", {"cpu": replace(CPU, nice=10)}, ("warning", "nice")),
    ("machine", {"memory": replace(MEMORY, available_bytes=GIB)}, ("error", "memory")),
    ("machine", {"memory": replace(MEMORY, available_bytes=3 * GIB)}, ("warning", "memory")),
    (
        "machine",
        {"memory": replace(MEMORY, limit_bytes=4 * GIB, limit_used_bytes=3 * GIB)},
        ("error", "memory"),
    ),
    (
        "machine",
        {"memory": replace(MEMORY, shm_total_bytes=2**26, shm_free_bytes=2**26)},
        ("warning", "shared-memory"),
    ),
    ("machine", {"memory": replace(MEMORY, shm_free_bytes=GIB)}, ("warning", "shared-memory")),
    ("machine", {"disks": (replace(DISK, free_bytes=0),)}, ("error", "disk-shards")),
    ("machine", {"disks": (replace(DISK, free_bytes=2 * GIB),)}, ("warning", "disk-shards")),
    (
        "machine",
        {"disks": (replace(DISK, purpose="tmp", free_bytes=40 * GIB),)},
        ("warning", "disk-tmp"),
    ),
    ("machine", {"disks": (replace(DISK, free_inodes=12),)}, ("error", "inodes-shards")),
    (
        "machine",
        {"disks": (replace(DISK, is_writable=False),)},
        ("error", "not-writable-shards"),
    ),
    ("machine", {"disks": (replace(DISK, is_folder=False),)}, ("error", "no-folder-shards")),
    ("machine", {"open_files_soft": 64, "open_files_hard": 64}, ("error", "open-files")),
    ("machine", {"open_files_soft": 4096, "open_files_hard": 4096}, ("warning", "open-files")),
    ("machine", {"now_s": 1.8e9}, ("warning", "clock")),
    (
        "libraries",
        {"packages": (replace(PYARROW, installed="14.0.0"),)},
        ("error", "package-pyarrow"),
    ),
    ("libraries", {"packages": (replace(PYARROW, installed=None),)}, ("error", "package-pyarrow")),
    (
        "libraries",
        {"packages": (replace(PYARROW, installed="27.0"),)},
        ("warning", "package-pyarrow"),
    ),
    (
        "libraries",
        {"imports": (ImportSeen(module="torchvision", error=NMS),)},
        ("error", "torchvision-mismatch"),
    ),
    (
        "libraries",
        {"torch": replace(TORCH, torchvision_wants="==2.14.1")},
        ("error", "torchvision-mismatch"),
    ),
    (
        "libraries",
        {"imports": (ImportSeen(module="nibabel", error="ended by signal 11"),)},
        ("error", "import-nibabel"),
    ),
    ("libraries", {"gpus": (), "torch": replace(TORCH, num_gpus=0)}, ("error", "gpu-driver")),
    (
        "libraries",
        {"gpus": (), "driver_error": "Driver/library version mismatch"},
        ("error", "gpu-driver"),
    ),
    (
        "libraries",
        {"torch": replace(TORCH, num_gpus=0, warning="driver too old")},
        ("error", "gpu-unusable"),
    ),
    (
        "libraries",
        {"torch": replace(TORCH, num_gpus=0, cuda=None)},
        ("error", "torch-without-cuda"),
    ),
    ("libraries", {"gpus": (replace(GPU, used_bytes=70 * GIB),)}, ("warning", "gpu-memory")),
    ("libraries", {"gpus": (replace(GPU, total_bytes=3 * GIB),)}, ("warning", "gpu-memory")),
    (
        "libraries",
        {"gpus": (replace(GPU, compute_mode="Exclusive_Process"),)},
        ("warning", "gpu-exclusive"),
    ),
    (
        "services",
        {"unsafe_switches": {"RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE": "1"}},
        ("error", "unsafe-switch"),
    ),
    ("services", {"token": TokenSeen(source=None)}, ("error", "no-token")),
    ("services", {"token": TokenSeen(source="t", error="it is empty")}, ("error", "no-token")),
    ("services", {"token": TokenSeen(source="t", mode=0o644)}, ("error", "token-readable")),
    ("services", {"ray": replace(ASKED, error="refused")}, ("error", "ray-unreachable")),
    ("services", {"ray": replace(ASKED, status_without_token=200)}, ("error", "ray-open")),
    ("services", {"ray": replace(ASKED, status_with_token=403)}, ("error", "token-refused")),
    ("services", {"ray": replace(ASKED, is_token_withheld=True)}, ("warning", "token-untried")),
    ("services", {"ray": replace(ASKED, version="2.52.1")}, ("error", "ray-version")),
    ("services", {"ray": replace(ASKED, clock_ahead_s=-600.0)}, ("warning", "clock-differs")),
    (
        "services",
        {"aim": replace(SERVICES.aim, is_writable=False)},
        ("error", "aim-not-writable"),
    ),
    ("services", {"aim": replace(SERVICES.aim, error="corrupt")}, ("error", "aim-broken")),
    ("services", {"aim": replace(SERVICES.aim, num_outdated=3)}, ("warning", "aim-index")),
    ("services", {"data": replace(SERVICES.data, strangers=("x",))}, ("warning", "data")),
]


def test_a_healthy_machine_has_nothing_to_mend() -> None:
    told = findings()
    assert bad(told) == []
    assert {finding.code for finding in told} >= {"gpu", "torch", "memory", "ray", "aim", "data"}


@pytest.mark.parametrize(("area", "fields", "expected"), PLANTED)
def test_a_planted_defect_is_the_one_finding_and_has_a_remedy(
    area: str, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    told = findings(**{area: fields})
    assert bad(told) == [expected]
    (found,) = (finding for finding in told if finding.level != "ok")
    assert found.message
    assert found.remedy


def test_a_machine_without_gpu_and_cluster_is_healthy() -> None:
    torch = replace(TORCH, num_gpus=0)
    alone = replace(ASKED, address=None)
    told = findings(
        libraries={"gpus": (), "pci_gpus": 0, "torch": torch},
        services={"ray": alone, "token": TokenSeen(source=None)},
    )
    assert bad(told) == []


def test_an_area_that_could_not_be_looked_at_is_an_error_and_the_others_are_told() -> None:
    told = findings_of(
        Seen(machine=None, libraries=None, services=SERVICES, failures={"machine": "OSError: x"})
    )
    assert bad(told) == [("error", "unseen-machine")]
    assert any(finding.code == "aim" for finding in told)


def test_a_version_before_one_is_newer_with_its_minor_number() -> None:
    nilearn = replace(PYARROW, name="nilearn", wanted=">=0.13", tested="0.14.1")
    same = findings(libraries={"packages": (replace(nilearn, installed="0.14.9"),)})
    newer = findings(libraries={"packages": (replace(nilearn, installed="0.15.0"),)})
    assert bad(same) == []
    assert bad(newer) == [("warning", "package-nilearn")]
