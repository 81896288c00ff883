from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import SequencesConfig
from spectrum.data.runs import Event
from spectrum.data.sequences import build_table, cut_event, cut_run, read_sequences
from spectrum.errors import ShardError, TargetError
from spectrum.targets import EventRule, ExclusionRule, RunRule, Target
from tests.unit.data.fake_shards import FakeRun, FakeShards, key

EARLY_LATE = Target(
    name="planted",
    classes=("early", "late"),
    paired=True,
    rules=(
        RunRule(dataset="ds000002", task="learn", run=1, class_name="early", source="planted"),
        RunRule(dataset="ds000002", task="learn", run=2, class_name="late", source="planted"),
    ),
)
FACES_HOUSES = Target(
    name="seen",
    classes=("face", "house"),
    event=EventRule(trial_types={"Face": "face", "House": "house"}, hrf_delay_s=5.0),
)


def sequences(
    num_volumes: int = 4, stride: int = 3, plane: str = "axial", decimation: int = 1
) -> SequencesConfig:
    return SequencesConfig(
        num_volumes=num_volumes, stride=stride, plane=plane, decimation=decimation
    )


def event(onset_s: float, duration_s: float, trial_type: str = "Face") -> Event:
    return Event(onset_s=onset_s, duration_s=duration_s, trial_type=trial_type)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 20))
def test_every_window_of_a_run_lies_inside_it_and_none_is_missing(
    length: int, num_volumes: int, stride: int
) -> None:
    starts = cut_run(length, span=num_volumes, stride=stride)
    fitting = [s for s in range(0, length, stride) if s + num_volumes <= length]
    assert starts.tolist() == fitting


@given(
    st.floats(-10, 100),
    st.floats(0, 40),
    st.integers(0, 50),
    st.sampled_from([0.72, 1.0, 2.0, 2.5]),
    st.integers(1, 9),
    st.integers(1, 7),
)
def test_windows_of_an_event_lie_within_its_delayed_span_and_inside_the_run(
    onset: float, duration: float, length: int, tr_s: float, num_volumes: int, stride: int
) -> None:
    starts = cut_event(
        (onset, onset + duration), length, tr_s=tr_s, span=num_volumes, stride=stride
    )
    assert all(s >= 0 and s + num_volumes <= length for s in starts)
    assert all(s * tr_s >= onset - 1e-5 for s in starts)
    assert all((s + num_volumes - 1) * tr_s < onset + duration + 1e-5 for s in starts[1:])
    assert np.all(np.diff(starts) == stride)


def test_an_event_shorter_than_a_tr_has_one_window() -> None:
    starts = cut_event((7.1, 7.1), 30, tr_s=2.0, span=3, stride=1)
    assert starts.tolist() == [4]


def test_an_onset_on_a_volume_takes_that_volume_in_spite_of_rounding() -> None:
    starts = cut_event((3 * 0.1 + 5.0, 12.0), 30, tr_s=5.3, span=3, stride=1)
    assert starts.tolist() == [1]


def test_an_event_shorter_than_a_window_has_the_first_window_alone() -> None:
    starts = cut_event((6.0, 10.0), 30, tr_s=2.0, span=3, stride=1)
    assert starts.tolist() == [3]


def test_the_last_window_ends_with_the_event() -> None:
    starts = cut_event((6.0, 16.0), 30, tr_s=2.0, span=3, stride=1)
    assert starts.tolist() == [3, 4, 5]


def test_a_run_target_makes_one_unit_a_labelled_run_and_names_the_others() -> None:
    runs = [
        FakeRun(key(run="01"), num_volumes=11),
        FakeRun(key(task="rest")),
        FakeRun(key(run="2"), num_volumes=3),
        FakeRun(key(subject="02", run="2"), num_volumes=4),
    ]
    table = build_table(runs, EARLY_LATE, sequences())
    assert [u.name for u in table.units] == [str(runs[0].key), str(runs[3].key)]
    assert [u.class_index for u in table.units] == [0, 1]
    assert table.start_of_sequence.tolist() == [0, 3, 6, 0]
    assert table.unit_of_sequence.tolist() == [0, 0, 0, 1]
    assert table.run_of_sequence.tolist() == [0, 0, 0, 3]
    assert table.class_of_sequence.tolist() == [0, 0, 0, 1]
    assert table.volumes_left_out == 1
    assert [(p.code, p.path) for p in table.problems] == [
        ("unlabelled", str(runs[1].key)),
        ("too-short", str(runs[2].key)),
    ]
    assert "3 volumes" in table.problems[1].message


def test_volumes_between_windows_count_as_left_out() -> None:
    table = build_table([FakeRun(key())], EARLY_LATE, sequences(num_volumes=2, stride=5))
    assert table.start_of_sequence.tolist() == [0, 5]
    assert table.volumes_left_out == 7


def test_units_of_a_paired_target_carry_their_pair() -> None:
    runs = [FakeRun(key(run="01")), FakeRun(key(run="02"))]
    pairs = {u.pair for u in build_table(runs, EARLY_LATE, sequences()).units}
    assert len(pairs) == 1
    assert "" not in pairs


