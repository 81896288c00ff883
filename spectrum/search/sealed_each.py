"""One search for each held-out data set over shared shards, and one score pooled over all people.

Each data set is sealed in a study of its own, ``NAME-DATASET``; ``NAME.each.json`` beside them
names them, ``NAME.each.unsealed.jsonl`` holds what the pooled openings found. A data set alone has
few people, and a test over all of them more power. Not here: one study and its opening
(``unsealing``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spectrum.errors import ConfigError, SearchError
from spectrum.evaluation.sealed_score import SealedScore, power_of_predictions, score_sealed
from spectrum.records import Prediction
from spectrum.search.json_lines import (
    append_line,
    cut_torn_tail,
    read_json,
    read_lines,
    write_json,
)
from spectrum.search.locks import lock_held
from spectrum.search.openings import Openings
from spectrum.search.preparation import OnStep, tell_no_step
from spectrum.search.sealing import sealable_datasets
from spectrum.search.space import SearchSpace
from spectrum.search.unsealing import check_is_over, unseal_study
from spectrum.targets import read_target

__all__ = ["EACH", "SealedEach", "plan_each", "read_each", "unseal_each", "write_each"]

EACH: Final = ("each",)
"""``study.sealed`` that asks for one search a data set."""

MIN_DATASETS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEach:
    """Studies of one folder, by the data set that each of them seals."""

    path: Path
    study_of: Mapping[str, str]

    @property
    def found(self) -> Path:
        """File of what pooled openings found, one a line."""
        return self.path.with_name(f"{self.path.name}.each.unsealed.jsonl")

    def study(self, dataset: str) -> Path:
        """Return the folder of the study that seals a data set."""
        return self.path.with_name(self.study_of[dataset])

    def space_of(self, dataset: str, space: SearchSpace) -> SearchSpace:
        """Return the space with one data set sealed."""
        study = space.study.model_copy(update={"sealed": (dataset,)})
        return space.model_copy(update={"study": study})


def plan_each(folder: Path, space: SearchSpace, roots: Sequence[Path]) -> SealedEach:
    """Return the studies of a search that seals each data set in turn.

    Parameters
    ----------
    folder : ``STUDIES/NAME``; no study itself
    space : what is searched
    roots : BIDS trees

    Raises
    ------
    ConfigError
        Where fewer than two data sets have subjects that can be scored.
    SearchError
        Where the studies were begun over other data sets.
    """
    datasets = sealable_datasets(space, roots)
    if len(datasets) < MIN_DATASETS:
        raise ConfigError(
            f"--sealed each seals one data set after the other, and {len(datasets)} has subjects "
            "to score. Give several, or seal a fraction of the subjects."
        )
    group = SealedEach(
        path=folder, study_of={dataset: f"{folder.name}-{dataset}" for dataset in datasets}
    )
    before = read_each(folder)
    if before is not None and before != group:
        raise SearchError(
            f"{_file(folder)} was begun over {', '.join(before.study_of)}, and now there are "
            f"{', '.join(datasets)}. Give the same data sets, or another --name."
        )
    return group


def write_each(group: SealedEach) -> None:
    """Write down which studies belong together, before the first of them begins."""
    write_json(_file(group.path), {"studies": dict(group.study_of)})


def read_each(folder: Path) -> SealedEach | None:
    """Return the studies that ``write_each`` wrote down; None where there are none."""
    if not _file(folder).is_file():
        return None
    return SealedEach(path=folder, study_of=dict(read_json(_file(folder))["studies"]))


def unseal_each(
    group: SealedEach,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    again: bool = False,
    on_step: OnStep = tell_no_step,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """Open the seal of every study, and score all sealed people together.

    None is opened before all are over. A study that was opened as often as this asks for is not
    opened again, so that what is cut short goes on.

    Parameters
    ----------
    group : of ``read_each``
    roots, shards_root, again, on_step, clock : as for ``unseal_study``

    Returns
    -------
    line : as written; ``studies`` holds each data set's own score

    Raises
    ------
    SearchError
        Where all were opened before, a study is not over, or there is none; or where another
        process opens them now.
    """
    with lock_held(
        group.path.with_name(f".{group.path.name}.each.lock"),
        taken=f"Another process opens the seals of {group.path}",
        remedy="Wait for it; what it finds counts for both.",
    ):
        return _unseal_each(group, roots, shards_root, again=again, on_step=on_step, clock=clock)


def _unseal_each(
    group: SealedEach,
    roots: Sequence[Path],
    shards_root: Path,
    *,
    again: bool,
    on_step: OnStep,
    clock: Callable[[], datetime],
) -> dict[str, Any]:
    """Open the seals and score everyone; the group is locked."""
    cut_torn_tail(group.found)
    earlier = read_lines(group.found, signed=True)
    if earlier and not again:
        last = earlier[-1]
        raise SearchError(
            f"The seals were opened on {last['opened']}: {last['score']['value']:.3f} over "
            f"{last['num_subjects']} subjects, p = {last['p_corrected']:.4f}. A further "
            "look weighs less: give --again to take it, which is noted and corrects p."
        )
    opened = {dataset: _opened(group.study(dataset)) for dataset in group.study_of}
    for dataset, found in opened.items():
        if len(found) <= len(earlier):
            check_is_over(group.study(dataset))
    lines: dict[str, Mapping[str, Any]] = {}
    for dataset, found in opened.items():
        if len(found) > len(earlier):
            lines[dataset] = found[-1]
            continue
        lines[dataset] = unseal_study(
            group.study(dataset),
            roots,
            shards_root=shards_root,
            again=again or bool(found),
            on_step=on_step,
            clock=clock,
        ).line
    line = {
        "look": len(earlier) + 1,
        "again": bool(earlier),
        "opened": clock().isoformat(timespec="seconds"),
        "num_trials": sum(told["num_trials"] for told in lines.values()),
        "num_reruns": sum(told["num_reruns"] for told in lines.values()),
        "sealed": sorted(person for told in lines.values() for person in told["sealed"]),
        "studies": {dataset: _short(told) for dataset, told in lines.items()},
        **_pooled(group, lines).to_json(),
    }
    append_line(group.found, line)
    return line


def _opened(study: Path) -> list[dict[str, Any]]:
    return Openings(study).lines if study.is_dir() else []


def _pooled(group: SealedEach, lines: Mapping[str, Mapping[str, Any]]) -> SealedScore:
    """Score the people of all studies together; each study's model is a fold of its own."""
    first = next(iter(lines.values()))
    paired = read_target(first["config"]["target"]).paired
    ours = [p for name, line in lines.items() for p in _read(group, name, line["predictions"])]
    floor = [
        p for name, line in lines.items() for p in _read(group, name, line["floor_predictions"])
    ]
    classes = tuple(first["classes"])
    return score_sealed(
        ours,
        floor,
        classes=classes,
        paired=paired,
        power=power_of_predictions(ours, classes=classes, paired=paired),
        num_looks=max(line["look"] for line in lines.values()),
    )


def _read(group: SealedEach, dataset: str, name: str) -> list[Prediction]:
    told = read_json(group.study(dataset) / name)
    found = [Prediction.from_json(value) for value in told]
    return [replace(p, fold=f"sealed {dataset}") for p in found]


def _short(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trial": line["trial"],
        "look": line["look"],
        "num_subjects": line["num_subjects"],
        "score": line["score"]["value"],
        "ci95": list(line["score"]["ci95"]),
        "floor": line["floor"]["value"],
        "p": line["p"],
        "power": line["power"]["told"],
    }


def _file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.each.json")
