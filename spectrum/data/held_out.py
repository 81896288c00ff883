"""Which units stand together: people, acquisitions, pairs, and what each scheme holds out.

Not here: what is then left to train on, and whether a fold can be scored (``folds``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from spectrum.config import FoldsConfig
from spectrum.data.units import Unit
from spectrum.errors import ConfigError

__all__ = ["HeldOut", "complete_pairs", "group_of", "held_out_sets", "run_of"]

Units = tuple[Unit, ...]

HeldOut = tuple[str, str, tuple[int, ...]]
"""Name of a fold, what it holds out, and the units it holds out."""


def group_of(unit: Unit) -> str:
    """Return the person: data set and subject, the first where it has several names."""
    return unit.group


def run_of(unit: Unit) -> str:
    """Return the acquisition; echoes and spaces of one run are the same one."""
    return str(replace(unit.key, acquisition=""))


def complete_pairs(units: Units) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the units of pairs with one unit of each class, and a sentence for other pairs."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        members[unit.pair or unit.name].append(index)
    complete = {
        pair
        for pair, indices in members.items()
        if sorted(units[i].class_index for i in indices) == [0, 1]
    }
    kept = [i for pair, indices in members.items() if pair in complete for i in indices]
    notes = tuple(
        f"Pair {pair} is left out: it has {len(indices)} unit(s) "
        f"({', '.join(units[i].name for i in indices)}) and not one of each class."
        for pair, indices in members.items()
        if pair not in complete
    )
    return tuple(sorted(kept)), notes


def held_out_sets(units: Units, usable: tuple[int, ...], config: FoldsConfig) -> list[HeldOut]:
    """Return what each fold of a scheme holds out of the usable units.

    Parameters
    ----------
    units : all units of the table
    usable : indices of those that may stand in a fold
    config : scheme, number of folds, seed

    Returns
    -------
    held_out : in the order of names, numbers or hands
        Disjoint, and together all usable units.

    Raises
    ------
    ConfigError
        Where ``grouped-k-fold`` has more folds than there are subjects.
    """
    if config.scheme == "leave-one-dataset-out":
        return _by(lambda unit: unit.key.dataset, units, usable)
    if config.scheme == "leave-one-subject-out":
        return _by(group_of, units, usable)
    if config.scheme == "leave-one-run-out":
        return _by_run_number(units, usable)
    return _k_fold(units, usable, config)


def _by(key: Callable[[Unit], str], units: Units, usable: tuple[int, ...]) -> list[HeldOut]:
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index in usable:
        members[key(units[index])].append(index)
    return [
        (value.replace("/", "_"), value, tuple(indices))
        for value, indices in sorted(members.items())
    ]


def _by_run_number(units: Units, usable: tuple[int, ...]) -> list[HeldOut]:
    number_of = _run_numbers(units)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index in usable:
        members[number_of[run_of(units[index])]].append(index)
    return [
        (f"run-{number}", f"run {number} of each subject", tuple(indices))
        for number, indices in sorted(members.items())
    ]


def _run_numbers(units: Units) -> dict[str, int]:
    """Return the number of each run, or its rank within (subject, session, task) without one."""
    labels: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for unit in units:
        labels[_block_of(unit)].add(unit.key.run)
    ranks = {
        block: {run: i + 1 for i, run in enumerate(sorted(runs))} for block, runs in labels.items()
    }
    return {
        run_of(unit): ranks[_block_of(unit)][unit.key.run]
        if unit.key.run_number is None
        else unit.key.run_number
        for unit in units
    }


def _block_of(unit: Unit) -> tuple[str, ...]:
    return (unit.key.dataset, unit.key.subject, unit.key.session, unit.key.task)


def _k_fold(units: Units, usable: tuple[int, ...], config: FoldsConfig) -> list[HeldOut]:
    members = {group: indices for _, group, indices in _by(group_of, units, usable)}
    if len(members) < config.num_folds:
        raise ConfigError(
            f"folds.num_folds is {config.num_folds} and there are {len(members)} subjects. "
            "Lower folds.num_folds, or choose folds.scheme: leave-one-subject-out."
        )
    dealt = _deal_order(members, units, config.seed)
    hands = [sorted(dealt[fold :: config.num_folds]) for fold in range(config.num_folds)]
    return [
        (
            f"fold-{number}",
            ", ".join(hand),
            tuple(sorted(index for group in hand for index in members[group])),
        )
        for number, hand in enumerate(hands, start=1)
    ]


def _deal_order(members: Mapping[str, tuple[int, ...]], units: Units, seed: int) -> list[str]:
    """Shuffle groups within their data set; dealing them in turn balances number and data sets."""
    rng = np.random.default_rng(seed)
    groups_of: defaultdict[str, list[str]] = defaultdict(list)
    for group, indices in members.items():
        groups_of[units[indices[0]].key.dataset].append(group)
    return [
        groups[i] for _, groups in sorted(groups_of.items()) for i in rng.permutation(len(groups))
    ]
