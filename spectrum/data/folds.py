"""Draw folds over groups, refuse leakage, and write down what was drawn.

A group is a person: (data set, subject). ``leave-one-run-out`` alone parts a subject, by run; two
images of one acquisition (echoes, spaces) are one run. Not here: how units are cut (``sequences``)
and how their predictions are scored (``spectrum.scores``).
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from spectrum.config import FoldsConfig, fingerprint
from spectrum.config.files import parse_json
from spectrum.data.duplicates import people_notes
from spectrum.data.held_out import complete_pairs, group_of, held_out_sets, run_of
from spectrum.data.units import Fold, SequenceTable, Unit
from spectrum.errors import ConfigError, DataError, LeakageError, TargetError

__all__ = [
    "BY_SUBJECT",
    "FoldPlan",
    "check_folds",
    "draw_folds",
    "fold_manifest",
    "hold_out",
    "leakage_key",
    "plan_folds",
    "read_folds",
    "write_folds",
]

Units = tuple[Unit, ...]

NAMED_UNITS: Final = 5
"""Units that a note names; the fold manifest names all."""

BY_SUBJECT: Final = FoldsConfig(scheme="leave-one-subject-out")
"""Keeps subjects whole, whatever else the two sides share."""

MANIFEST_VERSION: Final = 1
"""Version of the fold manifest's layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """The folds of a scheme, and a sentence for everything that was left out of them."""

    folds: tuple[Fold, ...]
    notes: tuple[str, ...]


def draw_folds(
    table: SequenceTable,
    config: FoldsConfig,
    *,
    paired: bool,
    monitor_fraction: float | None = None,
) -> tuple[Fold, ...]:
    """Return the folds of ``plan_folds`` without its notes."""
    plan = plan_folds(table, config, paired=paired, monitor_fraction=monitor_fraction)
    return plan.folds


def plan_folds(
    table: SequenceTable,
    config: FoldsConfig,
    *,
    paired: bool,
    monitor_fraction: float | None = None,
) -> FoldPlan:
    """Draw the folds of a scheme that can be scored.

    Parameters
    ----------
    table : units with their classes and, for a paired target, their pairs
    config : scheme, number of folds, seed
    paired : whether the score compares the two units of a pair
        Units whose pair is not one unit of each class are then left out of both sides.
    monitor_fraction : share of the training groups that only watch, or None for none
        Groups are runs under ``leave-one-run-out``. At least one; training keeps every class.

    Returns
    -------
    plan : folds in the order of what they hold out
        The classes of a fold are those that both its sides have; units of other classes stand on
        neither side. A fold with fewer than two such classes is dropped with a note.

    Raises
    ------
    TargetError
        Where the scheme has no scorable fold for this target.
    ConfigError
        Where there are fewer groups than folds, or too few to cut a monitor.
    """
    if paired and config.scheme == "leave-one-run-out":
        raise TargetError(
            f"The target {table.target} is paired and the scheme is leave-one-run-out: the run "
            "number is the class, so each fold would hold out one class. "
            "Choose a scheme that keeps subjects whole.",
            code="no-fold",
        )
    usable, notes = complete_pairs(table.units) if paired else (range(len(table.units)), ())
    folds, unscorable = [], []
    for name, held_out, validation in held_out_sets(table.units, tuple(usable), config):
        fold = _close_fold(
            table,
            tuple(usable),
            Fold(name=name, held_out=held_out, training=(), validation=validation, classes=()),
            leakage_key(config),
        )
        folds += [fold] if len(fold.classes) > 1 else []
        unscorable += [] if len(fold.classes) > 1 else [_unscorable(fold, table)]
    if not folds:
        raise TargetError(_no_fold(table, config, unscorable), code="no-fold")
    if monitor_fraction is not None:
        folds = [_cut_monitor(fold, table, config, monitor_fraction) for fold in folds]
    people = people_notes((unit.person, unit.key.group) for unit in table.units)
    notes = (*people, *notes, *unscorable, *_never_used(table.units, folds, tuple(usable)))
    return FoldPlan(folds=tuple(folds), notes=notes)


def hold_out(
    table: SequenceTable, is_held_out: Callable[[Unit], bool], *, name: str, paired: bool
) -> Fold:
    """Return the one fold that holds out some units and trains on all others.

    Parameters
    ----------
    table : all units
    is_held_out : tells the units that are held out
    name : of the fold, and of what it holds out
    paired : whether the score compares the two units of a pair

    Raises
    ------
    LeakageError
        A person or an image stands on both sides.
    TargetError
        The two sides have fewer than two classes in common.
    """
    usable = complete_pairs(table.units)[0] if paired else tuple(range(len(table.units)))
    held_out = tuple(i for i in usable if is_held_out(table.units[i]))
    training = tuple(i for i in usable if not is_held_out(table.units[i]))
    fold = Fold(name=name, held_out=name, training=training, validation=held_out, classes=())
    check_folds([fold], table, BY_SUBJECT)
    classes = _classes_in(table.units, training) & _classes_in(table.units, held_out)
    fold = _within(fold, table, classes)
    if len(classes) < 2:
        raise TargetError(f"{_unscorable(fold, table)} Hold out others.", code="no-fold")
    return fold


