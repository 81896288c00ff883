"""The runs of one BIDS tree: for each image, what its header, sidecars and events files are.

Headers are read in parallel, voxels never. Not here: which files are images of which run
(``candidates``), and which TR counts (``repetition``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spectrum.config import DataConfig
from spectrum.data.candidates import (
    OUTPUT_ENTITIES,
    Candidate,
    find_candidates,
    find_lonely_events,
)
from spectrum.data.headers import ImageHeader
from spectrum.data.images import read_image_header
from spectrum.data.inheritance import BidsFile, BidsTree, find_files
from spectrum.data.repetition import decide_tr
from spectrum.data.runs import Problem, Run
from spectrum.data.sidecars import (
    read_echo_time,
    read_repetition_time,
    read_sidecar,
    read_slice_times,
)
from spectrum.entities import RunKey
from spectrum.errors import ImageError, SidecarError

__all__ = ["index_tree"]

NUM_READERS: Final = 8
"""Threads that read headers: they wait for disks and network file systems, not for CPUs."""

MAX_ECHO_TIME_S: Final = 0.5
"""Echo times of BOLD are 10 to 80 ms; milliseconds written as seconds lie far above."""

Progress = Callable[[int, int], None]


def index_tree(
    root: Path,
    *,
    dataset: str,
    raw: Path | None,
    choices: DataConfig,
    on_run_done: Progress | None = None,
    leave_out: Callable[[RunKey], bool] | None = None,
) -> tuple[list[Run], list[Problem]]:
    """Return the runs of a tree, in the order of its files, and the problems of no run.

    Parameters
    ----------
    root : absolute path of the tree
    dataset : its name
    raw : root of the data set that derivatives were made from, or None
    choices : what counts where files leave a choice
    on_run_done : told runs done and runs in all
    leave_out : tells runs of which no file is opened; None leaves out none
    """
    is_left_out = leave_out or (lambda key: False)
    tree = find_files(root)
    trees = [tree] if raw is None else [tree, find_files(raw)]
    every, problems = find_candidates(tree, dataset, choices)
    candidates = [candidate for candidate in every if not is_left_out(candidate.key)]
    reader = _RunReader(trees=tuple(trees), choices=choices)
    runs: list[Run] = []
    with ThreadPoolExecutor(NUM_READERS) as pool:
        for run in pool.map(reader.run, candidates):
            runs.append(run)
            if on_run_done is not None:
                on_run_done(len(runs), len(candidates))
    lonely = find_lonely_events(tree, dataset, (run.events_path for run in runs))
    known = {run.key for run in runs}
    runs += [
        reader.run_without_image(key, file)
        for key, file in lonely
        if key not in known and not is_left_out(key)
    ]
    return runs, [*map(_unreadable, tree.unreadable), *problems]


@dataclass(frozen=True, kw_only=True)
class _RunReader:
    """Reads what speaks for an image; the first of ``trees`` is the one that is indexed.

    Sidecars that speak for many images are read once; a new index reads them again.
    """

    trees: tuple[BidsTree, ...]
    choices: DataConfig
    read_sidecar: Callable[[Path], Mapping[str, Any]] = field(
        default_factory=lambda: functools.cache(read_sidecar)
    )

    def run(self, candidate: Candidate) -> Run:
        """Return the run of an image, with everything that is wrong with it."""
        file = candidate.file
        header, problems = _headers_of(candidate)
        problems += self._unequal_trs(candidate)
        echo_times_s, echo_problems = self._echo_times(candidate)
        tr_s, tr_problems = self._tr_s(file, header)
        slice_times_s, slice_problems = self._slice_times(file, header, tr_s)
        events = self._events_of(file)
        problems += [*echo_problems, *tr_problems, *slice_problems]
        problems += [] if events else [_no_events(file.path)]
        return Run(
            key=candidate.key,
            path=file.path,
            tr_s=tr_s,
            shape=_four_sides(header) if header else None,
            voxel_mm=header.voxel_mm if header else None,
            events_path=events,
            confounds_path=self._beside(file, "confounds", ("timeseries", "regressors"), ".tsv"),
            brain_mask_path=self._beside(file, "brain", ("mask",), ".nii.gz"),
            is_derivative=any(name in file.entities for name in OUTPUT_ENTITIES),
            echo_paths=tuple(f.path for f in candidate.files) if len(candidate.files) > 1 else (),
            echo_times_s=echo_times_s,
            slice_times_s=slice_times_s,
            problems=_distinct(problems),
        )

    def run_without_image(self, key: RunKey, events: BidsFile) -> Run:
        """Return the run of an events table whose image is missing."""
        name = events.path.name.removesuffix("_events.tsv")
        image = BidsFile(events.path.with_name(f"{name}_bold.nii.gz"))
        tr_s, tr_problems = self._tr_s(image, None)
        return Run(
            key=key,
            path=image.path,
            tr_s=tr_s,
            shape=None,
            voxel_mm=None,
            events_path=events.path,
            problems=(_missing_image(image.path), *tr_problems),
        )

    def _sidecars(self, file: BidsFile) -> list[Path]:
        """Return what speaks for an image, the most general first, raw data before derivatives."""
        trees = reversed(self.trees)
        return [f.path for tree in trees for f in tree.find_inherited(file, "bold", ".json")]

    def _tr_s(
        self, file: BidsFile, header: ImageHeader | None
    ) -> tuple[float | None, list[Problem]]:
        problems: list[Problem] = []
        in_sidecar_s = None
        try:
            in_sidecar_s = read_repetition_time(self._sidecars(file), read=self.read_sidecar)
        except SidecarError as err:
            is_needed = self.choices.tr_from != "header"
            told = Problem(code=err.code, path=err.path, message=err.message, refuses=is_needed)
            problems.append(told)
            if is_needed:
                return None, problems
        if header is None:
            return in_sidecar_s, problems
        tr_s, problem = decide_tr(
            file.path,
            in_header_s=header.tr_s,
            in_sidecar_s=in_sidecar_s,
            tr_from=self.choices.tr_from,
        )
        return tr_s, problems + ([problem] if problem else [])

    def _unequal_trs(self, candidate: Candidate) -> list[Problem]:
        """Return a problem where the echoes of a run have several repetition times."""
        if len(candidate.files) == 1:
            return []
        told = {self._tr_s(file, _try_header(file.path)[0])[0] for file in candidate.files}
        if len(told) == 1:
            return []
        listed = ", ".join(sorted("none" if tr_s is None else f"{tr_s:g} s" for tr_s in told))
        message = (
            f"The echoes of {candidate.key} have the repetition times {listed}. "
            "All echoes of a run must have one; correct their sidecars."
        )
        return [_refusing("unequal-echoes", candidate.file.path, message)]

    def _slice_times(
        self, file: BidsFile, header: ImageHeader | None, tr_s: float | None
    ) -> tuple[tuple[float, ...] | None, list[Problem]]:
        """Return when slices were read; times that cannot be those of the image are not taken."""
        try:
            times_s = read_slice_times(self._sidecars(file), read=self.read_sidecar)
        except SidecarError as err:
            return None, [Problem(code=err.code, path=err.path, message=err.message)]
        if times_s is None or header is None or tr_s is None:
            return times_s, []
        num_slices = header.shape[2]
        if len(times_s) == num_slices and max(times_s) <= tr_s:
            return times_s, []
        return None, [_wrong_slice_times(file.path, times_s, num_slices, tr_s)]

    def _echo_times(self, candidate: Candidate) -> tuple[tuple[float, ...], list[Problem]]:
        """Return when each echo was read, or why the echoes of a run cannot be used."""
        if len(candidate.files) == 1:
            return (), []
        if self.choices.multi_echo == "refuse":
            return (), [_several_echoes(candidate)]
        times_s: list[float] = []
        for file in candidate.files:
            try:
                time_s = read_echo_time(self._sidecars(file), read=self.read_sidecar)
            except SidecarError as err:
                return (), [_refusing(err.code, Path(err.path), err.message)]
            if time_s is None:
                return (), [_no_echo_time(file.path)]
            times_s.append(time_s)
        if times_s != sorted(set(times_s)) or times_s[-1] >= MAX_ECHO_TIME_S:
            return (), [_odd_echo_times(candidate, times_s)]
        return tuple(times_s), []

    def _events_of(self, file: BidsFile) -> Path | None:
        """Return the events table nearest to an image, of the raw tree if need be."""
        found = (tree.find_inherited(file, "events", ".tsv")[-1:] for tree in self.trees)
        return next((files[0].path for files in found if files), None)

    def _beside(
        self, file: BidsFile, description: str, suffixes: tuple[str, ...], extension: str
    ) -> Path | None:
        """Return an output of fMRIPrep of the same run, in the same space where it has one."""
        subject = file.entities.get("subject", "")
        for suffix in suffixes:
            for other in self.trees[0].find(file.path.parent, (suffix, extension), subject):
                if (
                    other.entities.get("description") == description
                    and _without_output(other) == _without_output(file)
                    and _space_agrees(other, file)
                ):
                    return other.path
        return None


def _distinct(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return each sentence once, as a refusal where it is one anywhere."""
    found: dict[str, Problem] = {}
    for problem in problems:
        known = found.setdefault(problem.message, problem)
        found[problem.message] = problem if problem.refuses and not known.refuses else known
    return tuple(found.values())


