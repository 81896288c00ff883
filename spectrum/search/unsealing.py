"""The opening of a study's seal: one refit of what it selected, scored once on sealed people.

The model trains on everyone who is not sealed, for the median of the epochs that the inner folds
kept; the sealed side decides nothing. The floor is fitted on the same two sides. Not here: when an
opening counts (``openings``), and what the numbers say (``spectrum.evaluation.sealed_score``).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from spectrum.config import TrialConfig, config_from_mapping, fingerprint
from spectrum.data.bids import find_run_images, index_bids
from spectrum.data.folds import hold_out
from spectrum.data.pipeline import PrepareResult
from spectrum.data.seals import Seal
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold
from spectrum.data.voxel_digests import measure_voxels
from spectrum.errors import SearchError
from spectrum.evaluation.power import measure_power
from spectrum.evaluation.sealed_score import SealedScore, predict_sealed_floor, score_sealed
from spectrum.records import Prediction, TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.json_lines import write_json
from spectrum.search.ladders import read_ladder, told_rungs
from spectrum.search.manifest import differences, listed_changes
from spectrum.search.openings import Opening, Openings, Wanted, opening_json
from spectrum.search.preparation import OnStep, left_out_notes, make_set, tell_no_step
from spectrum.search.sealing import read_seal
from spectrum.search.selection import planned_reruns
from spectrum.search.settings import RerunConfig
from spectrum.search.single import drop_states, fit_folds, open_data
from spectrum.search.view import StudyView, view_study
from spectrum.storage import told_place
from spectrum.targets import Target, read_target
from spectrum.training.feeds import Sequences

__all__ = ["Unsealed", "check_is_over", "refit_config", "unseal_study"]

FOLD_NAME: Final = "sealed"
"""Name of the one fold of a refit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsealed:
    """The line of an opening, and what there is to tell."""

    study: Path
    line: Mapping[str, Any]
    notes: tuple[str, ...]
    refused: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``spectrum unseal --json`` prints."""
        return {
            **opening_json(self.line, self.study),
            "ladder": told_rungs(read_ladder(self.study)),
            "refused": [dict(problem) for problem in self.refused],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """The two sides of the seal under one configuration, ready to be trained and scored on."""

    config: TrialConfig
    target: Target
    shards: ShardSet
    data: Sequences
    fold: Fold
    notes: tuple[str, ...]
    refused: tuple[Mapping[str, Any], ...]


def unseal_study(
    folder: Path,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    again: bool = False,
    on_step: OnStep = tell_no_step,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Unsealed:
    """Refit what a study selected, and score it once on the people it never saw.

    Parameters
    ----------
    folder : of the study
    roots : BIDS trees, with those of the sealed people
    shards_root : folder of all shard sets
    again : whether to look once more where that was done
    on_step : told how far each step is; never a score
    clock : the time now, with a zone

    Raises
    ------
    SearchError
        The study seals no one, is not over, was opened before, or its data have changed.
    LeakageError
        A sealed person stands among those trained on.
    """
    study = StudyFolder(folder)
    view = view_study(folder)
    seal = read_seal(study.path)
    if seal is None:
        raise SearchError(
            f"The study {told_place(folder)} seals no one, so there is nothing to open. "
            "Seal data sets or subjects when a search begins: spectrum search ... --sealed NAME."
        )
    with study.locked():
        openings = Openings(study.path)
        cut = openings.cut_short
        if cut is None and not again:
            openings.refuse_another()
        wanted = cut.wanted if cut is not None else _wanted(view)
        sides = _prepare(view, seal, roots, shards_root, wanted, on_step)
        opening = openings.begin(wanted, data=_content(sides), now=clock(), again=again)
        line = _score(study, seal, sides, opening, openings, on_step)
    told = (f"The opening of {cut.opened} was cut short and is finished now.",) if cut else ()
    return Unsealed(study=folder, line=line, notes=(*told, *sides.notes), refused=sides.refused)


def check_is_over(folder: Path) -> None:
    """Raise SearchError where a study has no result yet, or trials that are unfinished."""
    _wanted(view_study(folder))


def _wanted(view: StudyView) -> Wanted:
    """Return what is refitted: the selected trial of a study that is over."""
    line = view.best
    if line is None:
        raise SearchError(f"{view.path} has no complete trial yet. Continue it with --resume.")
    lines = {told["number"]: told for told in view.lines}
    done = {told["number"] for told in view.reruns}
    rerun = RerunConfig.model_validate(view.manifest["space"]["study"]["rerun"])
    num_open = sum(planned.number not in done for planned in planned_reruns(lines, rerun))
    if view.unfinished or num_open:
        raise SearchError(
            f"{view.path} is not over: {len(view.unfinished)} trials and {num_open} re-runs of "
            "the best are unfinished. Finish it with --resume; a seal is opened once."
        )
    return Wanted(
        trial=line["number"],
        config=refit_config(line).model_dump(mode="json"),
        num_trials=len(lines),
        num_reruns=len(done),
    )


def refit_config(line: Mapping[str, Any]) -> TrialConfig:
    """Return the configuration of a trial for a refit without a monitor.

    It trains for the median of the epochs that its folds kept: all epochs, unless they could stop
    early.

    Parameters
    ----------
    line : of the trial
    """
    config = config_from_mapping(TrialConfig, line["config"])
    if config.training.patience_epochs is None:
        return config
    median = statistics.median(fold["epoch"] + 1 for fold in line["folds"])
    training = {"num_epochs": max(1, round(median)), "patience_epochs": None}
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def _prepare(
    view: StudyView,
    seal: Seal,
    roots: Sequence[Path],
    shards_root: Path,
    wanted: Wanted,
    on_step: OnStep,
) -> _Sides:
    """Make both sides' shards, and raise an error where one is not what the study knew."""
    config = config_from_mapping(TrialConfig, wanted.config)
    target = read_target(config.target)
    if fingerprint(target.model_dump(mode="json")) != view.manifest["data"]["target"]:
        raise SearchError(
            f"The target {config.target} was changed since the study began. Restore the file."
        )
    images = find_run_images(roots, config.data)
    seal.check_images(measure_voxels(images, shards_root.absolute()))
    table = index_bids(roots, config.data, on_run_done=partial(on_step, "Reading headers"))
    prepared, shards = make_set(table, config, target, shards_root=shards_root, on_step=on_step)
    _check_same(view, seal, shards)
    data, notes = open_data(shards, target, config)
    fold = hold_out(
        data.table, lambda unit: seal.covers(unit.key), name=FOLD_NAME, paired=target.paired
    )
    left_out = left_out_notes(table, prepared.notes, data.table, {"notes": ()})
    return _Sides(
        config=config,
        target=target,
        shards=shards,
        data=data,
        fold=replace(fold, held_out=seal.told),
        notes=(*left_out, *_absent_note(_absent(seal, data, fold), seal), *notes),
        refused=_refused(table.refused_files, prepared),
    )


