"""Checks of installed versions, imports, torch with torchvision, and GPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from spectrum.data.describing import GIB, size_text
from spectrum.doctor.findings import Finding, error, ok, warning
from spectrum.doctor.seen import (
    GpuSeen,
    ImportSeen,
    LibrariesSeen,
    PackageSeen,
    TorchSeen,
)

__all__ = ["check_libraries"]

GOOD_GPU_MEMORY: Final = 4 * GIB

OUT_OF_MEMORY: Final = (
    "After `CUDA out of memory` set training.batch_size lower with training.accumulation_steps: "
    "auto, training.precision: bfloat16, or fewer trials a GPU (study.gpus_per_worker)."
)

MISMATCHES: Final = ("torchvision::", "compiled with different CUDA", "undefined symbol")
"""How torchvision 0.15 to 0.29 fails beside a torch that it was not built for."""

REINSTALL: Final = "Run: python -m pip install --force-reinstall {}"


def check_libraries(seen: LibrariesSeen) -> Iterator[Finding]:
    """Yield what is to be said of packages, imports, torch and GPUs."""
    yield from _packages(seen.packages)
    yield from _imports(seen.imports)
    if seen.torch is not None:
        yield from _pair(seen.torch)
    yield from _gpu(seen)


def _packages(packages: tuple[PackageSeen, ...]) -> Iterator[Finding]:
    found = [finding for package in packages if (finding := _package(package)) is not None]
    yield from found
    if packages and not found:
        yield ok("packages", f"All {len(packages)} dependencies are within their ranges.")


def _package(seen: PackageSeen) -> Finding | None:
    requirement = f'"{seen.name}{seen.wanted}"'
    remedy = f"Run: python -m pip install {requirement}"
    if seen.installed is None:
        return error(f"package-{seen.name}", f"{seen.name} is not installed.", remedy)
    version = _version(seen.installed)
    if version is None or not SpecifierSet(seen.wanted).contains(version, prereleases=True):
        return error(
            f"package-{seen.name}",
            f"{seen.name} {seen.installed} is installed, {seen.wanted} is expected.",
            remedy,
        )
    tested = _version(seen.tested) if seen.tested else None
    if tested is not None and _generation(version) > _generation(tested):
        return warning(
            f"package-{seen.name}",
            f"{seen.name} {seen.installed} is newer than what was tested, {seen.tested}.",
            f'If something breaks, run: python -m pip install "{seen.name}=={seen.tested}"',
        )
    return None


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _generation(version: Version) -> tuple[int, int]:
    """Return the part of a version whose change may break its users: before 1.0 the minor too."""
    return (version.major, version.minor if version.major == 0 else 0)


def _imports(imports: tuple[ImportSeen, ...]) -> Iterator[Finding]:
    broken = [seen for seen in imports if seen.error is not None]
    for seen in broken:
        if seen.module == "torchvision" and any(sign in str(seen.error) for sign in MISMATCHES):
            yield _mismatch(str(seen.error))
        else:
            yield error(
                f"import-{seen.module}",
                f"{seen.module} cannot be imported: {seen.error}",
                REINSTALL.format(seen.module),
            )
    if imports and not broken:
        yield ok("imports", f"{', '.join(seen.module for seen in imports)} can be imported.")


def _mismatch(why: str) -> Finding:
    return error(
        "torchvision-mismatch",
        f"torchvision was built for another torch ({why}).",
        "Install both from one place: python -m pip install --force-reinstall torch torchvision, "
        "with the same --index-url for both where one is needed (for CPUs: "
        "https://download.pytorch.org/whl/cpu).",
    )


def _pair(seen: TorchSeen) -> Iterator[Finding]:
    version = Version(seen.version)
    wanted = SpecifierSet(seen.torchvision_wants or "")
    if not wanted.contains(version.public, prereleases=True):
        yield _mismatch(f"it asks for torch {wanted}, {seen.version} is installed")
    else:
        build = f"for CUDA {seen.cuda}" if seen.cuda else "for CPUs alone"
        yield ok("torch", f"torch {seen.version}, built {build}.")


def _gpu(seen: LibrariesSeen) -> Iterator[Finding]:
    usable = seen.torch.num_gpus if seen.torch else 0
    if seen.driver_error is not None:
        yield error(
            "gpu-driver",
            f"nvidia-smi does not answer: {seen.driver_error}",
            "Install the NVIDIA driver again, with the version of the loaded kernel module, and "
            "restart; in a container, start it with --gpus all.",
        )
    elif seen.pci_gpus and not seen.gpus:
        yield error(
            "gpu-driver",
            f"{seen.pci_gpus} NVIDIA device(s) are in this machine, but no driver answers.",
            "Install the NVIDIA driver (ubuntu-drivers install); in a container, start it with "
            "--gpus all.",
        )
    elif not seen.gpus and not usable:
        yield ok("gpu", "No NVIDIA GPU is here: training runs on the CPU.")
    elif seen.torch is not None and not usable:
        yield _unusable(seen.torch, seen.gpus)
    for index, gpu in enumerate(seen.gpus):
        yield from _one_gpu(index, gpu)


def _unusable(torch: TorchSeen, gpus: tuple[GpuSeen, ...]) -> Finding:
    if torch.cuda is None:
        return error(
            "torch-without-cuda",
            f"torch {torch.version} is built for CPUs alone, and {gpus[0].name} is here.",
            "Run: python -m pip install --force-reinstall torch torchvision",
        )
    why = torch.warning or "CUDA_VISIBLE_DEVICES may hide it"
    return error(
        "gpu-unusable",
        f"torch {torch.version} (CUDA {torch.cuda}) finds no GPU beside driver "
        f"{gpus[0].driver}: {why}.",
        "Unset CUDA_VISIBLE_DEVICES, install a newer driver, or a torch for an older CUDA.",
    )


def _one_gpu(index: int, gpu: GpuSeen) -> Iterator[Finding]:
    said = (
        f"GPU {index}, {gpu.name}, driver {gpu.driver}: {size_text(gpu.used_bytes)} of "
        f"{size_text(gpu.total_bytes)} are in use"
    )
    is_fine = True
    if gpu.used_bytes > gpu.total_bytes / 2:
        is_fine = False
        yield warning("gpu-memory", f"{said}.", f"End what uses it (nvidia-smi). {OUT_OF_MEMORY}")
    elif gpu.total_bytes < GOOD_GPU_MEMORY:
        is_fine = False
        yield warning("gpu-memory", f"{said}; larger models will not fit.", OUT_OF_MEMORY)
    if gpu.compute_mode.startswith("Exclusive"):
        is_fine = False
        yield warning(
            "gpu-exclusive",
            f"GPU {index} takes one process at a time ({gpu.compute_mode}).",
            f"Set study.gpus_per_worker: 1, or run: nvidia-smi -i {index} -c DEFAULT",
        )
    if is_fine:
        yield ok("gpu", f"{said}.")
