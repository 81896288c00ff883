"""When events happen in each task, and their tables as text.

Onsets, gaps and durations follow the real ``*_events.tsv`` of each task (medians and ranges over
all files), columns are theirs. Not here: what the brain does with an event (``signal``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from spectrum.data.runs import Event
from spectrum.data.simulate.behaviour import LAYOUTS, Layout

__all__ = [
    "CLASSIFICATION_PROBE",
    "DUAL_TASK",
    "FEEDBACK_BLOCKS",
    "MIXED_PROBE",
    "REVERSAL",
    "SINGLE_TASK",
    "STOP_SIGNAL",
    "TIMED_CLASSIFICATION",
    "TONE_COUNTING",
    "WEATHER",
    "BlockDesign",
    "Design",
    "JitteredDesign",
]


class Design(Protocol):
    """Draws the events of one run."""

    @property
    def layout(self) -> Layout:
        """How the events are written."""
        ...

    def draw(self, rng: np.random.Generator, *, run_s: float) -> tuple[Event, ...]:
        """Return the events of a run of ``run_s`` seconds, by onset."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDesign:
    """The same block again and again, each onset a little off.

    Parameters
    ----------
    block : events of one block
        Onsets in seconds from the start of the block.
    num_blocks : count, >= 1
    period_s : seconds from one block to the next
    first_s : seconds
        Latest onset of the first event; the earliest is half of it.
    duration_log_sd : standard deviation of the logarithm of a duration
        0 where the program fixed the duration.
    """

    block: tuple[Event, ...]
    num_blocks: int
    period_s: float
    layout: Layout
    first_s: float = 0.3
    jitter_s: float = 0.02
    duration_log_sd: float = 0.0

    def draw(self, rng: np.random.Generator, *, run_s: float) -> tuple[Event, ...]:
        """Return the events of one run; its length changes nothing, as in the scanner."""
        start_s = rng.uniform(self.first_s / 2, self.first_s)
        return tuple(
            Event(
                onset_s=max(0.0, start_s + index * self.period_s + event.onset_s + jitter_s),
                duration_s=event.duration_s * float(np.exp(log_factor)),
                trial_type=event.trial_type,
            )
            for index in range(self.num_blocks)
            for event in self.block
            for jitter_s in (rng.normal(0.0, self.jitter_s),)
            for log_factor in (np.clip(rng.normal(0.0, self.duration_log_sd), -0.4, 0.6),)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JitteredDesign:
    """Events at random gaps over the whole run.

    Parameters
    ----------
    shares : trial type -> share of the events
        Counts are the same in every run, their order is not.
    gap_s : seconds
        Shortest time between two onsets; what the run is longer is spread exponentially.
    step_s : seconds
        Gaps are multiples of it, as the display program had it; 0 leaves them free.
    spare_s : seconds
        Between the last onset and the end of the run, at least and at most.
    """

    num_events: int
    shares: Mapping[str, float]
    duration_s: float
    gap_s: float
    first_s: float
    spare_s: tuple[float, float]
    layout: Layout
    step_s: float = 0.0

    def draw(self, rng: np.random.Generator, *, run_s: float) -> tuple[Event, ...]:
        """Return the events of one run."""
        last_s = run_s - rng.uniform(*self.spare_s)
        onsets_s = _spread_onsets(rng, self, span_s=last_s - self.first_s)
        return tuple(
            Event(onset_s=float(onset_s), duration_s=self.duration_s, trial_type=trial_type)
            for onset_s, trial_type in zip(onsets_s, self._shuffled_types(rng), strict=True)
        )

    def _shuffled_types(self, rng: np.random.Generator) -> tuple[str, ...]:
        ends = np.rint(np.cumsum(list(self.shares.values())) * self.num_events)
        index = np.searchsorted(ends, np.arange(self.num_events), side="right")
        names = tuple(self.shares)
        return tuple(names[i] for i in rng.permutation(index))


def _spread_onsets(
    rng: np.random.Generator, design: JitteredDesign, *, span_s: float
) -> NDArray[np.float64]:
    """Return onsets whose gaps are at least ``gap_s`` and that fill ``span_s``."""
    excess = rng.exponential(size=design.num_events - 1)
    spare_s = span_s - (design.num_events - 1) * design.gap_s
    later_s = np.cumsum(excess) * spare_s / excess.sum()
    if design.step_s:
        later_s = np.floor(later_s / design.step_s) * design.step_s
    gaps_s = np.arange(1, design.num_events) * design.gap_s
    return np.round(design.first_s + np.concatenate([[0.0], later_s + gaps_s]), 4)


def _series(
    trial_type: str, *, num_events: int, spacing_s: float, duration_s: float, start_s: float = 0.0
) -> tuple[Event, ...]:
    return tuple(
        Event(onset_s=start_s + i * spacing_s, duration_s=duration_s, trial_type=trial_type)
        for i in range(num_events)
    )


def _weather_block(trial_type: str, probe: str) -> tuple[Event, ...]:
    learning = _series(trial_type, num_events=5, spacing_s=4.62, duration_s=4.0)
    return (*learning, Event(onset_s=22.98, duration_s=2.0, trial_type=probe))


FEEDBACK_BLOCKS: Final = BlockDesign(
    block=(
        *_series("feedback", num_events=5, spacing_s=4.5, duration_s=2.0),
        *_series("n/a", num_events=3, spacing_s=4.5, duration_s=0.0, start_s=22.5),
    ),
    num_blocks=10,
    period_s=36.0,
    layout=LAYOUTS["feedback"],
)
"""ds000002, both learning tasks: five trials with feedback, three baseline trials."""

MIXED_PROBE: Final = JitteredDesign(
    num_events=100,
    shares={"classification-probabilistic": 0.5, "classification-deterministic": 0.5},
    duration_s=2.0,
    gap_s=3.0,
    first_s=0.12,
    spare_s=(2.0, 8.0),
    layout=LAYOUTS["probe"],
)

SINGLE_TASK: Final = BlockDesign(
    block=_weather_block("single-task classification", "single-task probe"),
    num_blocks=10,
    period_s=40.83,
    layout=LAYOUTS["plain"],
)

DUAL_TASK: Final = BlockDesign(
    block=_weather_block("dual-task classification", "dual-task probe"),
    num_blocks=10,
    period_s=40.83,
    layout=LAYOUTS["plain"],
)

CLASSIFICATION_PROBE: Final = JitteredDesign(
    num_events=112,
    shares={
        "correct classification of single-task items": 0.261,
        "correct classification of dual-task items": 0.255,
        "junk single-task items": 0.239,
        "junk dual-task items": 0.245,
    },
    duration_s=2.5,
    gap_s=2.8,
    first_s=0.17,
    spare_s=(4.0, 6.0),
    layout=LAYOUTS["plain"],
)

TONE_COUNTING: Final = BlockDesign(
    block=(
        Event(onset_s=0.0, duration_s=2.0, trial_type="tone counting probe"),
        *_series("tone counting", num_events=8, spacing_s=4.6, duration_s=4.0, start_s=2.19),
        Event(onset_s=38.89, duration_s=3.0, trial_type="tone counting probe"),
    ),
    num_blocks=4,
    period_s=56.0,
    layout=LAYOUTS["plain"],
    first_s=0.05,
)

TIMED_CLASSIFICATION: Final = BlockDesign(
    block=_series("classification", num_events=5, spacing_s=4.51, duration_s=2.19),
    num_blocks=10,
    period_s=36.08,
    layout=LAYOUTS["unrounded"],
    duration_log_sd=0.25,
)
"""ds000017: durations are response times."""

STOP_SIGNAL: Final = JitteredDesign(
    num_events=127,
    shares={
        "go-critical": 0.344,
        "go-noncritical": 0.349,
        "failed stop - noncritical": 0.114,
        "failed stop - critical": 0.063,
        "succesful stop": 0.062,
        "junk": 0.068,
    },
    duration_s=1.5,
    gap_s=2.0,
    first_s=2.0,
    spare_s=(4.0, 8.0),
    layout=LAYOUTS["unrounded"],
    step_s=0.125,
)
"""ds000017; "succesful" as its files spell it."""

WEATHER: Final = JitteredDesign(
    num_events=48,
    shares={"negative": 0.526, "positive": 0.474},
    duration_s=2.0,
    gap_s=6.5,
    first_s=0.12,
    spare_s=(7.0, 12.0),
    layout=LAYOUTS["condition"],
    step_s=0.5,
)

REVERSAL: Final = JitteredDesign(
    num_events=48,
    shares={"negative": 0.547, "positive": 0.453},
    duration_s=2.0,
    gap_s=6.5,
    first_s=0.12,
    spare_s=(7.0, 12.0),
    layout=LAYOUTS["condition"],
    step_s=0.5,
)
