"""What was seen on a machine, as frozen records. None says: could not be seen here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "AimSeen",
    "CpuSeen",
    "DataSeen",
    "DiskSeen",
    "GpuSeen",
    "ImportSeen",
    "LibrariesSeen",
    "MachineSeen",
    "MemorySeen",
    "PackageSeen",
    "RaySeen",
    "Seen",
    "ServicesSeen",
    "TokenSeen",
    "TorchSeen",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSeen:
    """``allowed`` CPUs of this process, ``quota_cpus`` of its container, load over a minute."""

    allowed: int
    quota_cpus: float | None = None
    load_1min: float | None = None
    nice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySeen:
    """Bytes of memory, of the container's limit, and of ``/dev/shm``."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    limit_used_bytes: int | None = None
    shm_total_bytes: int | None = None
    shm_free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSeen:
    """The disk under a folder; ``existing`` is the folder, or the nearest one above that exists.

    ``free_inodes`` is None where the file system does not count them.
    """

    purpose: str
    folder: str
    existing: str
    is_folder: bool
    is_writable: bool
    total_bytes: int
    free_bytes: int
    free_inodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSeen:
    """Python, processors, memory, disks, limits and the clock (seconds since 1970)."""

    python: str
    python_range: str
    system: str
    cpu: CpuSeen
    memory: MemorySeen
    disks: tuple[DiskSeen, ...]
    open_files_soft: int | None
    open_files_hard: int | None
    now_s: float
    newest_file_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSeen:
    """A dependency: the range that is asked for, and what is installed; None where it is not."""

    name: str
    wanted: str
    installed: str | None
    tested: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSeen:
    """Whether a library could be imported, in a process of its own; ``error`` says why not."""

    module: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSeen:
    """What torch says of itself and of GPUs; ``warning`` is what it warned of when asked.

    ``cuda`` is the CUDA version that it was built for, None for a build for CPUs;
    ``torchvision_wants`` is the range of torch that the installed torchvision asks for.
    """

    version: str
    cuda: str | None
    num_gpus: int
    warning: str = ""
    torchvision_wants: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSeen:
    """One GPU as its driver tells it."""

    name: str
    driver: str
    total_bytes: int
    used_bytes: int
    compute_mode: str = "Default"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibrariesSeen:
    """Packages, imports, torch and GPUs.

    ``pci_gpus`` are NVIDIA devices on the bus, with a driver or without; ``driver_error`` is what
    the driver's own command said in place of an answer, None where it answered or is not there.
    """

    packages: tuple[PackageSeen, ...]
    imports: tuple[ImportSeen, ...] = ()
    torch: TorchSeen | None = None
    gpus: tuple[GpuSeen, ...] = ()
    pci_gpus: int = 0
    driver_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSeen:
    """Where Ray's token is, never what it is; ``mode`` is that of its file."""

    source: str | None
    mode: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySeen:
    """What answered at an address, if one was asked.

    ``status_without_token`` and ``status_with_token`` are HTTP statuses of its dashboard, None
    where that was not asked; ``clock_ahead_s`` is its clock less ours, to a second.
    """

    address: str | None = None
    error: str | None = None
    status_without_token: int | None = None
    status_with_token: int | None = None
    is_token_withheld: bool = False
    version: str | None = None
    own_version: str | None = None
    clock_ahead_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AimSeen:
    """An Aim repository; ``num_outdated`` runs are not in its index as they are now."""

    folder: str
    exists: bool
    is_writable: bool = True
    num_runs: int = 0
    num_outdated: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSeen:
    """Folders under the one of raw data, and those that are no BIDS data set."""

    folder: str
    exists: bool
    num_datasets: int = 0
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesSeen:
    """Ray, its token, switches that let data run code, Aim, and the data at hand."""

    ray: RaySeen
    token: TokenSeen
    aim: AimSeen
    data: DataSeen
    unsafe_switches: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen; ``failures`` says, by area, why an area could not be looked at."""

    machine: MachineSeen | None
    libraries: LibrariesSeen | None
    services: ServicesSeen | None
    failures: Mapping[str, str] = field(default_factory=dict)
