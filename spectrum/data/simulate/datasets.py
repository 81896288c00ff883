"""The four data sets in miniature: names, runs, slices, lengths and intensity levels.

Counts, geometry and TR are those of the OpenNeuro files (images.tsv of the four accessions);
intensities and tSNR are MRIQC's medians over all runs of a data set, their spreads the standard
deviations of the logarithm. Not here: where events fall within a run (``designs``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, islice, permutations
from types import MappingProxyType
from typing import Final

from spectrum.data.simulate.designs import (
    CLASSIFICATION_PROBE,
    DUAL_TASK,
    FEEDBACK_BLOCKS,
    MIXED_PROBE,
    REVERSAL,
    SINGLE_TASK,
    STOP_SIGNAL,
    TIMED_CLASSIFICATION,
    TONE_COUNTING,
    WEATHER,
    Design,
)
from spectrum.entities import RunKey

__all__ = ["PLANS", "TR_S", "DatasetPlan", "TaskPlan"]

TR_S: Final = 2.0
"""Seconds between two volumes: header and sidecar of all 312 BOLD files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """One task of a data set.

    ``runs`` are labels as file names write them, "" for a task without a run entity;
    ``files_of_length`` says how many real files have so many volumes. ``learns`` marks learning
    from feedback: there run 1 is early and run 2 late.
    """

    name: str
    title: str
    runs: tuple[str, ...]
    files_of_length: Mapping[int, int]
    design: Design
    learns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlan:
    """One data set: what its tree holds and at which levels its images lie.

    ``slices_of_first`` is (n, slices): the first n subject numbers have another slice count.
    ``foreground`` is in scanner units; ``gain_sd`` and ``run_gain_sd`` are its spreads between
    subjects and between runs of one subject (of the logarithm). ``lacking`` holds
    (subject, session, task, run) of runs that the real tree does not have. ``orders`` are the
    orders in which the (task, run) of a session were scanned; a subject has one of them.
    """

    name: str
    title: str
    tasks: tuple[TaskPlan, ...]
    num_slices: int
    slice_mm: float
    foreground: float
    gain_sd: float
    run_gain_sd: float
    tsnr: float
    sessions: tuple[str, ...] = ("",)
    id_width: int = 2
    subjects_absent: frozenset[int] = frozenset()
    slices_of_first: tuple[int, int] = (0, 0)
    has_participants: bool = True
    ages: tuple[int, int] = (19, 37)
    participants_unknown: frozenset[str] = frozenset()
    lacking: frozenset[tuple[str, str, str, str]] = frozenset()
    orders: tuple[tuple[tuple[str, str], ...], ...]
    sidecar: Mapping[str, str | float] = field(default_factory=lambda: MappingProxyType({}))

    def subjects(self, num_subjects: int) -> tuple[str, ...]:
        """Return the first subject labels, without those that the real data set lacks."""
        present = (number for number in count(1) if number not in self.subjects_absent)
        return tuple(f"{number:0{self.id_width}d}" for number in islice(present, num_subjects))

    def slices_of(self, subject: str) -> int:
        """Return the slices in a volume of this subject."""
        first, num_slices = self.slices_of_first
        return num_slices if int(subject) <= first else self.num_slices

    def runs_of(self, subject: str) -> tuple[RunKey, ...]:
        """Return the keys of all runs of one subject."""
        return tuple(
            RunKey(dataset=self.name, subject=subject, session=session, task=task.name, run=run)
            for session in self.sessions
            for task in self.tasks
            for run in task.runs
            if (subject, session, task.name, run) not in self.lacking
        )

    def task_of(self, key: RunKey) -> TaskPlan:
        """Return the task that a run belongs to."""
        return next(task for task in self.tasks if task.name == key.task)


def _runs_of(task: str, *runs: str) -> tuple[tuple[str, str], ...]:
    return tuple((task, run) for run in runs)


# Orders, after the methods texts: ds000002 had either task first and the probe last; ds000011
# alternated its tasks, either first, and the probe followed; where its tone counting stood is not
# told, and it is put last. ds000017 began with stop signals. ds000052 reversed after learning.
_DETERMINISTIC: Final = "deterministicclassification"
_PROBABILISTIC: Final = "probabilisticclassification"
_MIXED: Final = "mixedeventrelatedprobe"

DS000002: Final = DatasetPlan(
    name="ds000002",
    orders=tuple(
        (*_runs_of(first, "01", "02"), *_runs_of(then, "01", "02"), *_runs_of(_MIXED, "01", "02"))
        for first, then in permutations((_DETERMINISTIC, _PROBABILISTIC))
    ),
    title="Classification learning",
    num_slices=30,
    slice_mm=5.0,
    slices_of_first=(3, 25),
    foreground=642.0,
    gain_sd=0.081,
    run_gain_sd=0.012,
    tsnr=61.7,
    ages=(19, 31),
    tasks=(
        TaskPlan(
            name=_DETERMINISTIC,
            title="deterministic classification",
            runs=("01", "02"),
            files_of_length={177: 1, 178: 2, 179: 17, 180: 14},
            design=FEEDBACK_BLOCKS,
            learns=True,
        ),
        TaskPlan(
            name=_PROBABILISTIC,
            title="probabilistic classification",
            runs=("01", "02"),
            files_of_length={175: 1, 178: 3, 179: 19, 180: 11},
            design=FEEDBACK_BLOCKS,
            learns=True,
        ),
        TaskPlan(
            name=_MIXED,
            title="mixed event-related probe",
            runs=("01", "02"),
            files_of_length={229: 2, 230: 2, 231: 12, 232: 6, 233: 5, 234: 1, 236: 4, 237: 2},
            design=MIXED_PROBE,
        ),
    ),
)

