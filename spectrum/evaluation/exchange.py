"""Which classes may change places under the null hypothesis, and in how many ways.

Classes move within subjects wherever one has anything to exchange, and never one by one where
units depend on each other:

- pairs: all pairs of a subject are swapped, or none. A drift that is the subject's own makes all
  of them right or wrong together, so that they are one piece of evidence. With a single subject
  its pairs take that place, as in ``statistics``.
- events: whole runs exchange their sequences of classes, in order of the events. Neighbouring
  events share volumes and drift, which a sequence keeps. Only runs of one subject and task, with
  as many events of the same set of classes, can exchange them; and the order of classes must have
  been drawn anew for each run.
- other runs: classes are exchanged among the runs of a subject, within a task where they differ
  within one, and then alike in all its tasks of the same classes, for the reason that pairs are
  swapped together. The runs of a task are taken as exchangeable.
- subjects of one class each: where no subject has units of two classes, as with patients and
  controls, whole subjects of a data set that have the same runs exchange their classes. Never
  across data sets, so that the name of the data set is no evidence. Where some subjects have two
  classes, classes move within those alone: what tells the others apart may be who they are.

Not here: what is scored with the classes that moved (``permutation``).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable
from spectrum.errors import DataError
from spectrum.records import Prediction

__all__ = ["Exchange", "exchange_of_predictions", "exchange_of_table"]

Ints = NDArray[np.int64]

MAX_CLASSES: Final = 6
"""Classes up to which their renamings are counted, 720 of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the class of one unit stands; ``fold`` is "" where the fit is repeated."""

    group: str
    dataset: str
    session: str
    pair: str
    task: str
    run: str
    event_index: int | None
    class_index: int
    fold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stratum:
    """Rows (B, R) of B blocks of equal length, that exchange what is written in them."""

    rows_BR: Ints
    classes_BR: Ints

    def counts(self) -> Counter[tuple[int, ...]]:
        """Return how often each content stands in a block."""
        return Counter(tuple(row) for row in self.classes_BR.tolist())

    @property
    def num_arrangements(self) -> int:
        """B! over the factorials of equal contents."""
        equal = math.prod(math.factorial(count) for count in self.counts().values())
        return math.factorial(len(self.rows_BR)) // equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """All arrangements of the classes that are as likely as the observed one under the null.

    ``observed`` holds the classes as they are, (N,); ``about`` says in words what moves.
    ``moves_subjects`` says that whole subjects exchange their classes: folds, whose classes are
    those that both sides have, are then part of what is repeated.
    """

    observed: Ints
    strata: tuple[_Stratum, ...]
    about: str
    moves_subjects: bool = False

    @property
    def num_arrangements(self) -> int:
        """Number of distinct arrangements, the observed one among them."""
        return math.prod(stratum.num_arrangements for stratum in self.strata)

    @property
    def num_renamings(self) -> int:
        """Arrangements, at least 1, that do no more than give the classes other names.

        A fit that is repeated finds the same in each of them: of 2^S swaps of whole subjects, none
        and all are one, and p is at least 2 / 2^S.
        """
        classes = np.unique(self.observed).tolist()
        if len(classes) > MAX_CLASSES:
            return 1
        renamings = (dict(zip(classes, names, strict=True)) for names in permutations(classes))
        return sum(self._has_renaming(names) for names in renamings)

    def _has_renaming(self, names: dict[int, int]) -> bool:
        renamed = np.array([names[index] for index in self.observed.tolist()], dtype=np.int64)
        moved = renamed != self.observed
        for stratum in self.strata:
            moved[stratum.rows_BR.ravel()] = False
            contents = Counter(tuple(row) for row in renamed[stratum.rows_BR].tolist())
            if contents != stratum.counts():
                return False
        return not moved.any()

    def draw(self, rng: np.random.Generator) -> Ints:
        """Return the classes in an arrangement drawn evenly from all, (N,)."""
        classes = self.observed.copy()
        for stratum in self.strata:
            classes[stratum.rows_BR] = rng.permutation(stratum.classes_BR, axis=0)
        return classes

    def iter_others(self) -> Iterator[Ints]:
        """Yield every arrangement once but for the observed one, (N,) each."""
        for classes in self._iter_from(0, self.observed.copy()):
            if not np.array_equal(classes, self.observed):
                yield classes

    def _iter_from(self, first: int, classes: Ints) -> Iterator[Ints]:
        if first == len(self.strata):
            yield classes.copy()
            return
        stratum = self.strata[first]
        for order in _orders(stratum.counts(), len(stratum.rows_BR)):
            classes[stratum.rows_BR] = np.array(order, dtype=np.int64)
            yield from self._iter_from(first + 1, classes)


def _orders(left: Counter[tuple[int, ...]], length: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield the distinct orders of contents of which some are equal."""
    if length == 0:
        yield ()
        return
    for content in sorted(left):
        if left[content]:
            left[content] -= 1
            for rest in _orders(left, length - 1):
                yield (content, *rest)
            left[content] += 1


