"""Checks of Python, processors, memory, disks, open files and the clock. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from packaging.specifiers import SpecifierSet

from spectrum.data.describing import GIB, MIB, size_text
from spectrum.doctor.findings import Finding, error, ok, warning
from spectrum.doctor.seen import CpuSeen, DiskSeen, MachineSeen, MemorySeen

__all__ = ["check_machine"]

LEAST_MEMORY: Final = 2 * GIB
"""Importing torch, Ray and Aim in driver and one trial takes most of it."""

GOOD_MEMORY: Final = 4 * GIB
"""``spectrum demo`` peaks at 3.3 GiB."""

LEAST_SHM: Final = 128 * MIB
"""Containers get 64 MiB where nobody asks for more; NCCL and Ray's store need more."""

STORE_SHARE: Final = 0.3
"""Share of memory that Ray's object store takes (``ray_constants``, 2.60)."""

LEAST_DISK: Final = GIB
GOOD_DISK: Final = 10 * GIB
"""The four data sets of the project are about 50 GB raw, a shard set a few GiB."""

RAY_DISK_SHARE: Final = 0.95
"""Ray makes no new objects on a fuller disk (``local_fs_capacity_threshold``, 2.60)."""

LEAST_INODES: Final = 10_000
"""Aim alone makes 18 files a trial."""

LEAST_FILES: Final = 1024
GOOD_FILES: Final = 8192
"""Ray's own recommendation for a node."""

CLOCK_SLACK_S: Final = 86_400.0


def check_machine(seen: MachineSeen) -> Iterator[Finding]:
    """Yield what is to be said of the machine itself."""
    yield _python(seen)
    yield from _cpus(seen.cpu)
    yield _memory(seen.memory)
    yield from _shared_memory(seen.memory)
    for disk in seen.disks:
        yield _disk(disk)
    yield _open_files(seen)
    yield _clock(seen)


def _python(seen: MachineSeen) -> Finding:
    if seen.python_range and not SpecifierSet(seen.python_range).contains(seen.python):
        return error(
            "python-version",
            f"Python {seen.python} runs here, {seen.python_range} is expected.",
            "Make a virtual environment with Python 3.11 or 3.12 and install Spectrum there.",
        )
    return ok("python", f"Python {seen.python} on {seen.system}.")


def _cpus(seen: CpuSeen) -> Iterator[Finding]:
    quota, load = seen.quota_cpus, seen.load_1min
    is_fine = True
    if quota is not None and quota < seen.allowed - 0.5:
        is_fine = False
        yield warning(
            "cpu-quota",
            f"This container shows {seen.allowed} CPUs but may use {quota:g} of them; Ray would "
            "start a worker for each.",
            f"Give --cpus {max(1, int(quota))} to prepare, train and search.",
        )
    if load is not None and load > 2 * seen.allowed:
        is_fine = False
        yield warning(
            "cpu-oversubscribed",
            f"{load:.0f} processes want the {seen.allowed} CPUs: everything takes about "
            f"{load / seen.allowed:.0f} times as long.",
            "Wait for the others, or set OMP_NUM_THREADS=1 where each of them takes all CPUs.",
        )
    if seen.nice > 0:
        is_fine = False
        yield warning(
            "nice",
            f"This shell runs at niceness {seen.nice}, behind every other process.",
            "Start from a shell that was not started by nice.",
        )
    if is_fine:
        yield ok("cpu", f"{seen.allowed} CPUs.")


def _memory(seen: MemorySeen) -> Finding:
    free, where = seen.available_bytes, ""
    if seen.limit_bytes is not None and seen.limit_bytes < seen.total_bytes:
        left = max(0, seen.limit_bytes - (seen.limit_used_bytes or 0))
        free, where = min(free, left), f", within the container's {size_text(seen.limit_bytes)}"
    said = f"{size_text(free)} of memory are free of {size_text(seen.total_bytes)}{where}"
    remedy = (
        "End other programs, or search with fewer trials at a time (--cpus), a smaller "
        "training.batch_size with training.accumulation_steps, and training.feeding: stream."
    )
    if free < LEAST_MEMORY:
        return error("memory", f"{said}; a search needs {size_text(LEAST_MEMORY)}.", remedy)
    if free < GOOD_MEMORY:
        return warning("memory", f"{said}; the demo takes up to 3.3 GiB.", remedy)
    return ok("memory", f"{said}.")