def test_events_become_units_named_by_their_row_and_those_outside_are_named() -> None:
    events = (event(0.0, 4.0), event(2.0, 4.0, "Rest"), event(6.0, 4.0, "House"), event(90.0, 4.0))
    runs = [
        FakeRun(key(), num_volumes=12, events=events),
        FakeRun(key(run="02"), events=(event(0.0, 1.0, "Rest"),)),
    ]
    table = build_table(runs, FACES_HOUSES, sequences(num_volumes=3, stride=1))
    assert [u.name for u in table.units] == [f"{runs[0].key}#0", f"{runs[0].key}#2"]
    assert [u.event_index for u in table.units] == [0, 2]
    assert [u.class_index for u in table.units] == [0, 1]
    assert table.start_of_sequence.tolist() == [3, 6]
    assert table.unit_of_sequence.tolist() == [0, 1]
    assert table.volumes_left_out == 12 - 6
    assert [(p.code, p.path) for p in table.problems] == [
        ("event-outside", f"{runs[0].key}#3"),
        ("unlabelled", str(runs[1].key)),
    ]


def test_an_event_without_duration_gives_one_sequence_at_its_delayed_onset() -> None:
    runs = [FakeRun(key(), num_volumes=20, events=(event(4.0, 0.0), event(8.0, 0.0, "House")))]
    table = build_table(runs, FACES_HOUSES, sequences(num_volumes=2, stride=1))
    assert table.start_of_sequence.tolist() == [5, 7]
    assert table.unit_of_sequence.tolist() == [0, 1]


def test_a_window_of_the_target_is_used_instead_of_the_duration_of_the_event() -> None:
    target = Target(
        name="seen",
        classes=("face", "house"),
        event=EventRule(
            trial_types={"Face": "face", "House": "house"}, hrf_delay_s=4.0, duration_s=6.0
        ),
    )
    runs = [FakeRun(key(), num_volumes=30, events=(event(0.0, 0.0), event(20.0, 30.0, "House")))]
    table = build_table(runs, target, sequences(num_volumes=2, stride=1))
    assert table.start_of_sequence.tolist() == [2, 3, 12, 13]
    assert table.unit_of_sequence.tolist() == [0, 0, 1, 1]
    assert table.problems == ()


def test_a_run_that_is_left_out_on_purpose_is_named_with_the_reason() -> None:
    target = EARLY_LATE.model_copy(
        update={
            "excluded": (
                ExclusionRule(
                    dataset="ds000002", task="rest", reason="No task.", source="planted"
                ),
            )
        }
    )
    runs = [FakeRun(key()), FakeRun(key(task="rest")), FakeRun(key(task="tone"))]
    problems = build_table(runs, target, sequences()).problems
    assert [p.code for p in problems] == ["excluded", "unlabelled"]
    assert problems[0].message.endswith("leaves the run out. No task.")


def test_no_unit_at_all_is_refused_with_the_reasons() -> None:
    runs = [FakeRun(key(task="rest")), FakeRun(key(), num_volumes=1)]
    with pytest.raises(TargetError, match=r"None of 2 runs.*planted: 1 too-short, 1 unlabelled"):
        build_table(runs, EARLY_LATE, sequences())


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(TargetError, match="None of 0 runs"):
        build_table([], EARLY_LATE, sequences())


def shards_of_four() -> FakeShards:
    return FakeShards(
        runs=(
            FakeRun(key(task="rest"), num_volumes=9),
            FakeRun(key(run="01"), num_volumes=7),
            FakeRun(key(task="tone"), num_volumes=6),
            FakeRun(key(run="02"), num_volumes=5),
        )
    )


def test_only_runs_with_a_unit_are_read_into_one_array() -> None:
    shards = shards_of_four()
    data = read_sequences(shards, EARLY_LATE, sequences())
    assert [run.key.run for run in shards.read] == ["01", "02"]
    assert data.slices_VSHW.shape == (12, 2, 3, 5)
    assert data.slices_VSHW.dtype == np.float16
    assert data.first_volume_of_run.tolist() == [-1, 0, -1, 7]
    assert data.paired
    assert data.content_hash == "hash-of-shards"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_sequences_hold_the_volumes_of_their_run_in_every_plane(plane: str) -> None:
    shards = shards_of_four()
    data = read_sequences(shards, EARLY_LATE, sequences(plane=plane))
    for row, start, run_index in zip(
        data.first_volume_of_sequence,
        data.table.start_of_sequence,
        data.table.run_of_sequence,
        strict=True,
    ):
        stored_VZYX = shards.read_run(shards.runs[run_index])[start : start + 4]
        found_VSHW = data.slices_VSHW[row : row + 4]
        back_to_VZYX = {
            "axial": found_VSHW,
            "coronal": np.moveaxis(found_VSHW, 1, 2),
            "sagittal": np.moveaxis(found_VSHW, 1, 3),
        }[plane]
        assert np.array_equal(back_to_VZYX, stored_VZYX)


def test_a_coronal_slice_is_z_by_x_and_a_sagittal_one_z_by_y() -> None:
    shards = shards_of_four()
    coronal = read_sequences(shards, EARLY_LATE, sequences(plane="coronal"))
    sagittal = read_sequences(shards, EARLY_LATE, sequences(plane="sagittal"))
    assert coronal.slices_VSHW.shape[1:] == (3, 2, 5)
    assert sagittal.slices_VSHW.shape[1:] == (5, 2, 3)


def test_a_run_of_another_shape_than_the_manifest_says_is_refused() -> None:
    shards = shards_of_four()
    short = shards.read_run
    shards.read_run = lambda run: short(run)[:-1]
    with pytest.raises(ShardError, match=r"run-01.*\(6, 2, 3, 5\).*spectrum prepare"):
        read_sequences(shards, EARLY_LATE, sequences())