def exchange_of_table(table: SequenceTable) -> Exchange:
    """Return what may change places before a whole refit.

    Raises
    ------
    DataError
        ``no-permutation`` where no class can move.
    """
    units = table.units
    places = [
        _Place(
            group=unit.group,
            dataset=unit.key.dataset,
            session=unit.key.session,
            pair=unit.pair,
            task=unit.key.task,
            run=str(unit.key),
            event_index=unit.event_index,
            class_index=unit.class_index,
            fold="",
        )
        for unit in units
    ]
    return _exchange(places, paired=any(unit.pair for unit in units))


def exchange_of_predictions(
    predictions: Sequence[Prediction], *, classes: tuple[str, ...], paired: bool
) -> Exchange:
    """Return what may change places when a fixed model is scored: within folds alone.

    Raises
    ------
    DataError
        ``no-permutation`` where no class can move.
    """
    places = []
    for found in predictions:
        run, _, event = found.unit.partition("#")
        places.append(
            _Place(
                group=found.group,
                dataset=found.dataset,
                session=found.session,
                pair=found.pair,
                task=found.task,
                run=run,
                event_index=int(event) if event else None,
                class_index=classes.index(found.true_class),
                fold=found.fold,
            )
        )
    return _exchange(places, paired=paired)


def _exchange(places: Sequence[_Place], *, paired: bool) -> Exchange:
    moves_subjects = _have_one_class_each(places)
    if paired:
        strata, about = _swaps(places)
    elif moves_subjects:
        strata, about = _whole_subjects(places)
    elif any(place.event_index is not None for place in places):
        strata, about = _run_blocks(places)
    else:
        strata, about = _single_runs(places)
    movable = tuple(stratum for stratum in strata if stratum.num_arrangements > 1)
    if not movable:
        num_subjects = len({place.group for place in places})
        raise DataError(
            f"No class can move in a permutation test: {about}, and none of {num_subjects} "
            f"subject(s) has anything to exchange. Expected {_expected(places)}.",
            code="no-permutation",
        )
    observed = np.array([place.class_index for place in places], dtype=np.int64)
    return Exchange(observed=observed, strata=movable, about=about, moves_subjects=moves_subjects)


def _expected(places: Sequence[_Place]) -> str:
    where = " in one fold" if any(place.fold for place in places) else ""
    if _have_one_class_each(places):
        refit = "; the whole fit repeated may exchange subjects of all folds" if where else ""
        return f"subjects of two classes in one data set{where}, with the same runs{refit}"
    if any(place.event_index is not None for place in places):
        return (
            f"a subject with several runs of a task{where}, with as many events and different "
            "orders of classes; the p of the score itself needs no permutation"
        )
    return f"a subject with units of two classes{where}"