def _shared_memory(seen: MemorySeen) -> Iterator[Finding]:
    total, free = seen.shm_total_bytes, seen.shm_free_bytes
    if total is None or free is None:
        return
    said = f"/dev/shm has {size_text(total)}, {size_text(free)} of them free"
    remedy = "Start the container with --shm-size (docker: --shm-size=8g), or empty /dev/shm."
    store = STORE_SHARE * (seen.limit_bytes or seen.total_bytes)
    if total < LEAST_SHM:
        yield warning(
            "shared-memory",
            f"{said}: Ray keeps its objects on disk instead, and several GPUs cannot talk.",
            remedy,
        )
    elif free < store:
        yield warning(
            "shared-memory",
            f"{said}; Ray wants {size_text(store)} and otherwise keeps its objects on disk.",
            remedy,
        )
    else:
        yield ok("shared-memory", f"{said}.")


def _disk(seen: DiskSeen) -> Finding:
    where = f"{seen.purpose} ({seen.folder})"
    remedy = (
        "Free space (`spectrum shards prune`, `spectrum study rm`), or choose another disk with "
        "--shards, --studies, --out or TMPDIR."
    )
    if not seen.is_folder:
        return error(
            f"no-folder-{seen.purpose}",
            f"{seen.existing} is no folder, and {where} should be below it.",
            "Move the file away, or name another folder.",
        )
    if not seen.is_writable:
        return error(
            f"not-writable-{seen.purpose}",
            f"{seen.existing} cannot be written to, and {where} should be there.",
            "Change its owner or mode, mount it for writing, or name another folder.",
        )
    free = size_text(seen.free_bytes)
    said = f"{free} are free for {where}"
    if seen.free_bytes < LEAST_DISK:
        return error(f"disk-{seen.purpose}", f"{said}: no space.", remedy)
    if seen.free_inodes is not None and seen.free_inodes < LEAST_INODES:
        return error(
            f"inodes-{seen.purpose}",
            f"{seen.free_inodes} more files fit on the disk for {where}; a trial makes dozens.",
            remedy,
        )
    return _roomy(seen, said, remedy)


def _roomy(seen: DiskSeen, said: str, remedy: str) -> Finding:
    is_ray_stuck = seen.free_bytes < (1 - RAY_DISK_SHARE) * seen.total_bytes
    if seen.purpose == "tmp" and is_ray_stuck:
        why = f"{said}, under 5 %: Ray makes no new objects on so full a disk."
        return warning(_code(seen), why, remedy)
    if seen.free_bytes < GOOD_DISK:
        return warning(_code(seen), f"{said}; shards and checkpoints may need more.", remedy)
    return ok(_code(seen), f"{said}.")


def _code(seen: DiskSeen) -> str:
    return f"disk-{seen.purpose}"


def _open_files(seen: MachineSeen) -> Finding:
    soft, hard = seen.open_files_soft, seen.open_files_hard
    if soft is None:
        return ok("open-files", "A process may have any number of files open.")
    said = f"A process may have {soft} files open"
    wanted = GOOD_FILES if hard is None else min(GOOD_FILES, hard)
    remedy = f"Run `ulimit -n {wanted}` in this shell"
    if hard is not None and hard < GOOD_FILES:
        remedy += f", or have the hard limit of {hard} raised (/etc/security/limits.conf)"
    if (hard is not None and hard < LEAST_FILES) or soft < LEAST_FILES:
        return error("open-files", f"{said}; Ray and Aim need {LEAST_FILES}.", f"{remedy}.")
    if hard is not None and hard < GOOD_FILES:
        return warning("open-files", f"{said}; Ray recommends {GOOD_FILES}.", f"{remedy}.")
    return ok("open-files", f"{said}.")


def _clock(seen: MachineSeen) -> Finding:
    behind_s = seen.newest_file_s - seen.now_s
    if behind_s > CLOCK_SLACK_S:
        return warning(
            "clock",
            f"The clock is {behind_s / CLOCK_SLACK_S:.0f} days behind files of this installation.",
            "Set the clock (timedatectl set-ntp true); studies and shards carry its dates.",
        )
    return ok("clock", "The clock is not behind this installation's files.")
