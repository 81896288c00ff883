"""The run table: every BOLD run of BIDS trees, raw or from fMRIPrep, with what is wrong.

Headers and sidecars are read, never a voxel. Not here: how one tree is read (``indexing``), which
class a run has (targets), and what a table of runs amounts to under a target (``inspection``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from spectrum.config import DataConfig
from spectrum.data.candidates import find_candidates
from spectrum.data.events import read_events
from spectrum.data.indexing import index_tree
from spectrum.data.inheritance import find_files
from spectrum.data.inspection import inspect_table
from spectrum.data.runs import Problem, Run, RunTable
from spectrum.entities import RunKey
from spectrum.errors import DataError

Progress = Callable[[int, int], None]

__all__ = ["dataset_name", "find_run_images", "index_bids", "inspect_table", "read_events"]


def index_bids(
    roots: Sequence[Path],
    choices: DataConfig | None = None,
    *,
    on_run_done: Progress | None = None,
    leave_out: Callable[[RunKey], bool] | None = None,
) -> RunTable:
    """Find every BOLD run below BIDS roots.

    A run is an image ``*_bold`` with the extension ``.nii``, ``.nii.gz`` or ``.img`` (in
    derivatives: ``*_desc-preproc_bold``), or an ``*_events.tsv`` whose image is missing. Images
    of one run that differ in echo or in space are one run.

    Parameters
    ----------
    roots : folders that hold ``sub-*`` folders
        The folder's name is the name of the data set; see ``dataset_name``.
    choices : what counts where files contradict each other; None decides nothing
    on_run_done : told runs done and runs in all, as far as the roots are known
    leave_out : tells runs of which no file is opened, and which are not in the table

    Returns
    -------
    table : runs in the order of their keys, with absolute paths, and all problems
        Codes that refuse a run: those of ``images.read_image_header``, no-tr, tr-mismatch, odd-tr,
        bad-sidecar (unless the header's TR counts), multi-echo, no-echo-time, odd-echo-times,
        unequal-echoes. That refuse a file: bad-name, duplicate-run, no-such-space,
        unreadable-folder. Others: no-events, slice-times, other-slice-axis, other-output,
        not-magnitude, other-space, and what ``headers.parse_header`` finds odd.

    Raises
    ------
    DataError
        A root is no folder or holds no run, two roots are the same data set, or no run is in
        the space asked for.
    """
    _check_roots(roots)
    runs: list[Run] = []
    problems: list[Problem] = []
    for root in roots:
        raw = _raw_root(root)
        found, of_tree = index_tree(
            root.absolute(),
            dataset=dataset_name(root),
            raw=raw if raw is not None and raw.is_dir() else None,
            choices=choices or DataConfig(),
            on_run_done=_after(len(runs), on_run_done),
            leave_out=leave_out,
        )
        if not found and leave_out is None:
            raise DataError(_no_runs(root, of_tree), code="no-runs", path=str(root))
        runs += found
        problems += of_tree
    runs.sort(key=lambda run: run.key)
    return RunTable(
        runs=tuple(runs), problems=(*problems, *(p for run in runs for p in run.problems))
    )


def find_run_images(
    roots: Sequence[Path], choices: DataConfig | None = None
) -> dict[RunKey, tuple[Path, ...]]:
    """Return the images of each run below BIDS roots, by their names alone: no file is opened.

    Parameters
    ----------
    roots, choices : as for ``index_bids``

    Returns
    -------
    images : absolute paths, one an echo; runs without an image are left out
    """
    _check_roots(roots)
    found: dict[RunKey, tuple[Path, ...]] = {}
    for root in roots:
        tree = find_files(root.absolute())
        candidates, problems = find_candidates(tree, dataset_name(root), choices or DataConfig())
        if not candidates:
            raise DataError(_no_runs(root, problems), code="no-runs", path=str(root))
        found |= {c.key: tuple(file.path for file in c.files) for c in candidates}
    return dict(sorted(found.items()))


def _after(num_before: int, on_run_done: Progress | None) -> Progress | None:
    """Count on from the runs of the roots before."""
    if on_run_done is None:
        return None
    return lambda done, total: on_run_done(num_before + done, num_before + total)


def dataset_name(root: Path) -> str:
    """Return the name of the data set at a root.

    That is the folder's name; for derivatives the name of the data set they were made from:
    ``ds000002`` for ``ds000002/derivatives/fmriprep`` and for ``ds000002-fmriprep``.

    Examples
    --------
    >>> dataset_name(Path("/data/ds000002/derivatives/fmriprep"))
    'ds000002'
    """
    whole = root.resolve()
    raw = _raw_root(whole)
    return (raw or whole).name.removesuffix("-fmriprep")


def _raw_root(root: Path) -> Path | None:
    whole = root.resolve()
    return whole.parents[1] if whole.parent.name == "derivatives" else None


def _check_roots(roots: Sequence[Path]) -> None:
    for root in roots:
        if not root.is_dir():
            raise DataError(
                f"{root} is no folder. Give the root of a BIDS data set, with its sub-* folders.",
                code="no-root",
                path=str(root),
            )
    names = Counter(dataset_name(root) for root in roots)
    for root in roots:
        if names[dataset_name(root)] > 1:
            raise DataError(
                f"{names[dataset_name(root)]} roots are the data set {dataset_name(root)}. "
                "Give each data set once, raw or as derivatives.",
                code="same-dataset",
                path=str(root),
            )


def _no_runs(root: Path, problems: Sequence[Problem]) -> str:
    inner = sorted(path.parent.name for path in root.glob("*/dataset_description.json"))
    advice = (
        f"It holds data sets: give {', '.join(inner[:5])} instead."
        if inner
        else "Expected sub-*/[ses-*/]func/*_bold.nii.gz; give the root of a BIDS data set."
    )
    if problems:
        advice += f" {len(problems)} images were left out, the first: {problems[0].message}"
    return f"{root} has no BOLD run. {advice}"
