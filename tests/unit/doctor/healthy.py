"""A machine on which all is well, to plant one defect at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spectrum.doctor.examination import findings_of
from spectrum.doctor.findings import Finding
from spectrum.doctor.seen import (
    AimSeen,
    CpuSeen,
    DataSeen,
    DiskSeen,
    GpuSeen,
    ImportSeen,
    LibrariesSeen,
    MachineSeen,
    MemorySeen,
    PackageSeen,
    RaySeen,
    Seen,
    ServicesSeen,
    TokenSeen,
    TorchSeen,
)

GIB = 2**30

CPU = CpuSeen(allowed=8, quota_cpus=8.0, load_1min=3.0)
MEMORY = MemorySeen(
    total_bytes=32 * GIB,
    available_bytes=24 * GIB,
    shm_total_bytes=16 * GIB,
    shm_free_bytes=15 * GIB,
)
DISK = DiskSeen(
    purpose="shards",
    folder="shards",
    existing="/data",
    is_folder=True,
    is_writable=True,
    total_bytes=1000 * GIB,
    free_bytes=500 * GIB,
    free_inodes=1_000_000,
)
MACHINE = MachineSeen(
    python="3.12.4",
    python_range=">=3.11,<3.13",
    system="Linux 6.1",
    cpu=CPU,
    memory=MEMORY,
    disks=(DISK,),
    open_files_soft=65536,
    open_files_hard=65536,
    now_s=2e9,
    newest_file_s=1.9e9,
)
PYARROW = PackageSeen(name="pyarrow", wanted=">=24", installed="26.0.1", tested="26.0.1")
TORCH = TorchSeen(version="2.15.0+cu130", cuda="13.0", num_gpus=1, torchvision_wants="==2.15.0")
GPU = GpuSeen(name="NVIDIA H100", driver="580.1", total_bytes=80 * GIB, used_bytes=GIB)
LIBRARIES = LibrariesSeen(
    packages=(PYARROW,),
    imports=(ImportSeen(module="torch"), ImportSeen(module="torchvision")),
    torch=TORCH,
    gpus=(GPU,),
    pci_gpus=1,
)
ASKED = RaySeen(
    address="http://localhost:8265",
    status_without_token=401,
    status_with_token=200,
    version="2.60.0",
    own_version="2.60.0",
    clock_ahead_s=0.5,
)
SERVICES = ServicesSeen(
    ray=ASKED,
    token=TokenSeen(source="/home/me/.spectrum/ray_token", mode=0o600),
    aim=AimSeen(folder="studies", exists=True, num_runs=9),
    data=DataSeen(folder="data/raw", exists=True, num_datasets=4),
)


def findings(
    *,
    machine: dict[str, Any] | None = None,
    libraries: dict[str, Any] | None = None,
    services: dict[str, Any] | None = None,
) -> tuple[Finding, ...]:
    """Judge the healthy machine with some fields replaced."""
    return findings_of(
        Seen(
            machine=replace(MACHINE, **machine or {}),
            libraries=replace(LIBRARIES, **libraries or {}),
            services=replace(SERVICES, **services or {}),
        )
    )


def bad(told: tuple[Finding, ...]) -> list[tuple[str, str]]:
    """Return level and code of what is not ok."""
    return [(finding.level, finding.code) for finding in told if finding.level != "ok"]
