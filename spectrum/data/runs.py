"""The run table's values: runs, events and problems. Not here: how they are found (``bids``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.entities import RunKey

__all__ = ["Event", "Problem", "Run", "RunTable", "shortened"]


MAX_TOLD: Final = 3
"""Sentences of one kind that are told one by one; JSON holds all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with the data: a kebab-case code, the file, and a sentence.

    ``refuses`` says that the run or file cannot be used; the others are used all the same.
    """

    code: str
    path: str
    message: str
    refuses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of ``events.tsv``; seconds from the start of the run's first volume."""

    onset_s: float
    duration_s: float
    trial_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One BOLD run of a BIDS tree.

    ``path`` is where the image is or should be; ``shape`` is (X, Y, Z, V) and None where no image
    can be read; ``tr_s`` is None where it is unknown or undecided. ``is_derivative`` marks
    preprocessed images of fMRIPrep, whose space is in the key's further entities. A run with
    several echoes has the paths of all of them, in the order of ``echo_times_s``; ``path`` is the
    first. ``slice_times_s`` is when each slice was read, from the start of a volume, or None.
    """

    key: RunKey
    path: Path
    tr_s: float | None
    shape: tuple[int, int, int, int] | None
    voxel_mm: tuple[float, float, float] | None
    events_path: Path | None = None
    confounds_path: Path | None = None
    brain_mask_path: Path | None = None
    is_derivative: bool = False
    echo_paths: tuple[Path, ...] = ()
    echo_times_s: tuple[float, ...] = ()
    slice_times_s: tuple[float, ...] | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether there is an image with four dimensions, a TR, and no problem that refuses it."""
        is_whole = self.shape is not None and self.tr_s is not None
        return is_whole and not any(problem.refuses for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """All runs of one or more BIDS trees, in the order of their keys, and what is wrong."""

    runs: tuple[Run, ...]
    problems: tuple[Problem, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for what is odd and used, and for files left out, a few of each kind.

        A run without events is not odd where runs have classes.
        """
        told = (p for p in self.problems if not p.refuses and p.code != "no-events")
        return shortened((problem.code, problem.message) for problem in told)

    @property
    def refused_files(self) -> tuple[Problem, ...]:
        """The problems that refuse files which became no run."""
        return tuple(problem for problem in self.left_out if problem.refuses)

    @property
    def left_out(self) -> tuple[Problem, ...]:
        """The problems of files that became no run."""
        of_runs = {problem for run in self.runs for problem in run.problems}
        return tuple(problem for problem in self.problems if problem not in of_runs)


def shortened(sentences: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the first sentences of each kind, and how many more there are.

    Parameters
    ----------
    sentences : kind and sentence

    Examples
    --------
    >>> shortened([("a", "One."), ("b", "Two."), *[("a", "More.")] * 4])
    ('One.', 'More.', 'More.', '... and 2 more of the kind a.', 'Two.')
    """
    of_kind: defaultdict[str, list[str]] = defaultdict(list)
    for kind, sentence in sentences:
        of_kind[kind].append(sentence)
    told: list[str] = []
    for kind, several in of_kind.items():
        more = len(several) - MAX_TOLD
        told += several[:MAX_TOLD]
        told += [f"... and {more} more of the kind {kind}."] if more > 0 else []
    return tuple(told)
