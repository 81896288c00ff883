"""Looks at installed packages, at whether they import, at torch and GPUs; judges nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from spectrum.doctor.asking import Answer, ask_probe
from spectrum.doctor.requirements import see_packages, wanted_by
from spectrum.doctor.seen import GpuSeen, ImportSeen, LibrariesSeen, TorchSeen

__all__ = ["count_pci_gpus", "see_libraries"]

IMPORTS: Final = (
    ("torch", "torchvision"),
    ("pyarrow.parquet", "nibabel", "isal.igzip", "SimpleITK", "ray"),
)
"""Libraries with compiled parts, each row in one process: arrays, images, shards, search."""

NVIDIA_SMI: Final = "nvidia-smi"
SMI_FIELDS: Final = "name,driver_version,memory.total,memory.used,compute_mode"
SMI_WAIT_S: Final = 20.0
MIB: Final = 2**20
NVIDIA_VENDOR: Final = "0x10de"
DISPLAY_CLASSES: Final = ("0x0300", "0x0302")
"""PCI classes of VGA and 3-D controllers."""


def see_libraries(root: Path = Path("/")) -> LibrariesSeen:
    """Look at the libraries of this interpreter and the GPUs of this machine.

    Parameters
    ----------
    root : of the file system
    """
    with ThreadPoolExecutor(len(IMPORTS)) as pool:
        asked = [pool.submit(ask_probe, "imports", *modules) for modules in IMPORTS]
        gpus, driver_error = _see_gpus()
        packages, answers = see_packages(), [one.result() for one in asked]
    return LibrariesSeen(
        packages=packages,
        imports=tuple(seen for answer in answers for seen in _imports(answer)),
        torch=_torch(answers),
        gpus=gpus,
        pci_gpus=count_pci_gpus(root),
        driver_error=driver_error,
    )


def _imports(answer: Answer) -> Iterable[ImportSeen]:
    """Yield each import that was tried; the last one begun is the one that ended the process."""
    done = {said["module"]: said["error"] for said in answer.said if "module" in said}
    begun = [said["begun"] for said in answer.said if "begun" in said]
    for module in begun:
        yield ImportSeen(module=module, error=done.get(module, answer.death))
    if not begun and answer.death:
        yield ImportSeen(module="spectrum", error=answer.death)


def _torch(answers: Iterable[Answer]) -> TorchSeen | None:
    told: list[dict[str, Any]] = [
        said["torch"] for answer in answers for said in answer.said if "torch" in said
    ]
    if not told:
        return None
    return TorchSeen(**told[0], torchvision_wants=wanted_by("torchvision", package="torch"))


def _see_gpus() -> tuple[tuple[GpuSeen, ...], str | None]:
    """Return what the driver tells of its GPUs, or what it says instead."""
    if shutil.which(NVIDIA_SMI) is None:
        return (), None
    try:
        done = subprocess.run(
            [NVIDIA_SMI, f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=SMI_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        return (), str(err)
    if done.returncode != 0:
        return (), " ".join((done.stdout + done.stderr).split()) or f"status {done.returncode}"
    return tuple(_gpu(line) for line in done.stdout.splitlines() if line.strip()), None


def _gpu(line: str) -> GpuSeen:
    name, driver, total, used, mode = (field.strip() for field in line.rsplit(",", 4))
    return GpuSeen(
        name=name,
        driver=driver,
        total_bytes=_mebibytes(total),
        used_bytes=_mebibytes(used),
        compute_mode=mode,
    )


def _mebibytes(text: str) -> int:
    """Return bytes; a GPU that is divided tells no memory of the whole."""
    return int(text) * MIB if text.isdigit() else 0


def count_pci_gpus(root: Path) -> int:
    """Count NVIDIA display devices on the bus, whether a driver has them or not."""
    devices = (root / "sys/bus/pci/devices").glob("*/vendor")
    return sum(_is_nvidia_gpu(vendor) for vendor in devices)


def _is_nvidia_gpu(vendor: Path) -> bool:
    try:
        kind = (vendor.parent / "class").read_text().strip()
        return vendor.read_text().strip() == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASSES)
    except OSError:
        return False
