"""Rows of a target: which runs, or which events, and what is said of them.

Rows compare parsed BIDS entities, never parts of file names: ``weatherprediction`` does not match
``reversalweatherprediction``, and run 1 is both ``run-1`` and ``run-01`` but not ``run-10``. Not
here: whether the rows of one target fit together (``target``).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Field

from spectrum.config.frozen import FrozenConfig
from spectrum.entities import RunKey

__all__ = ["EventRule", "ExclusionRule", "RunRule", "RunSelection"]

Label: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9+.]+$")]
"""Value of a BIDS entity as ``entities`` reads it from a file name, without its prefix."""

Word: TypeAlias = Annotated[str, Field(min_length=1)]


class RunSelection(FrozenConfig):
    """Which runs a row speaks of; what it says of them is added by the rows themselves."""

    dataset: Word
    """Name of the data set, which is that of its folder."""

    task: Label
    """Task as file names write it, in exact case."""

    run: int | None = Field(default=None, ge=0, strict=True)
    """Number of the run: 1 is run-1 and run-01. None matches every run, and files without a run
    entity."""

    session: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9+.]*$")
    """Session as file names write it, without ses-; quote digits. None matches every session, and
    files without one; an empty text those without one alone."""

    subject: Label | None = None
    """Subject as the names of its files write it, without sub-; quote digits. Subjects are known
    from file names alone, never from participants.tsv: 1 and 01 are two subjects. None matches
    every subject."""

    def covers(self, key: RunKey) -> bool:
        """Tell whether the row speaks of a run."""
        return (
            (self.dataset, self.task) == (key.dataset, key.task)
            and self.run in (None, key.run_number)
            and self.session in (None, key.session)
            and self.subject in (None, key.subject)
        )

    def overlaps(self, other: RunSelection) -> bool:
        """Tell whether some run could be covered by both rows."""
        return (
            (self.dataset, self.task) == (other.dataset, other.task)
            and _may_agree(self.run, other.run)
            and _may_agree(self.session, other.session)
            and _may_agree(self.subject, other.subject)
        )


def _may_agree(left: object, right: object) -> bool:
    return left is None or right is None or left == right


class RunRule(RunSelection):
    """One row of a target: these runs have this class, says this source."""

    model_config = ConfigDict(populate_by_name=True)

    class_name: str = Field(alias="class", min_length=1)
    """One of the target's classes; ``class`` in a file."""

    source: Word
    """Where it is written that these runs have this class."""

    note: str = ""
    """What makes the class doubtful; empty where nothing does."""


class ExclusionRule(RunSelection):
    """One row of runs that a target leaves out on purpose: no class by decision, not by accident.

    In a target of events, no event of these runs has a class.
    """

    reason: Word
    """Why these runs have no class."""

    source: Word
    """Where that is written."""


class EventRule(FrozenConfig):
    """Which events have which class, and which volumes show them.

    The window of an event begins ``hrf_delay_s`` after its onset and lasts ``duration_s``.
    """

    trial_types: dict[Word, Word] = Field(min_length=1)
    """``trial_type`` of ``events.tsv`` -> class. Events of other types have no class."""

    hrf_delay_s: float = Field(default=5.0, ge=0.0, le=30.0, strict=True)
    """Seconds from an event's onset to its window. 5: a canonical haemodynamic response peaks 5 s
    after a brief stimulus (Glover 1999)."""

    duration_s: float | None = Field(default=None, gt=0.0, le=600.0, strict=True)
    """Seconds that the window of every event lasts. None: as long as the event itself; an event
    without duration (n/a, or 0 s) then gives one sequence, from the delayed onset on. At most ten
    minutes: what lasts longer is a run."""

    tasks: tuple[Label, ...] = Field(default=(), json_schema_extra={"uniqueItems": True})
    """Tasks whose events count, in exact case; without any, those of every task."""

    source: str = ""
    """Where the trial types are described."""

    def window_s(self, onset_s: float, duration_s: float) -> tuple[float, float]:
        """Return where the window of an event begins and ends.

        Parameters
        ----------
        onset_s, duration_s : seconds, as ``events.tsv`` has them

        Returns
        -------
        window_s : start and end, seconds from the run's first volume

        Examples
        --------
        >>> EventRule(trial_types={"go": "go"}, hrf_delay_s=5.0).window_s(12.0, 1.5)
        (17.0, 18.5)
        """
        start_s = onset_s + self.hrf_delay_s
        return start_s, start_s + (duration_s if self.duration_s is None else self.duration_s)
