"""Cut runs into sequences of T volumes: which volumes, of which scored unit, in which plane.

Pure numpy; the shards themselves are read by the shard set that is passed in. Not here: which side
of a fold a unit stands on (``folds``), and what is done to the volumes before (``recipe``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.overlaps import overlap_problem
from spectrum.data.places import place_table
from spectrum.data.read_ahead import iter_ahead
from spectrum.data.runs import Event, Problem
from spectrum.data.units import SequenceData, SequenceRuns, SequenceTable, Unit
from spectrum.errors import ShardError, TargetError

if TYPE_CHECKING:
    from spectrum.config import SequencesConfig
    from spectrum.data.shards import ShardReader, ShardRun, ShardSet
    from spectrum.targets import EventRule, Target

__all__ = [
    "build_table",
    "cut_event",
    "cut_run",
    "read_in_plane",
    "read_into",
    "read_sequences",
    "resident_sequences",
    "shape_in_plane",
    "stream_sequences",
]

AXES_OF_PLANE: Final = {"axial": (0, 1, 2, 3), "coronal": (0, 2, 1, 3), "sagittal": (0, 3, 1, 2)}
"""How the axes V, Z, Y, X of a stored run become V, S, H, W. Axial slices are stacked along Z (H
is Y, W is X), coronal along Y (H is Z, W is X), sagittal along X (H is Z, W is Y)."""

READERS: Final = 2
"""Threads that read a set into memory: checksums and copies keep two busy, and one trial of a
search has one core for itself."""

ONSET_TOLERANCE_VOLUMES: Final = 1e-6
"""Onsets are decimal text and TR is a float; a volume this little late still begins in time."""


def cut_run(num_volumes_of_run: int, *, span: int, stride: int) -> NDArray[np.int64]:
    """Return where the sequences of a whole run begin.

    Parameters
    ----------
    num_volumes_of_run : V, >= 0
    span : volumes of the run from the first to the last of a sequence, >= 1
        T without decimation, (T - 1) n + 1 where every n-th volume is taken.
    stride : volumes between two starts, >= 1

    Returns
    -------
    starts : volumes from the start of the run
        Every window of that span that lies inside the run; empty where V is less.

    Examples
    --------
    >>> cut_run(11, span=4, stride=3).tolist()
    [0, 3, 6]
    """
    return np.arange(0, num_volumes_of_run - span + 1, stride, dtype=np.int64)


def cut_event(
    span_s: tuple[float, float],
    num_volumes_of_run: int,
    *,
    tr_s: float,
    span: int,
    stride: int,
) -> NDArray[np.int64]:
    """Return where the sequences of one event begin.

    Parameters
    ----------
    span_s : start and end of the event's window, seconds from the run's first volume
        Already delayed by the haemodynamic response.
    num_volumes_of_run : V, >= 0
    tr_s : seconds, > 0
    span : volumes of the run from the first to the last of a sequence, >= 1
    stride : volumes between two starts, >= 1

    Returns
    -------
    starts : volumes from the start of the run
        The first is the first volume that begins at or after the start of the span. All volumes of
        a sequence begin before the end of the span, as later ones belong to what comes after; a
        span that is shorter than a sequence, of 0 s in particular, has the first one alone, which
        then reaches past its end. Sequences that leave the run are not among them.
    """
    first, end = (
        math.ceil(second / tr_s - ONSET_TOLERANCE_VOLUMES) for second in (span_s[0], span_s[1])
    )
    starts = np.arange(first, max(end - span, first) + 1, stride, dtype=np.int64)
    return starts[(starts >= 0) & (starts + span <= num_volumes_of_run)]


def build_table(
    runs: Sequence[ShardRun], target: Target, config: SequencesConfig
) -> SequenceTable:
    """Cut the runs that a target labels into units and their sequences.

    Parameters
    ----------
    runs : all runs of the shard set, in its order
    target : gives each run, or each event, its class
    config : length, stride and decimation of a sequence

    Returns
    -------
    table : units in the order of the runs, and of events within a run
        ``problems`` names every run that the target leaves out on purpose (``excluded``) or gives
        no class (``unlabelled``), every run shorter than one sequence (``too-short``) and every
        event whose window leaves its run (``event-outside``); one more says how many volumes are
        in sequences of events of several classes (``event-overlap``). These are kept.

    Raises
    ------
    TargetError
        Where no unit is left.
    """
    parts = [_cut(index, run, target, config) for index, run in enumerate(runs)]
    cuts = [cut for part in parts for cut in part.cuts]
    problems = tuple(problem for part in parts for problem in part.problems)
    if not cuts:
        raise TargetError(_no_unit(len(runs), target, problems), code="no-units")
    counts = np.array([cut.starts.size for cut in cuts], dtype=np.int64)
    run_of_unit = np.array([cut.unit.run_index for cut in cuts], dtype=np.int64)
    table = SequenceTable(
        units=tuple(cut.unit for cut in cuts),
        classes=target.classes,
        num_volumes=config.num_volumes,
        decimation=config.decimation,
        run_of_sequence=np.repeat(run_of_unit, counts),
        start_of_sequence=np.concatenate([cut.starts for cut in cuts]),
        unit_of_sequence=np.repeat(np.arange(len(cuts), dtype=np.int64), counts),
        volumes_left_out=sum(part.volumes_left_out for part in parts),
        problems=problems,
        image_of_run=tuple(run.voxels_sha256 for run in runs),
        factor_of_run=tuple(run.scale for run in runs),
        target=target.name,
    )
    overlap = overlap_problem(table) if target.kind == "event" else None
    return table if overlap is None else replace(table, problems=(*problems, overlap))


def read_sequences(shards: ShardSet, target: Target, config: SequencesConfig) -> SequenceData:
    """Read the runs that a target uses into one resident array, in the plane asked for.

    Parameters
    ----------
    shards : an open shard set
    target : gives each run, or each event, its class
    config : length, stride, decimation and plane of a sequence

    Returns
    -------
    data : slices_VSHW float16, one run after the other in the order of the shard set
        Only runs with a unit are read.
    """
    return resident_sequences(stream_sequences(shards, target, config))


def resident_sequences(sequences: SequenceRuns) -> SequenceData:
    """Read all runs of some sequences into one array, one after the other."""
    used = list(sequences.table.used_runs)
    volumes = sequences.volumes_of_run[used]
    first_volume_of_run = np.full(len(sequences.volumes_of_run), -1, dtype=np.int64)
    first_volume_of_run[used] = np.cumsum(volumes) - volumes
    slices_VSHW = np.empty((int(volumes.sum()), *sequences.volume_shape), dtype=np.float16)
    read_into(slices_VSHW, sequences)
    return SequenceData(
        slices_VSHW=slices_VSHW,
        first_volume_of_run=first_volume_of_run,
        table=sequences.table,
        paired=sequences.paired,
        content_hash=sequences.content_hash,
    )


def read_into(slices_VSHW: NDArray[np.float16], sequences: SequenceRuns) -> None:
    """Read all runs of some sequences into an array, one after the other, by several threads."""
    used = list(sequences.table.used_runs)
    ends = np.cumsum(sequences.volumes_of_run[used])

    def read(place: int) -> None:
        run = used[place]
        first = ends[place] - sequences.volumes_of_run[run]
        slices_VSHW[first : ends[place]] = sequences.read_run(run)

    for _ in iter_ahead(read, range(len(used)), depth=2 * READERS, num_threads=READERS):
        """Errors are raised here."""


def stream_sequences(shards: ShardSet, target: Target, config: SequencesConfig) -> SequenceRuns:
    """Cut the runs that a target uses into sequences, and read none before it is asked for.

    Parameters
    ----------
    shards : an open shard set
    target : gives each run, or each event, its class
    config : length, stride, decimation and plane of a sequence
    """
    manifest = shards.manifest
    reader = shards.reader()
    return SequenceRuns(
        read_run=lambda index: read_in_plane(
            reader, manifest.runs[index], manifest.shape_SHW, config.plane
        ),
        is_in_memory=False,
        volume_shape=shape_in_plane(manifest.shape_SHW, config.plane),
        volumes_of_run=np.array([run.num_volumes for run in manifest.runs], dtype=np.int64),
        table=place_table(build_table(manifest.runs, target, config), manifest, config.plane),
        paired=target.paired,
        content_hash=manifest.content_hash,
    )


def shape_in_plane(shape_ZYX: tuple[int, int, int], plane: str) -> tuple[int, int, int]:
    """Return S, H and W of a stored volume in a plane."""
    num_slices, height, width = (shape_ZYX[axis - 1] for axis in AXES_OF_PLANE[plane][1:])
    return num_slices, height, width


def read_in_plane(
    reader: ShardReader, run: ShardRun, shape_ZYX: tuple[int, int, int], plane: str
) -> NDArray[np.float16]:
    """Return a view of the volumes of a run in a plane, (V, S, H, W), not writable.

    Raises
    ------
    ShardError
        Where the run has another shape than the manifest says.
    """
    slices_VZYX = reader.read_run(run)
    if slices_VZYX.shape != (run.num_volumes, *shape_ZYX):
        raise ShardError(
            f"{run.key} holds slices of shape {slices_VZYX.shape}; the manifest says "
            f"{(run.num_volumes, *shape_ZYX)}. Make the shards again with `spectrum prepare`."
        )
    return slices_VZYX.transpose(AXES_OF_PLANE[plane])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    unit: Unit
    starts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunPart:
    cuts: tuple[_Cut, ...] = ()
    problems: tuple[Problem, ...] = ()
    volumes_left_out: int = 0


def _cut(index: int, run: ShardRun, target: Target, config: SequencesConfig) -> _RunPart:
    if target.event is None:
        part = _cut_whole_run(index, run, target, config)
    else:
        part = _cut_events(index, run, target, config)
    if not part.cuts:
        return part
    starts = np.concatenate([cut.starts for cut in part.cuts])
    offsets = np.arange(config.num_volumes) * config.decimation
    used = np.unique(starts[:, None] + offsets)
    return replace(part, volumes_left_out=run.num_volumes - used.size)


def _cut_whole_run(index: int, run: ShardRun, target: Target, config: SequencesConfig) -> _RunPart:
    name = target.class_of(run.key)
    if name is None:
        return _RunPart(problems=(_unlabelled(run, target),))
    if run.num_volumes < config.span:
        return _RunPart(problems=(_too_short(run, config),))
    starts = cut_run(run.num_volumes, span=config.span, stride=config.stride)
    unit = Unit(
        key=run.key,
        name=str(run.key),
        pair=target.pair_of(run.key),
        class_index=target.class_index(name),
        run_index=index,
        person=run.person,
    )
    return _RunPart(cuts=(_Cut(unit=unit, starts=starts),))


def _cut_events(index: int, run: ShardRun, target: Target, config: SequencesConfig) -> _RunPart:
    named = [
        (number, event, target.class_of_event(run.key, event.trial_type))
        for number, event in enumerate(run.events)
    ]
    labelled = [(number, event, name) for number, event, name in named if name is not None]
    if not labelled:
        return _RunPart(problems=(_unlabelled(run, target),))
    if run.num_volumes < config.span:
        return _RunPart(problems=(_too_short(run, config),))
    cuts, problems = [], []
    for number, event, name in labelled:
        starts = _event_starts(event, run, target.event, config)
        if starts.size == 0:
            problems.append(_event_outside(number, event, run, config))
            continue
        unit = Unit(
            key=run.key,
            name=f"{run.key}#{number}",
            pair=target.pair_of(run.key),
            class_index=target.class_index(name),
            run_index=index,
            event_index=number,
            person=run.person,
        )
        cuts.append(_Cut(unit=unit, starts=starts))
    return _RunPart(cuts=tuple(cuts), problems=tuple(problems))


def _event_starts(
    event: Event, run: ShardRun, rule: EventRule | None, config: SequencesConfig
) -> NDArray[np.int64]:
    assert rule is not None
    return cut_event(
        rule.window_s(event.onset_s, event.duration_s),
        run.num_volumes,
        tr_s=run.tr_s,
        span=config.span,
        stride=config.stride,
    )


def _unlabelled(run: ShardRun, target: Target) -> Problem:
    exclusion = target.exclusion_of(run.key)
    if exclusion is not None:
        message = f"{run.key}: the target {target.name} leaves the run out. {exclusion.reason}"
        return Problem(code="excluded", path=str(run.key), message=message)
    what = "the run" if target.event is None else f"any of its {len(run.events)} events"
    return Problem(
        code="unlabelled",
        path=str(run.key),
        message=f"{run.key}: the target {target.name} gives {what} no class, so it is not used.",
    )


def _too_short(run: ShardRun, config: SequencesConfig) -> Problem:
    return Problem(
        code="too-short",
        path=str(run.key),
        message=f"{run.key} has {run.num_volumes} volumes and a sequence {_length(config)}, "
        "so it is not used. Lower sequences.num_volumes to use it.",
    )


def _event_outside(number: int, event: Event, run: ShardRun, config: SequencesConfig) -> Problem:
    return Problem(
        code="event-outside",
        path=f"{run.key}#{number}",
        message=f"{run.key}: event {number} ({event.trial_type}) at {event.onset_s:g} s has no "
        f"window of {_length(config)} volumes inside the run's {run.num_volumes}, so it is not "
        "used. Lower sequences.num_volumes to use it.",
    )


def _length(config: SequencesConfig) -> str:
    """Return the volumes that a sequence spans, as text."""
    if config.decimation == 1:
        return str(config.num_volumes)
    return f"{config.span} (with sequences.decimation {config.decimation})"


def _no_unit(num_runs: int, target: Target, problems: Sequence[Problem]) -> str:
    counts = {code: sum(p.code == code for p in problems) for code in {p.code for p in problems}}
    found = ", ".join(f"{count} {code}" for code, count in sorted(counts.items())) or "no run"
    return (
        f"None of {num_runs} runs gives a sequence under the target {target.name}: {found}. "
        "Choose a target that labels these runs (`spectrum targets`), or shorter sequences."
    )
