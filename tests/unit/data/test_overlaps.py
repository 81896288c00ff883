from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import SequencesConfig
from spectrum.data.bids import index_bids, read_events
from spectrum.data.overlaps import overlap_problem, shared_volumes
from spectrum.data.runs import Event
from spectrum.data.sequences import build_table
from spectrum.data.units import SequenceTable
from spectrum.targets import EventRule, Target
from tests.realdata import FOUR, needs_trees
from tests.unit.data.fake_shards import FakeRun, key

CLASSES = {"x": "a", "y": "b", "z": "c"}


def target_of(**window: float) -> Target:
    rule = EventRule(trial_types=CLASSES, **{"hrf_delay_s": 0.0, **window})
    return Target(name="seen", classes=("a", "b", "c"), event=rule)


def table_of(
    events: list[list[tuple[int, str]]], *, num_volumes: int = 3, duration_s: float = 6.0
) -> SequenceTable:
    """Cut events of runs of 40 volumes, TR 2 s; an event is its first volume and its type."""
    runs = [
        FakeRun(
            key(run=f"{number:02d}"),
            num_volumes=40,
            events=tuple(
                Event(onset_s=2.0 * volume, duration_s=1.0, trial_type=word)
                for volume, word in rows
            ),
        )
        for number, rows in enumerate(events, start=1)
    ]
    config = SequencesConfig(num_volumes=num_volumes, stride=num_volumes)
    return build_table(runs, target_of(duration_s=duration_s), config)


events_of_run = st.lists(
    st.tuples(st.integers(0, 34), st.sampled_from("xyz")), min_size=1, max_size=9
)


@given(st.lists(events_of_run, min_size=1, max_size=3), st.integers(1, 5))
def test_a_volume_is_shared_where_two_classes_use_it_and_nowhere_else(
    events: list[list[tuple[int, str]]], num_volumes: int
) -> None:
    table = table_of(events, num_volumes=num_volumes)
    classes_at: dict[tuple[int, int], set[int]] = {}
    rows = list(
        zip(
            table.run_of_sequence.tolist(),
            table.start_of_sequence.tolist(),
            table.class_of_sequence.tolist(),
            strict=True,
        )
    )
    for run, start, name in rows:
        for step in range(num_volumes):
            classes_at.setdefault((run, start + step), set()).add(name)
    expected = [
        [len(classes_at[run, start + step]) > 1 for step in range(num_volumes)]
        for run, start, _ in rows
    ]
    assert np.array_equal(shared_volumes(table), np.array(expected))
    assert (overlap_problem(table) is None) == (not np.any(expected))


def test_events_of_several_classes_in_one_volume_are_counted_and_kept() -> None:
    table = table_of([[(0, "x"), (2, "y"), (20, "z")], [(0, "x"), (1, "y")], [(5, "x")]])
    assert len(table.units) == 6
    (problem,) = table.problems
    assert problem.code == "event-overlap"
    assert "run-02" in problem.path
    assert "4 of 6 events have volumes in common" in problem.message
    assert "3 volumes in 2 of 3 runs" in problem.message
    assert "(2)" in problem.message


def test_events_of_one_class_may_share_volumes() -> None:
    assert table_of([[(0, "x"), (1, "x"), (9, "y")]]).problems == ()


def lengths_of_images(root: Path) -> dict[str, int]:
    with (root / "images.tsv").open(encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return {Path(row["path"]).name: int(row["nt"]) for row in rows}


@needs_trees
@pytest.mark.parametrize(
    ("num_volumes", "counts"),
    [(1, None), (2, "200 of 3354 events"), (4, "2159 of 3324 events"), (8, "3246 of 3270 events")],
)
def test_probe_events_of_ds000002_share_more_the_longer_a_sequence_is(
    num_volumes: int, counts: str | None
) -> None:
    """Events of 2 s follow each other after 2.8 s at the least and 4.4 s in the median."""
    names = ("probabilistic", "deterministic")
    target = Target(
        name="probe",
        classes=names,
        event=EventRule(
            trial_types={f"classification-{name}": name for name in names},
            tasks=("mixedeventrelatedprobe",),
        ),
    )
    lengths = lengths_of_images(FOUR[0])
    runs = [
        FakeRun(run.key, num_volumes=lengths[run.path.name], events=read_events(run.events_path))
        for run in index_bids(FOUR[:1]).runs
        if run.events_path is not None
    ]
    table = build_table(runs, target, SequencesConfig(num_volumes=num_volumes, stride=num_volumes))
    told = [p.message for p in table.problems if p.code == "event-overlap"]
    assert len(told) == (counts is not None)
    assert all(counts in message for message in told if counts)