def _within(fold: Fold, table: SequenceTable, classes: set[int]) -> Fold:
    """Return a fold with its units of some classes alone."""
    return replace(
        fold,
        training=tuple(i for i in fold.training if table.units[i].class_index in classes),
        validation=tuple(i for i in fold.validation if table.units[i].class_index in classes),
        classes=tuple(sorted(classes)),
    )


def leakage_key(config: FoldsConfig) -> Callable[[Unit], str]:
    """Return what may never stand on two sides of a fold: the subject, or the run within it."""
    return run_of if config.scheme == "leave-one-run-out" else group_of


def check_folds(folds: Sequence[Fold], table: SequenceTable, config: FoldsConfig) -> None:
    """Raise LeakageError where a group, a run or an image stands on two sides of a fold.

    Parameters
    ----------
    folds : as drawn, or as read from a file
    table : the units that the folds point to
    config : its scheme decides whether subjects or runs must stay whole
    """
    keys: dict[str, Callable[[Unit], str]] = {"run": run_of}
    if config.scheme != "leave-one-run-out":
        keys["subject"] = group_of
    if table.image_of_run:
        keys["image"] = lambda unit: table.image_of_run[unit.run_index] or unit.name
    for fold in folds:
        for kind, key in keys.items():
            _check_fold(fold, table.units, kind, key)
        if config.scheme == "leave-one-dataset-out":
            _check_datasets(fold, table.units)


def fold_manifest(
    folds: Sequence[Fold], table: SequenceTable, config: FoldsConfig
) -> dict[str, Any]:
    """Write folds by the names of their units, with a content hash.

    Parameters
    ----------
    folds : as drawn
    table : the units that the folds point to
    config : scheme, number of folds, seed

    Returns
    -------
    manifest : plain JSON
        ``left_out`` names the units that stand in no fold, and ``notes`` says why.
        ``content_hash`` is the SHA-256 of the canonical JSON of everything else; equal folds have
        equal hashes, whatever the order of runs.
    """
    used = {index for fold in folds for role in _roles(fold).values() for index in role}
    manifest: dict[str, Any] = {
        "schema_version": MANIFEST_VERSION,
        "target": table.target,
        "classes": list(table.classes),
        "config": config.model_dump(mode="json"),
        "folds": [_fold_mapping(fold, table) for fold in folds],
        "notes": list(_notes_of(table, config)),
        "left_out": sorted(u.name for i, u in enumerate(table.units) if i not in used),
    }
    return {**manifest, "content_hash": fingerprint(manifest)}


