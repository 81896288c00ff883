"""Which files of a BIDS tree are the image of which run, by their names alone.

Images of one acquisition that differ in space, in zeros of the run or in echo are one run. What is
left out is named. Not here: what lies in the files (``indexing``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from spectrum.config import DataConfig, nearest
from spectrum.data.inheritance import BidsFile, BidsTree
from spectrum.data.runs import Problem
from spectrum.entities import RunKey
from spectrum.errors import DataError, SidecarError

__all__ = ["OUTPUT_ENTITIES", "Candidate", "find_candidates", "find_lonely_events"]

IMAGE_EXTENSIONS: Final = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz")

OUTPUT_ENTITIES: Final = ("space", "resolution", "density", "description")
"""Entities by which outputs of fMRIPrep differ within one run."""

NO_MAGNITUDE: Final = ("phase", "real", "imag")
"""Values of ``part`` that are no magnitude image (BIDS 1.10, appendix on entities)."""

DEFAULT_SPACE: Final = "MNI152NLin2009cAsym"
"""fMRIPrep's default output space."""

REFUSED: Final = ("bad-name", "duplicate-run")
"""Codes of images that cannot be used; others are left out because another image is meant."""

Report = Callable[[str, BidsFile, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The image of one run: one file, or one an echo in the order of echoes."""

    key: RunKey
    files: tuple[BidsFile, ...]

    @property
    def file(self) -> BidsFile:
        """The first file, which stands for the run."""
        return self.files[0]


def find_candidates(
    tree: BidsTree, dataset: str, choices: DataConfig
) -> tuple[tuple[Candidate, ...], tuple[Problem, ...]]:
    """Return the images of a tree by run, in the order of files, and what was left out.

    Returns
    -------
    candidates, problems
        Codes: ``other-output`` (a derivative that is no preprocessed BOLD), ``not-magnitude``,
        ``bad-name``, ``duplicate-run`` (names that differ in zeros or in extension only),
        ``other-space``, ``no-such-space``.

    Raises
    ------
    DataError
        ``no-such-space``: no run has an image in the space asked for.
    """
    problems: list[Problem] = []

    def report(code: str, file: BidsFile, finding: str) -> None:
        message, refuses = f"{file.path} {finding}.", code in REFUSED
        problems.append(Problem(code=code, path=str(file.path), message=message, refuses=refuses))

    for file in tree.misnamed:
        finding = "is named almost like an image; it is left out. Expected sub-*_bold.nii[.gz]"
        report("bad-name", file, finding)
    named = _without_combined(list(_named_images(tree, dataset, report)), report)
    kept = _one_space(named, choices.space, problems)
    unique = _unique(kept, report)
    return tuple(_join_echoes(unique)), tuple(problems)


def find_lonely_events(
    tree: BidsTree, dataset: str, known: Iterable[object]
) -> tuple[tuple[RunKey, BidsFile], ...]:
    """Return the events tables in ``func`` folders that belong to no known image, by run."""
    taken = set(known)
    found = (
        (_key(file, tree, dataset, _ignore), file)
        for file in tree.iter_files()
        if file.kind == ("events", ".tsv") and file.path.parent.name == "func"
    )
    named = [(key, file) for key, file in found if key is not None and file.path not in taken]
    return tuple(_unique(named, _ignore))


def _ignore(code: str, file: BidsFile, finding: str) -> None:
    """Take no note: what is wrong with an events table is told when it is read."""


def _named_images(
    tree: BidsTree, dataset: str, report: Report
) -> Iterator[tuple[RunKey, BidsFile]]:
    for file in tree.iter_files():
        if file.suffix != "bold" or file.extension not in IMAGE_EXTENSIONS or _is_half(file):
            continue
        if file.entities.get("description", "preproc") != "preproc":
            report("other-output", file, "is no preprocessed BOLD; it is left out")
        elif file.entities.get("part") in NO_MAGNITUDE:
            part = file.entities["part"]
            report("not-magnitude", file, f"is the {part} part of its run; it is left out")
        elif (key := _key(file, tree, dataset, report)) is not None:
            yield key, file


def _without_combined(
    named: Sequence[tuple[RunKey, BidsFile]], report: Report
) -> list[tuple[RunKey, BidsFile]]:
    """Leave out the echoes of runs whose echoes were combined, in whatever space."""
    whole = {_acquisition(file) for _, file in named if "echo" not in file.entities}
    kept = []
    for key, file in named:
        if "echo" in file.entities and _acquisition(file) in whole:
            report("other-output", file, "is one echo of a run that is there combined too")
        else:
            kept.append((key, file))
    return kept


def _acquisition(file: BidsFile) -> tuple[str, ...]:
    inner = ((n, v) for n, v in file.entities.items() if n not in (*OUTPUT_ENTITIES, "echo"))
    return (str(file.path.parent), *(f"{name}-{value}" for name, value in inner))


def _is_half(file: BidsFile) -> bool:
    """Tell whether a header file has its voxels beside it, and so speaks through them."""
    if not file.extension.startswith(".hdr"):
        return False
    return any(
        file.path.with_name(
            file.path.name.replace(".hdr", ".img").removesuffix(".gz") + end
        ).is_file()
        for end in ("", ".gz")
    )


def _key(file: BidsFile, tree: BidsTree, dataset: str, report: Report) -> RunKey | None:
    try:
        key = RunKey.from_file_name(file.path.name, dataset=dataset)
    except SidecarError as err:
        report(err.code, file, "is left out: " + err.message.removesuffix("."))
        return None
    folders = file.path.relative_to(tree.root).parts[:-1]
    expected = {"sub-": f"sub-{key.subject}", "ses-": f"ses-{key.session}"}
    for folder in folders:
        if folder != expected.get(folder[:4], folder):
            report("bad-name", file, f"lies in the folder of {folder}; it is left out")
            return None
    return key


def _one_space(
    named: Sequence[tuple[RunKey, BidsFile]], wanted: str | None, problems: list[Problem]
) -> list[tuple[RunKey, BidsFile]]:
    """Keep one output of each run, the one wanted or the first by preference."""
    outputs: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for _, file in named:
        outputs[_without_output(file)].add(_output_of(file))
    chosen = {run: min(several, key=_preference(wanted)) for run, several in outputs.items()}
    kept = [(key, f) for key, f in named if chosen[_without_output(f)] == _output_of(f)]
    others = [file for _, file in named if chosen[_without_output(file)] != _output_of(file)]
    if others:
        problems.append(_other_spaces(others, Counter(_space_of(file) for _, file in kept)))
    spaces = {_space_of(file) for _, file in named}
    if wanted is None or spaces <= {"native"}:
        return kept
    if wanted not in spaces:
        raise _no_such_space(wanted, sorted(spaces), named[0][1])
    return _only_in(wanted, kept, problems)


def _only_in(
    wanted: str, kept: list[tuple[RunKey, BidsFile]], problems: list[Problem]
) -> list[tuple[RunKey, BidsFile]]:
    """Leave out the runs of derivatives that have no image in the space asked for."""
    there = [(key, file) for key, file in kept if _space_of(file) == wanted]
    for file in (file for _, file in kept if _space_of(file) != wanted):
        message = (
            f"{file.path} is of a run without an image in the space {wanted}; it is left out. "
            "Make the derivatives of this run again, or choose another --space."
        )
        problems.append(
            Problem(code="no-such-space", path=str(file.path), message=message, refuses=True)
        )
    return there


def _no_such_space(wanted: str, spaces: Sequence[str], file: BidsFile) -> DataError:
    return DataError(
        f"No run has an image in the space {wanted}. There are {', '.join(spaces)}; "
        f"the nearest is {nearest(wanted, spaces)}.",
        code="no-such-space",
        path=str(file.path),
    )


def _without_output(file: BidsFile) -> tuple[str, ...]:
    inner = ((n, v) for n, v in file.entities.items() if n not in OUTPUT_ENTITIES)
    return (str(file.path.parent), *(f"{name}-{value}" for name, value in inner))


def _output_of(file: BidsFile) -> tuple[str, ...]:
    return tuple(file.entities.get(name, "") for name in OUTPUT_ENTITIES)


def _space_of(file: BidsFile) -> str:
    return file.entities.get("space", "native")


def _preference(wanted: str | None) -> Callable[[tuple[str, ...]], tuple[object, ...]]:
    def rank(output: tuple[str, ...]) -> tuple[object, ...]:
        space = output[0] or "native"
        return (
            space != (wanted or DEFAULT_SPACE),
            not space.startswith("MNI152"),
            space != "native",
            output,
        )

    return rank


def _other_spaces(others: Sequence[BidsFile], kept: Mapping[str, int]) -> Problem:
    left_out = Counter(_space_of(file) for file in others)
    listed = ", ".join(f"{name} ({number})" for name, number in sorted(left_out.items()))
    message = (
        f"{len(others)} images are other outputs of runs that are taken in "
        f"{', '.join(sorted(kept))}; they are left out: {listed}. "
        "Choose another space with --space."
    )
    return Problem(code="other-space", path=str(others[0].path), message=message)


def _unique(
    named: Iterable[tuple[RunKey, BidsFile]], report: Report
) -> Iterator[tuple[RunKey, BidsFile]]:
    """Pass on the first file of each run; runs that differ in zeros only are the same."""
    seen: dict[RunKey, BidsFile] = {}
    for key, file in named:
        number = str(key.run_number) if key.run_number is not None else key.run
        first = seen.setdefault(replace(key, run=number), file)
        if first is file:
            yield key, file
        else:
            report("duplicate-run", file, f"is the same run as {first.path.name}; it is left out")


def _join_echoes(named: Iterable[tuple[RunKey, BidsFile]]) -> Iterator[Candidate]:
    groups: defaultdict[RunKey, list[tuple[RunKey, BidsFile]]] = defaultdict(list)
    for key, file in named:
        groups[_without_echo(key)].append((key, file))
    for shared, members in groups.items():
        if len(members) == 1:
            yield Candidate(key=members[0][0], files=(members[0][1],))
        else:
            files = sorted((file for _, file in members), key=_echo_number)
            yield Candidate(key=shared, files=tuple(files))


def _without_echo(key: RunKey) -> RunKey:
    further = [part for part in key.acquisition.split("_") if not part.startswith("echo-")]
    return replace(key, acquisition="_".join(further))


def _echo_number(file: BidsFile) -> tuple[int, str]:
    echo = file.entities.get("echo", "")
    return (int(echo) if echo.isdigit() else 0), echo
