"""A target: its classes, and the rules that give them to runs or to events.

Rules compare parsed BIDS entities, never parts of file names: ``weatherprediction`` does not match
``reversalweatherprediction``, and run 1 is both ``run-1`` and ``run-01`` but not ``run-10``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.config.paths import nearest
from spectrum.entities import RunKey
from spectrum.errors import TargetError

__all__ = ["EventRule", "RunRule", "Target"]


class RunRule(FrozenConfig):
    """One row of a target: these runs have this class, says this source."""

    model_config = ConfigDict(populate_by_name=True)

    dataset: str = Field(min_length=1)
    """Name of the data set, which is that of its folder."""

    task: str = Field(min_length=1)
    """Task as file names write it, in exact case."""

    run: int | None = Field(default=None, ge=0)
    """Number of the run; None matches every run, and files without a run entity."""

    session: str | None = None
    """Session as file names write it; None matches every session, and files without one."""

    subject: str | None = None
    """Subject as file names write it, without ``sub-``; None matches every subject."""

    class_name: str = Field(alias="class", min_length=1)
    """One of the target's classes; ``class`` in a file."""

    source: str = Field(min_length=1)
    """Where it is written that these runs have this class."""

    def covers(self, key: RunKey) -> bool:
        """Tell whether the rule speaks of a run."""
        return (
            (self.dataset, self.task) == (key.dataset, key.task)
            and self.run in (None, key.run_number)
            and self.session in (None, key.session)
            and self.subject in (None, key.subject)
        )

    def overlaps(self, other: RunRule) -> bool:
        """Tell whether some run could be covered by both rules."""
        return (
            (self.dataset, self.task) == (other.dataset, other.task)
            and _may_agree(self.run, other.run)
            and _may_agree(self.session, other.session)
            and _may_agree(self.subject, other.subject)
        )


def _may_agree(left: object, right: object) -> bool:
    return left is None or right is None or left == right


class EventRule(FrozenConfig):
    """Which events have which class, and how late the brain answers them."""

    trial_types: dict[str, str] = Field(min_length=1)
    """``trial_type`` of ``events.tsv`` -> class. Events of other types have no class."""

    hrf_delay_s: float = Field(default=5.0, ge=0.0, le=30.0)
    """Seconds from an event's onset to the volumes that show it. 5: a canonical haemodynamic
    response peaks 5 s after a brief stimulus (Glover 1999)."""

    tasks: tuple[str, ...] = ()
    """Tasks whose events count, in exact case; without any, those of every task."""

    source: str = ""
    """Where the trial types are described."""


class Target(FrozenConfig):
    """A named table that gives each run, or each event, its class."""

    name: str = Field(min_length=1)
    """Word that configurations and reports use."""

    description: str = ""
    """What the classes mean and what a score on them can show."""

    classes: tuple[str, ...] = Field(min_length=2)
    """All classes, in the order of the model's outputs."""

    paired: bool = False
    """Score the two classes against each other within subject, task and session."""

    confounded_with: tuple[Literal["dataset", "task", "run", "session"], ...] = ()
    """Design variables that go with the class although the class is not about them."""

    rules: tuple[RunRule, ...] = ()
    """Rows for a target of runs."""

    event: EventRule | None = None
    """Rule for a target of events."""

    @model_validator(mode="after")
    def _rules_and_classes_fit(self) -> Self:
        if bool(self.rules) == (self.event is not None):
            raise ValueError(
                f"target {self.name} has {len(self.rules)} rules and "
                f"{'an' if self.event else 'no'} event section. "
                "Give one of the two: rules for runs, or event for events"
            )
        self._check_classes()
        self._check_overlaps()
        self._check_pairing()
        return self

    def _check_classes(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {', '.join(self.classes)}. Name each class once")
        for place, name in self._uses():
            if name not in self.classes:
                raise ValueError(
                    f"{place} has the class {name!r}, which is not among the classes "
                    f"{', '.join(self.classes)}. Did you mean {nearest(name, self.classes)!r}?"
                )
        unused = [c for c in self.classes if c not in {name for _, name in self._uses()}]
        if unused:
            raise ValueError(
                f"nothing has the class {unused[0]!r}. Add a row for it, or take it from classes"
            )

    def _uses(self) -> Iterable[tuple[str, str]]:
        for number, rule in enumerate(self.rules, start=1):
            yield f"row {number} of rules", rule.class_name
        if self.event is not None:
            for trial_type, name in self.event.trial_types.items():
                yield f"trial type {trial_type!r}", name

    def _check_overlaps(self) -> None:
        for (i, left), (j, right) in combinations(enumerate(self.rules, start=1), 2):
            if left.overlaps(right):
                raise ValueError(
                    f"rows {i} and {j} of rules cover the same runs of {left.dataset}, task "
                    f"{left.task}. Keep one of them, or part them by run or session"
                )

    def _check_pairing(self) -> None:
        if self.paired and (self.event is not None or len(self.classes) != 2):
            raise ValueError(
                f"target {self.name} is paired with {len(self.classes)} classes of "
                f"{self.kind}s. A paired target has two classes of runs; take paired away"
            )

    @property
    def kind(self) -> Literal["run", "event"]:
        """What gets a class."""
        return "run" if self.event is None else "event"

    def class_of(self, key: RunKey) -> str | None:
        """Return the class of a run, or None: no rule covers it, or events have the classes."""
        return next((rule.class_name for rule in self.rules if rule.covers(key)), None)

    def class_of_event(self, key: RunKey, trial_type: str) -> str | None:
        """Return the class of an event of a run, or None: no rule covers it, or runs have them."""
        if self.event is None or (self.event.tasks and key.task not in self.event.tasks):
            return None
        return self.event.trial_types.get(trial_type)

    def class_index(self, name: str) -> int:
        """Return the place of a class among ``classes``; raise TargetError where it is none."""
        if name not in self.classes:
            raise TargetError(
                f"{name!r} is no class of the target {self.name}: {', '.join(self.classes)}. "
                f"Did you mean {nearest(name, self.classes)!r}?",
                code="unknown-class",
            )
        return self.classes.index(name)

    def pair_of(self, key: RunKey) -> str:
        """Name the pair that a run belongs to: subject, task and session; "" if not paired."""
        if not self.paired:
            return ""
        parts = [key.group, key.task, f"ses-{key.session}" if key.session else "", key.acquisition]
        return "/".join(part for part in parts if part)