def write_folds(manifest: Mapping[str, Any], path: Path) -> None:
    """Write a fold manifest, aside first and then renamed, so that no half file is ever seen."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(path)


def read_folds(path: Path, table: SequenceTable) -> tuple[Fold, ...]:
    """Read a fold manifest back as folds over the units of a table.

    Raises
    ------
    DataError
        Where the file is damaged, or names a unit that the table does not have.
    """
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        content_hash = manifest.pop("content_hash")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as err:
        raise _damaged(path, "is not readable as a fold manifest") from err
    if content_hash != fingerprint(manifest):
        raise _damaged(path, "does not match its content hash")
    index_of = {unit.name: index for index, unit in enumerate(table.units)}
    try:
        return tuple(_fold_from(mapping, index_of, table) for mapping in manifest["folds"])
    except (KeyError, ValueError) as err:
        raise _damaged(path, f"names {err} that this data does not have") from err


def _notes_of(table: SequenceTable, config: FoldsConfig) -> tuple[str, ...]:
    paired = any(unit.pair for unit in table.units)
    try:
        return plan_folds(table, config, paired=paired).notes
    except (TargetError, ConfigError) as err:
        return (str(err),)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} {what}. Expected folds drawn from the same runs; draw them again.",
        code="bad-folds",
        path=str(path),
    )


def _fold_mapping(fold: Fold, table: SequenceTable) -> dict[str, Any]:
    return {
        "name": fold.name,
        "held_out": fold.held_out,
        "classes": [table.classes[index] for index in fold.classes],
        **{
            role: sorted(table.units[index].name for index in indices)
            for role, indices in _roles(fold).items()
        },
    }


def _fold_from(
    mapping: Mapping[str, Any], index_of: Mapping[str, int], table: SequenceTable
) -> Fold:
    units = {
        role: tuple(sorted(index_of[name] for name in mapping[role]))
        for role in ("training", "validation", "monitor")
    }
    return Fold(
        name=mapping["name"],
        held_out=mapping["held_out"],
        classes=tuple(table.classes.index(name) for name in mapping["classes"]),
        **units,
    )


def _roles(fold: Fold) -> dict[str, tuple[int, ...]]:
    return {"validation": fold.validation, "training": fold.training, "monitor": fold.monitor}


def _check_fold(fold: Fold, units: Units, kind: str, key: Callable[[Unit], str]) -> None:
    role_of: dict[str, tuple[str, str]] = {}
    for role, indices in _roles(fold).items():
        for index in indices:
            unit = units[index]
            other_role, other = role_of.setdefault(key(unit), (role, unit.name))
            if other_role != role:
                raise LeakageError(
                    f"Fold {fold.name}: the {kind} {key(unit)} stands on two sides, {other} in "
                    f"{other_role} and {unit.name} in {role}. A {kind} must stay on one side; "
                    "draw the folds again, or remove the doubled data."
                )


def _check_datasets(fold: Fold, units: Units) -> None:
    seen = {units[index].key.dataset for index in (*fold.training, *fold.monitor)}
    both = sorted(seen & {units[index].key.dataset for index in fold.validation})
    if both:
        raise LeakageError(
            f"Fold {fold.name}: the data set {both[0]} stands on two sides. "
            "leave-one-dataset-out holds out whole data sets; draw the folds again."
        )


def _close_fold(
    table: SequenceTable, usable: tuple[int, ...], fold: Fold, key: Callable[[Unit], str]
) -> Fold:
    """Train on all that is not held out, nor of a person or run that is, under another name."""
    held_out = {key(table.units[index]) for index in fold.validation} if fold.validation else set()
    training = tuple(index for index in usable if key(table.units[index]) not in held_out)
    classes = _classes_in(table.units, training) & _classes_in(table.units, fold.validation)
    return _within(replace(fold, training=training), table, classes)


def _classes_in(units: Units, indices: Iterable[int]) -> set[int]:
    return {units[index].class_index for index in indices}


def _cut_monitor(
    fold: Fold, table: SequenceTable, config: FoldsConfig, monitor_fraction: float
) -> Fold:
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index in fold.training:
        members[leakage_key(config)(table.units[index])].append(index)
    rng = np.random.default_rng([config.seed, zlib.crc32(fold.name.encode())])
    groups = sorted(members)
    wanted = max(1, round(monitor_fraction * len(groups)))
    left = Counter(table.units[index].class_index for index in fold.training)
    monitor: list[int] = []
    for position in rng.permutation(len(groups)):
        group = members[groups[position]]
        taken = Counter(table.units[index].class_index for index in group)
        if wanted and all(left[index] > count for index, count in taken.items()):
            left -= taken
            monitor += group
            wanted -= 1
    if not monitor:
        raise ConfigError(
            f"Fold {fold.name} has {len(groups)} training group(s), too few to set one aside as a "
            "monitor and keep every class. Set training.patience_epochs to null, or add subjects."
        )
    training = tuple(index for index in fold.training if index not in set(monitor))
    return replace(fold, training=training, monitor=tuple(sorted(monitor)))


def _unscorable(fold: Fold, table: SequenceTable) -> str:
    common = [table.classes[index] for index in fold.classes]
    return (
        f"Fold {fold.name} is dropped: its two sides have {', '.join(common) or 'no class'} in "
        "common, and a score needs two classes."
    )


def _no_fold(table: SequenceTable, config: FoldsConfig, unscorable: Sequence[str]) -> str:
    why = unscorable[0] if unscorable else "No unit is left to hold out."
    return (
        f"The target {table.target} ({', '.join(table.classes)}) has no scorable fold under "
        f"{config.scheme}. {why} Choose another folds.scheme, such as leave-one-subject-out, or "
        "another target."
    )


def _never_used(units: Units, folds: Sequence[Fold], usable: tuple[int, ...]) -> tuple[str, ...]:
    scored = {index for fold in folds for index in fold.validation}
    left_out = [units[index].name for index in usable if index not in scored]
    if not left_out:
        return ()
    named = ", ".join(left_out[:NAMED_UNITS])
    others = f" and {len(left_out) - NAMED_UNITS} others" if len(left_out) > NAMED_UNITS else ""
    return (
        f"{len(left_out)} unit(s) are scored in no fold, as the other side lacks their class: "
        f"{named}{others}.",
    )
