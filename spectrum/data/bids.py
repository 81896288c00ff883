"""The run table: every BOLD run of BIDS trees, raw or from fMRIPrep, with what is wrong.

Headers and sidecars are read, never a voxel. Not here: which class a run has (targets), and what
a table of runs amounts to under a target (``inspection``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spectrum.data.events import read_events
from spectrum.data.headers import ImageHeader
from spectrum.data.images import read_image_header
from spectrum.data.inheritance import BidsFile, BidsTree, find_files
from spectrum.data.inspection import inspect_table
from spectrum.data.runs import Problem, Run, RunTable
from spectrum.data.sidecars import read_repetition_time
from spectrum.entities import RunKey
from spectrum.errors import DataError, ImageError, SidecarError

__all__ = ["dataset_name", "index_bids", "inspect_table", "read_events"]

_IMAGE_EXTENSIONS: Final = (".nii.gz", ".nii")
_OF_OUTPUT: Final = frozenset({"space", "resolution", "density", "description"})
"""Entities by which outputs of fMRIPrep differ within one run."""

_TR_TOLERANCE_S: Final = 1e-3
"""Headers hold 32-bit floats and rounded milliseconds; what differs more is another TR."""


def index_bids(roots: Sequence[Path]) -> RunTable:
    """Find every BOLD run below BIDS roots.

    A run is an image ``*_bold.nii[.gz]`` (in derivatives: ``*_desc-preproc_bold.nii[.gz]``), or
    an ``*_events.tsv`` whose image is missing. The sidecar's TR wins over the header's.

    Parameters
    ----------
    roots : folders that hold ``sub-*`` folders
        The folder's name is the name of the data set; see ``dataset_name``.

    Returns
    -------
    table : runs in the order of their keys, with absolute paths, and all problems
        Codes: missing-image, unreadable-image, not-4d, no-tr, tr-mismatch, bad-sidecar,
        no-events, bad-name, duplicate-run, other-output, several-spaces.

    Raises
    ------
    DataError
        A root is no folder or holds no run, or two roots are the same data set.
    """
    _check_roots(roots)
    runs: list[Run] = []
    problems: list[Problem] = []
    for root in roots:
        found = _Indexer.open(root.absolute())
        runs += found.runs()
        problems += found.problems
    runs.sort(key=lambda run: run.key)
    return RunTable(
        runs=tuple(runs), problems=(*problems, *(p for run in runs for p in run.problems))
    )


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


@dataclass(frozen=True)
class _Indexer:
    """One root while its runs are found; ``problems`` are those of no run."""

    dataset: str
    tree: BidsTree
    raw: BidsTree | None
    problems: list[Problem]

    @classmethod
    def open(cls, root: Path) -> _Indexer:
        raw = _raw_root(root)
        return cls(
            dataset=dataset_name(root),
            tree=find_files(root),
            raw=find_files(raw) if raw is not None and raw.is_dir() else None,
            problems=[],
        )

    def runs(self) -> list[Run]:
        images = {key: file for key, file in self._unique(self._images())}
        runs = [self._run(key, file) for key, file in images.items()]
        known = {run.events_path for run in runs}
        lonely = (f for f in self._events_files() if f.path not in known)
        imageless = self._unique((self._key(f), f) for f in lonely)
        runs += [self._run_without_image(key, f) for key, f in imageless if key not in images]
        if not runs:
            raise DataError(_no_runs(self.tree.root), code="no-runs", path=str(self.tree.root))
        self._report_spaces(runs)
        return runs

    def _images(self) -> Iterator[tuple[RunKey | None, BidsFile]]:
        for file in self.tree.iter_files():
            if file.suffix != "bold" or file.extension not in _IMAGE_EXTENSIONS:
                continue
            if file.entities.get("description", "preproc") != "preproc":
                self._report("other-output", file, "is no preprocessed BOLD; it is left out")
            else:
                yield self._key(file), file

    def _events_files(self) -> Iterator[BidsFile]:
        for file in self.tree.iter_files():
            if (file.suffix, file.extension, file.path.parent.name) == ("events", ".tsv", "func"):
                yield file

    def _key(self, file: BidsFile) -> RunKey | None:
        try:
            key = RunKey.from_file_name(file.path.name, dataset=self.dataset)
        except SidecarError as err:
            self._report(err.code, file, "is left out: " + err.message.removesuffix("."))
            return None
        folder = file.path.relative_to(self.tree.root).parts[0]
        if folder not in (f"sub-{key.subject}", file.path.name):
            self._report("bad-name", file, f"lies in the folder of {folder}; it is left out")
            return None
        return key

    def _unique(
        self, found: Iterable[tuple[RunKey | None, BidsFile]]
    ) -> Iterator[tuple[RunKey, BidsFile]]:
        """Pass on the first file of each run; runs that differ in zeros only are the same."""
        seen: dict[RunKey, BidsFile] = {}
        for key, file in found:
            if key is None:
                continue
            number = str(key.run_number) if key.run_number is not None else key.run
            first = seen.setdefault(replace(key, run=number), file)
            if first is file:
                yield key, file
            else:
                self._report("duplicate-run", file, f"is the same run as {first.path.name}")

    def _run(self, key: RunKey, file: BidsFile) -> Run:
        problems: list[Problem] = []
        header = _try_header(file.path, problems)
        tr_s = self._tr_s(file, header, problems)
        events = self._events_of(file)
        if events is None:
            message = f"No events table speaks for {file.path}; no event of it can have a class."
            problems.append(Problem(code="no-events", path=str(file.path), message=message))
        return Run(
            key=key,
            path=file.path,
            tr_s=tr_s,
            shape=_four_sides(header) if header else None,
            voxel_mm=header.voxel_mm if header else None,
            events_path=events,
            confounds_path=self._beside(file, "confounds", ("timeseries", "regressors"), ".tsv"),
            brain_mask_path=self._beside(file, "brain", ("mask",), ".nii.gz"),
            is_derivative=_is_derivative(file),
            problems=tuple(problems),
        )

    def _run_without_image(self, key: RunKey, events: BidsFile) -> Run:
        name = events.path.name.removesuffix("_events.tsv")
        image = BidsFile(events.path.with_name(f"{name}_bold.nii.gz"))
        problems: list[Problem] = []
        _try_header(image.path, problems)
        return Run(
            key=key,
            path=image.path,
            tr_s=self._tr_s(image, None, problems),
            shape=None,
            voxel_mm=None,
            events_path=events.path,
            problems=tuple(problems),
        )

    def _tr_s(
        self, file: BidsFile, header: ImageHeader | None, problems: list[Problem]
    ) -> float | None:
        sidecars = [f.path for f in self.tree.find_inherited(file, "bold", ".json")]
        in_header = header.tr_s if header else None
        try:
            in_sidecar = read_repetition_time(sidecars)
        except SidecarError as err:
            problems.append(Problem(code=err.code, path=err.path, message=err.message))
            in_sidecar = None
        problem = _tr_problem(file.path, in_sidecar, in_header) if header else None
        problems += [problem] if problem else []
        return in_header if in_sidecar is None else in_sidecar

    def _events_of(self, file: BidsFile) -> Path | None:
        """Return the events table nearest to an image, of the raw tree if need be."""
        trees = [self.tree] if self.raw is None else [self.tree, self.raw]
        found = [f for tree in trees for f in tree.find_inherited(file, "events", ".tsv")[-1:]]
        return found[0].path if found else None

    def _beside(
        self, file: BidsFile, description: str, suffixes: tuple[str, ...], extension: str
    ) -> Path | None:
        """Return an output of fMRIPrep of the same run, in the same space where it has one."""
        for other in self.tree.files_of_folder.get(file.path.parent, ()):
            if (
                other.suffix in suffixes
                and other.extension == extension
                and other.entities.get("description") == description
                and _without_output(other) == _without_output(file)
                and _space_agrees(other, file)
            ):
                return other.path
        return None

    def _report(self, code: str, file: BidsFile, finding: str) -> None:
        message = f"{file.path} {finding}."
        self.problems.append(Problem(code=code, path=str(file.path), message=message))

    def _report_spaces(self, runs: Sequence[Run]) -> None:
        """Say once that runs are there in more than one space: each counts as a run."""
        spaces = Counter(BidsFile(run.path).entities.get("space", "") for run in runs)
        if len(spaces) > 1 and any(run.is_derivative for run in runs):
            listed = ", ".join(f"{name or 'native'} ({spaces[name]})" for name in sorted(spaces))
            message = (
                f"{self.tree.root} has runs in several spaces: {listed}. Each image counts as a "
                "run of its own; keep one space apart before you fit."
            )
            self.problems.append(
                Problem(code="several-spaces", path=str(self.tree.root), message=message)
            )


def _try_header(path: Path, problems: list[Problem]) -> ImageHeader | None:
    if not path.exists():
        problems.append(Problem(code="missing-image", path=str(path), message=_missing(path)))
        return None
    try:
        header = read_image_header(path)
    except ImageError as err:
        code = err.code if err.code == "not-4d" else "unreadable-image"
        problems.append(Problem(code=code, path=str(path), message=err.message))
        return None
    if len(header.shape) != 4:
        message = (
            f"{path} has the shape {header.shape}. Expected four dimensions, X, Y, Z and time; "
            "an image of one volume is no run."
        )
        problems.append(Problem(code="not-4d", path=str(path), message=message))
        return None
    return header


def _missing(path: Path) -> str:
    if path.is_symlink():
        return (
            f"The image {path} is a link to content that is not here. "
            "Fetch it with datalad get, git annex get or spectrum download."
        )
    return f"The image {path} is not there. Fetch it, or remove its events table."


def _four_sides(header: ImageHeader) -> tuple[int, int, int, int]:
    x, y, z, num_volumes = header.shape
    return x, y, z, num_volumes


def _tr_problem(path: Path, in_sidecar: float | None, in_header: float | None) -> Problem | None:
    if in_sidecar is None and in_header is None:
        message = (
            f"No sidecar has a RepetitionTime for {path}, and no header a time step. "
            "Add RepetitionTime, in seconds, to its JSON sidecar."
        )
        return Problem(code="no-tr", path=str(path), message=message)
    if in_sidecar is None or in_header is None or abs(in_sidecar - in_header) <= _TR_TOLERANCE_S:
        return None
    message = (
        f"{path} has a TR of {in_header:g} s in its header and {in_sidecar:g} s in its sidecar. "
        "The sidecar's is used; correct the one that is wrong."
    )
    return Problem(code="tr-mismatch", path=str(path), message=message)


def _is_derivative(file: BidsFile) -> bool:
    return bool(_OF_OUTPUT & file.entities.keys())


def _without_output(file: BidsFile) -> dict[str, str]:
    return {name: value for name, value in file.entities.items() if name not in _OF_OUTPUT}


def _space_agrees(other: BidsFile, file: BidsFile) -> bool:
    """Tell whether an output has the image's space and resolution, or is of no space (a table)."""
    return other.extension == ".tsv" or all(
        other.entities.get(name) == file.entities.get(name) for name in ("space", "resolution")
    )


def _no_runs(root: Path) -> str:
    inner = sorted(path.parent.name for path in root.glob("*/dataset_description.json"))
    advice = (
        f"It holds data sets: give {', '.join(inner[:5])} instead."
        if inner
        else "Expected sub-*/[ses-*/]func/*_bold.nii.gz; give the root of a BIDS data set."
    )
    return f"{root} has no BOLD run. {advice}"
