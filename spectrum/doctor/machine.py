"""Looks at Python, processors, memory, disks, open files and the clock; judges nothing."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

import spectrum
from spectrum.doctor.requirements import python_range
from spectrum.doctor.seen import CpuSeen, DiskSeen, MachineSeen, MemorySeen
from spectrum.launch import available_cpus

__all__ = ["see_disk", "see_machine", "see_memory"]

SHM: Final = Path("/dev/shm")
CGROUP: Final = Path("/sys/fs/cgroup")

_NO_LIMIT: Final = 2**60
"""cgroup v1 writes a number near 2**63 where there is no limit."""


def see_machine(folders: Mapping[str, Path]) -> MachineSeen:
    """Look at this machine, and at the disk of each folder, by its purpose."""
    soft, hard = _open_files()
    package = Path(spectrum.__file__)
    return MachineSeen(
        python=platform.python_version(),
        python_range=python_range(),
        system=f"{platform.system()} {platform.release()}",
        cpu=_see_cpu(CGROUP),
        memory=see_memory(),
        disks=tuple(see_disk(purpose, folder) for purpose, folder in folders.items()),
        open_files_soft=soft,
        open_files_hard=hard,
        now_s=time.time(),
        newest_file_s=max(path.stat().st_mtime for path in package.parent.glob("*.py")),
    )


def _open_files() -> tuple[int | None, int | None]:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in limits)
    return soft, hard


def _see_cpu(cgroup: Path) -> CpuSeen:
    return CpuSeen(
        allowed=available_cpus(),
        quota_cpus=_quota(cgroup),
        load_1min=os.getloadavg()[0],
        nice=os.nice(0),
    )


def _quota(cgroup: Path) -> float | None:
    """Return the CPUs that a container may use, of cgroup v2 or v1; None without a limit."""
    both = _words(cgroup / "cpu.max") or [
        *_words(cgroup / "cpu/cpu.cfs_quota_us"),
        *_words(cgroup / "cpu/cpu.cfs_period_us"),
    ]
    if len(both) != 2 or not both[0].isdigit() or not both[1].isdigit() or both[1] == "0":
        return None
    return int(both[0]) / int(both[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def see_memory(*, shm: Path = SHM, cgroup: Path = CGROUP) -> MemorySeen:
    """Look at memory, at a container's limit, and at shared memory."""
    memory = psutil.virtual_memory()
    shared = shutil.disk_usage(shm) if shm.is_dir() else None
    limit = _bytes(cgroup, "memory.max", "memory/memory.limit_in_bytes")
    used = _bytes(cgroup, "memory.current", "memory/memory.usage_in_bytes")
    return MemorySeen(
        total_bytes=memory.total,
        available_bytes=memory.available,
        limit_bytes=limit if limit is not None and limit < _NO_LIMIT else None,
        limit_used_bytes=used,
        shm_total_bytes=shared.total if shared else None,
        shm_free_bytes=shared.free if shared else None,
    )


def _bytes(cgroup: Path, *names: str) -> int | None:
    words = [word for name in names for word in _words(cgroup / name)]
    return next((int(word) for word in words if word.isdigit()), None)


def see_disk(purpose: str, folder: Path) -> DiskSeen:
    """Look at the disk under a folder that is there, or is yet to be made."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    usage = shutil.disk_usage(existing)
    inodes = os.statvfs(existing)
    return DiskSeen(
        purpose=purpose,
        folder=str(folder),
        existing=str(existing),
        is_folder=existing.is_dir(),
        is_writable=os.access(existing, os.W_OK | os.X_OK),
        total_bytes=usage.total,
        free_bytes=usage.free,
        free_inodes=inodes.f_favail if inodes.f_files else None,
    )