def _swaps(places: Sequence[_Place]) -> tuple[list[_Stratum], str]:
    members: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for row, place in enumerate(places):
        members[place.pair or f"#{row}"][place.class_index] = row
    pairs = [(rows[0], rows[1]) for rows in members.values() if set(rows) == {0, 1}]
    subjects = {places[later].group for _, later in pairs}
    rows_of: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for earlier, later in pairs:
        one = places[later]
        rows_of[one.group if len(subjects) > 1 else one.pair].append((earlier, later))
    strata = [_stratum(np.array(rows).T, places) for _, rows in sorted(rows_of.items())]
    if len(subjects) > 1:
        return strata, f"all pairs of a subject are swapped or none, {len(strata)} subjects"
    return strata, f"pairs of one subject are swapped, {len(strata)} taken as independent"


def _run_blocks(places: Sequence[_Place]) -> tuple[list[_Stratum], str]:
    rows_of_run: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        rows_of_run[place.run, place.fold].append(row)
    alike: defaultdict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    for _, rows in sorted(rows_of_run.items()):
        rows.sort(key=lambda row: places[row].event_index or 0)
        classes = tuple(sorted({places[row].class_index for row in rows}))
        one = places[rows[0]]
        alike[one.group, one.task, one.fold, len(rows), classes].append(rows)
    strata = [_stratum(np.array(blocks), places) for blocks in alike.values()]
    return strata, (
        "whole runs of a subject and task exchange their sequences of classes, each taken as "
        "drawn anew"
    )


def _have_one_class_each(places: Sequence[_Place]) -> bool:
    """Tell whether the class is one of subjects: several of them, each with one class alone."""
    of_group: defaultdict[str, set[int]] = defaultdict(set)
    for place in places:
        of_group[place.group].add(place.class_index)
    return len(of_group) > 1 and all(len(classes) == 1 for classes in of_group.values())


def _whole_subjects(places: Sequence[_Place]) -> tuple[list[_Stratum], str]:
    """Return one stratum for the subjects of a fold with the same runs of the same data sets."""
    rows_of: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        rows_of[place.group, place.fold].append(row)
    alike: defaultdict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    for (_, fold), rows in sorted(rows_of.items()):
        kinds = Counter(
            (places[row].dataset, places[row].session, places[row].task) for row in rows
        )
        alike[fold, tuple(sorted(kinds.items()))].append(rows)
    return [_stratum(np.array(subjects), places) for subjects in alike.values()], (
        "whole subjects of a data set with the same runs exchange their classes, as each has one"
    )


def _single_runs(places: Sequence[_Place]) -> tuple[list[_Stratum], str]:
    within_task = _alike_runs(places, lambda place: place.task)
    if any(stratum.num_arrangements > 1 for stratum in within_task):
        return within_task, (
            "classes are exchanged among the runs of a subject and task, alike in all its tasks "
            "of the same classes; runs of a task taken as exchangeable"
        )
    return _alike_runs(places, lambda _: ""), (
        "classes are exchanged among the runs of a subject, taken as exchangeable"
    )


def _alike_runs(places: Sequence[_Place], task_of: Callable[[_Place], str]) -> list[_Stratum]:
    """Return one stratum for all tasks of a subject that have as many runs of the same classes."""
    rows_of: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row, place in enumerate(places):
        rows_of[place.group, place.fold, task_of(place)].append(row)
    alike: defaultdict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    for (group, fold, _), rows in sorted(rows_of.items()):
        rows.sort(key=lambda row: (places[row].class_index, places[row].run))
        alike[group, fold, tuple(places[row].class_index for row in rows)].append(rows)
    return [_stratum(np.array(tasks).T, places) for tasks in alike.values()]


def _stratum(rows_BR: Ints, places: Sequence[_Place]) -> _Stratum:
    classes = np.array([place.class_index for place in places], dtype=np.int64)
    return _Stratum(rows_BR=rows_BR, classes_BR=classes[rows_BR])