def _headers_of(candidate: Candidate) -> tuple[ImageHeader | None, list[Problem]]:
    """Return the header of the first echo that has one; echoes must have one shape."""
    read = [_try_header(file.path) for file in candidate.files]
    headers = [header for header, _ in read if header is not None]
    problems = [problem for _, problem in read if problem is not None]
    problems += _findings(candidate.file.path, headers)
    if len(headers) > 1 and len({header.shape for header in headers}) > 1:
        problems.append(_unequal_echoes(candidate, [header.shape for header in headers]))
    return (headers[0] if headers else None), problems


def _findings(path: Path, headers: Sequence[ImageHeader]) -> list[Problem]:
    """Return what is odd about the first header of a run."""
    return [
        Problem(code=finding.code, path=str(path), message=f"{path}: {finding.message}")
        for header in headers[:1]
        for finding in header.findings
    ]


def _try_header(path: Path) -> tuple[ImageHeader | None, Problem | None]:
    if not path.exists():
        return None, _missing_image(path)
    try:
        header = read_image_header(path)
    except ImageError as err:
        return None, _refusing(err.code, path, err.message)
    if len(header.shape) != 4 or header.shape[3] < 2:
        message = (
            f"{path} has the shape {header.shape}. Expected four dimensions, X, Y, Z and time; "
            "an image of one volume is no run."
        )
        return None, _refusing("not-4d", path, message)
    return header, None


