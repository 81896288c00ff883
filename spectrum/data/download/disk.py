"""Whether what is still to come fits on the disk, told before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spectrum.data.download.config import DownloadRequest
from spectrum.data.download.names import STATE_FOLDER
from spectrum.data.download.part_file import state_name
from spectrum.data.download.plan import DatasetPlan, PlannedFile
from spectrum.errors import DownloadError

__all__ = ["check_space", "first_existing", "wanted_bytes"]


def first_existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    at = folder.absolute()
    while not at.exists():
        at = at.parent
    return at


def check_space(request: DownloadRequest, plans: Iterable[DatasetPlan], free_bytes: int) -> None:
    """Raise DownloadError, code ``disk-full``, where what is missing does not fit.

    Parameters
    ----------
    request : names the folder
    plans : what is to be there
    free_bytes : of the disk
    """
    wanted = wanted_bytes(request, plans)
    if wanted > free_bytes:
        raise DownloadError(
            f"{wanted} bytes are still to be fetched, and the disk of {request.out} has "
            f"{free_bytes} free: {wanted - free_bytes} are missing. Free them, choose fewer "
            "subjects with --subject, or another disk with --out.",
            code="disk-full",
            path=str(request.out),
        )


def wanted_bytes(request: DownloadRequest, plans: Iterable[DatasetPlan]) -> int:
    """Return the bytes that are still to be written."""
    return sum(
        max(0, file.num_bytes - _bytes_there(request, plan.dataset, file))
        for plan in plans
        for file in plan.files
    )


def _bytes_there(request: DownloadRequest, dataset: str, file: PlannedFile) -> int:
    root = request.out / dataset
    whole = 0 if request.force else _allocated_bytes(root / file.path)
    return max(whole, _allocated_bytes(root / STATE_FOLDER / f"{state_name(file.path)}.part"))


def _allocated_bytes(path: Path) -> int:
    """Return the bytes that a file takes up, at most its size: a part file has holes."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512)
