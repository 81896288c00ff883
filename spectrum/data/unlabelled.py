"""Units of runs that have no class: every run, or every event, is cut as in training.

A target says what a unit is (a run, or the window of an event) and which classes there are; here
it leaves nothing out, and the class that a unit carries means nothing. Not here: what a model says
of such units (``spectrum.training.predicting``).
"""

from __future__ import annotations

from spectrum.entities import RunKey
from spectrum.targets import ExclusionRule, Target

__all__ = ["without_labels"]


class _EveryRun(Target):
    """A target that takes every run and every event, all under its first class."""

    def class_of(self, key: RunKey) -> str | None:
        """Return the place holder, whatever the run."""
        del key
        return self.classes[0] if self.event is None else None

    def exclusion_of(self, key: RunKey) -> ExclusionRule | None:
        """Leave no run out."""
        del key
        return None

    def counts_events_of(self, key: RunKey) -> bool:
        """Take the events of every task."""
        del key
        return self.event is not None

    def class_of_event(self, key: RunKey, trial_type: str) -> str | None:
        """Return the place holder, whatever the event."""
        del key, trial_type
        return self.classes[0] if self.event is not None else None

    def pair_of(self, key: RunKey) -> str:
        """Pair nothing: which of two runs is meant is not known."""
        del key
        return ""


def without_labels(target: Target) -> Target:
    """Return a target of the same classes and windows that takes all runs and all events."""
    fields = {name: getattr(target, name) for name in Target.model_fields}
    return _EveryRun.model_construct(**fields)