def _refused(files: Sequence[Any], prepared: PrepareResult) -> tuple[Mapping[str, Any], ...]:
    return tuple(asdict(problem) for problem in (*files, *prepared.refused))


def _check_same(view: StudyView, seal: Seal, shards: ShardSet) -> None:
    """Raise SearchError where an image that the study read, or sealed, is another one now."""
    runs = shards.manifest.runs
    searched = {str(run.key): run.image_sha256 for run in runs if not seal.covers(run.key)}
    sealed = {str(run.key): run.voxels_sha256 for run in runs if seal.covers(run.key)}
    before = {"searched": view.manifest["data"]["runs"], "sealed": dict(seal.voxels)}
    now = {"searched": searched, "sealed": {**before["sealed"], **_known(sealed, seal)}}
    found = [told for _, told in differences(before, now)]
    if found:
        raise SearchError(
            f"The data are not those of the study {view.manifest['name']}: "
            f"{listed_changes(found)}. Give the same data sets, unchanged; the seal was not "
            "opened."
        )
    if not sealed:
        raise SearchError(
            f"None of the {len(seal.groups)} sealed subjects has a usable run here. Give the data "
            "set that was sealed too; the seal was not opened."
        )


def _known(digests: Mapping[str, str], seal: Seal) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name in seal.voxels}


def _absent(seal: Seal, data: Sequences, fold: Fold) -> list[str]:
    """Return the sealed people of whom nothing can be scored."""
    there = {data.table.units[index].key.group for index in fold.validation}
    return sorted(set(seal.groups) - there)


def _absent_note(absent: Sequence[str], seal: Seal) -> tuple[str, ...]:
    if not absent:
        return ()
    return (
        f"{len(absent)} of {len(seal.groups)} sealed subjects have nothing to score, first "
        f"{absent[0]}.",
    )


def _content(sides: _Sides) -> str:
    return fingerprint({"data": sides.data.content_hash, "fold": asdict(sides.fold)})


def _score(
    study: StudyFolder,
    seal: Seal,
    sides: _Sides,
    opening: Opening,
    openings: Openings,
    on_step: OnStep,
) -> dict[str, Any]:
    """Refit, score, and note what was found."""
    out = study.path / "unsealed" / f"look-{opening.look}"
    predictions = _refit(sides, out, on_step)
    floor = predict_sealed_floor(sides.shards, sides.data.table, sides.fold, target=sides.target)
    paired = sides.target.paired
    found = score_sealed(
        predictions,
        floor,
        classes=sides.data.table.classes,
        paired=paired,
        power=measure_power(sides.data.table, [sides.fold], paired=paired),
        num_looks=opening.look,
    )
    _write(out, predictions, floor, found)
    names = {
        "weights": "checkpoints",
        "predictions": "predictions.json",
        "floor_predictions": "floor_predictions.json",
    }
    return openings.end(
        opening,
        {
            "sealed": list(seal.groups),
            "seal": seal.to_json()["hash"],
            "absent": _absent(seal, sides.data, sides.fold),
            "classes": list(sides.data.table.classes),
            **found.to_json(),
            **{key: str((out / name).relative_to(study.path)) for key, name in names.items()},
        },
    )


def _refit(sides: _Sides, out: Path, on_step: OnStep) -> tuple[Prediction, ...]:
    def tell(record: TrialEpochRecord) -> None:
        on_step("Refitting epochs", record.epoch + 1, sides.config.training.num_epochs)

    _, (record,) = fit_folds(sides.data, sides.shards, (sides.fold,), sides.config, out, tell)
    drop_states(out)
    return record.predictions


def _write(
    out: Path, predictions: Sequence[Prediction], floor: Sequence[Prediction], found: SealedScore
) -> None:
    """Write what the line leaves out: every prediction, and the null of the permutation test."""
    write_json(out / "predictions.json", [asdict(told) for told in predictions])
    write_json(out / "floor_predictions.json", [asdict(told) for told in floor])
    null = list(found.permutation.null) if found.permutation else []
    write_json(out / "permutation.json", {"observed": found.score.value, "null": null})