def _four_sides(header: ImageHeader) -> tuple[int, int, int, int]:
    x, y, z, num_volumes = header.shape
    return x, y, z, num_volumes


def _without_output(file: BidsFile) -> dict[str, str]:
    return {n: value for n, value in file.entities.items() if n not in OUTPUT_ENTITIES}


def _space_agrees(other: BidsFile, file: BidsFile) -> bool:
    """Tell whether an output has the image's space and resolution, or is of no space (a table)."""
    return other.extension == ".tsv" or all(
        other.entities.get(name) == file.entities.get(name) for name in ("space", "resolution")
    )


def _refusing(code: str, path: Path, message: str) -> Problem:
    return Problem(code=code, path=str(path), message=message, refuses=True)


def _unreadable(err: OSError) -> Problem:
    message = (
        f"The folder {err.filename} cannot be listed ({err.strerror}), so its runs are not here. "
        "Look at its permissions, or at where the link leads."
    )
    return _refusing("unreadable-folder", Path(str(err.filename)), message)


def _missing_image(path: Path) -> Problem:
    if path.is_symlink():
        message = (
            f"The image {path} is a link to content that is not here. "
            "Fetch it with datalad get, git annex get or spectrum download."
        )
    else:
        message = f"The image {path} is not there. Fetch it, or remove its events table."
    return _refusing("missing-image", path, message)


def _no_events(path: Path) -> Problem:
    message = f"No events table speaks for {path}; no event of it can have a class."
    return Problem(code="no-events", path=str(path), message=message)


def _several_echoes(candidate: Candidate) -> Problem:
    message = (
        f"{candidate.key} has {len(candidate.files)} echoes ({candidate.file.path.name} and "
        "others). Combine them with --multi-echo combine, or give data with one echo."
    )
    return _refusing("multi-echo", candidate.file.path, message)


def _no_echo_time(path: Path) -> Problem:
    message = (
        f"No sidecar has an EchoTime for {path}. Echoes are weighted by it: add EchoTime, in "
        "seconds, to its JSON sidecar."
    )
    return _refusing("no-echo-time", path, message)


def _wrong_slice_times(
    path: Path, times_s: Sequence[float], num_slices: int, tr_s: float
) -> Problem:
    message = (
        f"SliceTiming of {path} has {len(times_s)} times up to {max(times_s):g} s for "
        f"{num_slices} slices and a TR of {tr_s:g} s. It is not used; correct its sidecar."
    )
    return Problem(code="slice-times", path=str(path), message=message)


def _odd_echo_times(candidate: Candidate, times_s: Sequence[float]) -> Problem:
    listed = ", ".join(f"{time_s:g}" for time_s in times_s)
    message = (
        f"The echoes of {candidate.key} have the echo times {listed} s. Expected rising times "
        f"below {MAX_ECHO_TIME_S:g} s; EchoTime counts seconds: correct the sidecars."
    )
    return _refusing("odd-echo-times", candidate.file.path, message)


def _unequal_echoes(candidate: Candidate, shapes: Sequence[tuple[int, ...]]) -> Problem:
    listed = ", ".join(str(shape) for shape in shapes)
    message = (
        f"The echoes of {candidate.key} have the shapes {listed}. "
        "All echoes of a run must have one; fetch or convert them again."
    )
    return _refusing("unequal-echoes", candidate.file.path, message)
