"""A target: its classes, the rows that give them to runs or to events, and whether these fit.

Not here: whether a target fits the data at hand (``findings``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Literal, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.config.paths import nearest
from spectrum.entities import RunKey
from spectrum.errors import TargetError
from spectrum.targets.rules import EventRule, ExclusionRule, RunRule, RunSelection, Word

__all__ = ["Target"]


class Target(FrozenConfig):
    """A named table that gives each run, or each event, its class."""

    name: Word
    """Word that configurations and reports use; in a file, its own name by default."""

    description: str = ""
    """What the classes mean and what a score on them can show."""

    classes: tuple[Word, ...] = Field(min_length=2, json_schema_extra={"uniqueItems": True})
    """All classes, in the order of the model's outputs."""

    paired: bool = Field(default=False, strict=True)
    """Score the two classes against each other within subject, task and session."""

    confounded_with: tuple[Literal["dataset", "task", "run", "session"], ...] = ()
    """Design variables that go with the class although the class is not about them."""

    rules: tuple[RunRule, ...] = ()
    """Rows for a target of runs."""

    event: EventRule | None = None
    """Rule for a target of events."""

    excluded: tuple[ExclusionRule, ...] = ()
    """Rows of runs that are left out on purpose, each with its reason."""

    @model_validator(mode="after")
    def _rules_and_classes_fit(self) -> Self:
        if bool(self.rules) == (self.event is not None):
            raise ValueError(
                f"target {self.name} has {len(self.rules)} rules and "
                f"{'an' if self.event else 'no'} event section. "
                "Give one of the two: rules for runs, or event for events"
            )
        self._check_classes()
        self._check_tasks()
        self._check_overlaps()
        self._check_pairing()
        return self

    def _check_classes(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are {', '.join(self.classes)}. Name each class once")
        used = list(self._uses())
        for place, name in used:
            if name not in self.classes:
                raise ValueError(
                    f"{place} has the class {name!r}, which is not among the classes "
                    f"{', '.join(self.classes)}. Did you mean {nearest(name, self.classes)!r}?"
                )
        unused = [c for c in self.classes if c not in {name for _, name in used}]
        if unused:
            raise ValueError(
                f"nothing has the class {unused[0]!r}. Add a row for it, or take it from classes"
            )

    def _uses(self) -> Iterator[tuple[str, str]]:
        for number, rule in enumerate(self.rules, start=1):
            yield f"row {number} of rules", rule.class_name
        if self.event is not None:
            for trial_type, name in self.event.trial_types.items():
                yield f"trial type {trial_type!r}", name

    def _check_tasks(self) -> None:
        tasks = self.event.tasks if self.event is not None else ()
        if len(set(tasks)) < len(tasks):
            raise ValueError(f"event.tasks are {', '.join(tasks)}. Name each task once")

    def _check_overlaps(self) -> None:
        rows_of: defaultdict[tuple[str, str], list[tuple[str, int, RunSelection]]]
        rows_of = defaultdict(list)
        for part, number, row in self.numbered_rows():
            rows_of[row.dataset, row.task].append((part, number, row))
        for rows in rows_of.values():
            for (part, i, left), (other, j, right) in combinations(rows, 2):
                if left.overlaps(right):
                    raise ValueError(
                        f"{_two_rows((part, i), (other, j))} cover the same runs of "
                        f"{left.dataset}, task {left.task}. Keep one of them, or part them by "
                        "run, session or subject"
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

    def numbered_rows(self) -> Iterator[tuple[str, int, RunSelection]]:
        """Yield every row of runs after its part, ``rules`` or ``excluded``, and its number."""
        for number, rule in enumerate(self.rules, start=1):
            yield "rules", number, rule
        for number, exclusion in enumerate(self.excluded, start=1):
            yield "excluded", number, exclusion

    def class_of(self, key: RunKey) -> str | None:
        """Return the class of a run, or None: no rule covers it, or events have the classes."""
        return next((rule.class_name for rule in self.rules if rule.covers(key)), None)

    def exclusion_of(self, key: RunKey) -> ExclusionRule | None:
        """Return the row that leaves a run out on purpose, or None; such a run has no class."""
        return next((row for row in self.excluded if row.covers(key)), None)

    def counts_events_of(self, key: RunKey) -> bool:
        """Tell whether events of a run may have a class."""
        if self.event is None or (self.event.tasks and key.task not in self.event.tasks):
            return False
        return self.exclusion_of(key) is None

    def class_of_event(self, key: RunKey, trial_type: str) -> str | None:
        """Return the class of an event of a run, or None: no rule covers it, or runs have them."""
        if self.event is None or not self.counts_events_of(key):
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


def _two_rows(left: tuple[str, int], right: tuple[str, int]) -> str:
    if left[0] == right[0]:
        return f"rows {left[1]} and {right[1]} of {left[0]}"
    return f"row {left[1]} of {left[0]} and row {right[1]} of {right[0]}"