_SINGLE: Final = "Singletaskweatherprediction"
_DUAL: Final = "Dualtaskweatherprediction"

DS000011: Final = DatasetPlan(
    name="ds000011",
    orders=tuple(
        (
            *((task, run) for run in ("01", "02") for task in tasks),
            ("Classificationprobewithoutfeedback", ""),
            ("tonecounting", ""),
        )
        for tasks in permutations((_SINGLE, _DUAL))
    ),
    title="Classification learning and tone-counting",
    num_slices=30,
    slice_mm=5.0,
    foreground=678.0,
    gain_sd=0.084,
    run_gain_sd=0.004,
    tsnr=62.0,
    tasks=(
        TaskPlan(
            name=_SINGLE,
            title="Single-task weather prediction",
            runs=("01", "02"),
            files_of_length={206: 1, 207: 12, 208: 15},
            design=SINGLE_TASK,
            learns=True,
        ),
        TaskPlan(
            name=_DUAL,
            title="Dual-task weather prediction",
            runs=("01", "02"),
            files_of_length={206: 1, 207: 20, 208: 7},
            design=DUAL_TASK,
            learns=True,
        ),
        TaskPlan(
            name="Classificationprobewithoutfeedback",
            title="Classification probe without feedback",
            runs=("",),
            files_of_length={238: 1, 239: 11, 240: 2},
            design=CLASSIFICATION_PROBE,
        ),
        TaskPlan(
            name="tonecounting",
            title="tone-counting",
            runs=("",),
            files_of_length={103: 1, 104: 1, 111: 5, 112: 7},
            design=TONE_COUNTING,
        ),
    ),
)

_STOP_SIGNAL: Final = "selectivestopsignaltask"
DS000017: Final = DatasetPlan(
    name="ds000017",
    orders=((*_runs_of(_STOP_SIGNAL, "01", "02", "03"), *_runs_of(_PROBABILISTIC, "01", "02")),),
    title="Classification learning and stop-signal (1 year test-retest)",
    num_slices=33,
    slice_mm=4.0,
    foreground=608.0,
    gain_sd=0.082,
    run_gain_sd=0.045,
    tsnr=57.2,
    sessions=("timepoint1", "timepoint2"),
    id_width=1,
    ages=(25, 50),
    participants_unknown=frozenset({"1", "3", "7"}),
    lacking=frozenset(
        {(subject, "timepoint2", _STOP_SIGNAL, "03") for subject in ("3", "5", "6", "8")}
        | {("6", "timepoint2", _PROBABILISTIC, run) for run in ("01", "02")}
    ),
    tasks=(
        TaskPlan(
            name=_PROBABILISTIC,
            title="probabilistic classification",
            runs=("01", "02"),
            files_of_length={179: 1, 180: 3, 181: 21, 182: 5},
            design=TIMED_CLASSIFICATION,
            learns=True,
        ),
        TaskPlan(
            name=_STOP_SIGNAL,
            title="selective stop-signal task",
            runs=("01", "02", "03"),
            files_of_length={179: 1, 180: 4, 181: 24, 182: 15},
            design=STOP_SIGNAL,
        ),
    ),
)

DS000052: Final = DatasetPlan(
    name="ds000052",
    orders=(
        (
            *_runs_of("weatherprediction", "1", "2"),
            *_runs_of("reversalweatherprediction", "1", "2"),
        ),
    ),
    title="Classification learning and reversal",
    num_slices=21,
    slice_mm=6.0,
    foreground=1668.0,
    gain_sd=0.130,
    run_gain_sd=0.040,
    tsnr=60.7,
    subjects_absent=frozenset({11}),
    has_participants=False,
    sidecar=MappingProxyType({"EchoTime": 0.004}),
    tasks=(
        TaskPlan(
            name="weatherprediction",
            title="Weather prediction",
            runs=("1", "2"),
            files_of_length={222: 1, 223: 1, 224: 1, 225: 23},
            design=WEATHER,
            learns=True,
        ),
        TaskPlan(
            name="reversalweatherprediction",
            title="Reversal weather prediction",
            runs=("1", "2"),
            files_of_length={225: 26},
            design=REVERSAL,
            learns=True,
        ),
    ),
)

PLANS: Final[Mapping[str, DatasetPlan]] = MappingProxyType(
    {plan.name: plan for plan in (DS000002, DS000011, DS000017, DS000052)}
)
"""The four data sets by name."""
