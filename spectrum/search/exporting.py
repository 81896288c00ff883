"""The model of a study's selected trial, or of a training, as a folder that can be given away.

Whoever gets it learns from its header how much to believe: score, interval, floor, and whether the
configuration was selected by that score. Not here: the folder's layout (``training.exported``).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.config import fingerprint
from spectrum.errors import SearchError
from spectrum.owners import folder_written_aside
from spectrum.search.images import IMAGES_NAME
from spectrum.search.json_lines import read_json
from spectrum.search.manifest import versions
from spectrum.search.result import StudyResult
from spectrum.search.sealing import opened_lines, told_seal
from spectrum.search.single import BEGUN_NAME, RESULT_NAME
from spectrum.search.view import view_study
from spectrum.storage import told_place
from spectrum.targets import Target, read_target
from spectrum.training.checkpoints import (
    HEADER_NAME,
    WEIGHTS_NAME,
    CheckpointHeader,
    read_checkpoint,
    read_header,
)
from spectrum.training.exported import (
    FOLDS_NAME,
    ExportedFold,
    ExportedModel,
    ModelHeader,
    ModelScore,
    TrainedImage,
    read_model,
    write_header,
)

__all__ = ["export_model"]

CHECKPOINTS_NAME: Final = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What is exported: where its checkpoints lie, and what is known of it.

    ``scores`` are those of the folds, by what they held out; ``target_hash`` is of the target that
    it was trained for; ``images`` are as ``images.json`` has them.
    """

    told: str
    checkpoints: Path
    folds: Mapping[str, Any]
    images: Mapping[str, Mapping[str, Any]]
    score: ModelScore
    scores: Mapping[str, float | None]
    target_hash: str


def export_model(source: Path, out: Path, *, fold: str | None = None) -> ExportedModel:
    """Write the model of a study's selected trial, or of a training, into a new folder.

    Parameters
    ----------
    source : folder of a study, or of a finished ``spectrum train``
    out : folder of the model; must not exist yet
    fold : name of the one fold to export; None exports all

    Raises
    ------
    SearchError
        Where ``out`` exists, or ``source`` has no finished model, no such fold, or its target file
        was changed since.
    CheckpointError
        Where a checkpoint is missing or damaged.
    """
    if out.exists() or out.is_symlink():
        raise SearchError(f"{out} exists already. Give another folder, or remove it.")
    found = _found(source)
    wanted = _wanted(found, fold)
    with folder_written_aside(out) as aside:
        copied = [_copy(path, aside, found, roles) for path, roles in wanted]
        write_header(aside, _header(found, copied))
        read_model(aside)
    return read_model(out)


def _found(source: Path) -> _Source:
    if (source / "study.json").is_file():
        return _of_study(source)
    if (source / RESULT_NAME).is_file() and (source / BEGUN_NAME).is_file():
        return _of_training(source)
    what = "an unfinished training" if (source / BEGUN_NAME).is_file() else "no model"
    raise SearchError(
        f"{told_place(source)} holds {what}. Give the folder of a study (studies/NAME), or the "
        "--out folder of a finished `spectrum train`."
    )


def _of_study(path: Path) -> _Source:
    view = view_study(path)
    line, floor = view.best, view.floor
    if line is None or floor is None:
        raise SearchError(f"{path} has no complete trial yet. Continue it with --resume.")
    best = StudyResult(
        study=path,
        lines={told["number"]: told for told in view.lines},
        floor=floor,
        seconds=0.0,
        selection=view.selection,
    ).best
    assert best is not None
    rerun = best["rerun"]
    again = f", and {rerun['mean']:.3f} in the mean over new seeds" if rerun else ""
    score = _score(
        {"value": best["score"], "ci95": best["ci95"]},
        floor=best["floor"],
        chance=best["chance"],
        scheme=floor["scheme"],
        selected=f"selected: {best['selected_by']}{again}",
        seal=_seal_of_study(path, line["number"]),
    )
    return _Source(
        told=f"trial {line['number']} of the study {view.manifest['name']}",
        checkpoints=path / "trials" / str(line["number"]) / CHECKPOINTS_NAME,
        folds=read_json(path / "folds.json"),
        images=_images_of_study(path, view.manifest),
        score=score,
        scores={told["fold"]: told["score"] for told in line["folds"]},
        target_hash=view.manifest["data"]["target"],
    )


def _images_of_study(path: Path, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the study's images; one begun by an earlier version knows their files alone."""
    if (path / IMAGES_NAME).is_file():
        images: Mapping[str, Any] = read_json(path / IMAGES_NAME)
        return images
    return {run: {"image_sha256": digest} for run, digest in manifest["data"]["runs"].items()}


def _of_training(path: Path) -> _Source:
    result, begun = read_json(path / RESULT_NAME), read_json(path / BEGUN_NAME)
    score = _score(
        {"value": result["score"], "ci95": result["ci95"]},
        floor=result["floor"]["score"],
        chance=result["chance"],
        scheme=begun["config"]["folds"]["scheme"],
    )
    folds = read_json(path / "folds.json")
    named = {fold["held_out"]: fold["name"] for fold in folds["folds"]}
    return _Source(
        told=f"the training {path.resolve().name}",
        checkpoints=path / CHECKPOINTS_NAME,
        folds=folds,
        images=read_json(path / IMAGES_NAME) if (path / IMAGES_NAME).is_file() else {},
        score=score,
        scores={named.get(told["held_out"], ""): told["score"] for told in result["folds"]},
        target_hash=begun["data"]["target"],
    )


def _score(
    score: Mapping[str, Any],
    *,
    floor: float,
    chance: float,
    scheme: str,
    selected: str = "",
    seal: str = "",
) -> ModelScore:
    low, high = score["ci95"]
    how = selected or "one configuration, not selected by this score"
    return ModelScore(
        value=score["value"],
        ci95=(low, high),
        floor=floor,
        chance=chance,
        scheme=scheme,
        selected=bool(selected),
        told=f"The model scored {score['value']:.3f} [{low:.3f}, {high:.3f}] under {scheme} "
        f"({how}), beside a floor of {floor:.3f} of acquisition numbers alone and a chance of "
        f"{chance:.3f}.",
        seal=seal,
    )


def _seal_of_study(study: Path, trial: int) -> str:
    """Say who was kept from the search, and what they said of the exported trial, if anything."""
    told = told_seal(study)
    if told is None:
        return "No one was kept from the search, so no score of it is free of its selection."
    if told["opened"] is None:
        return (
            f"{told['sentence']} So it was at the export; until they are asked, no score is free "
            "of selection."
        )
    asked = [line["trial"] for line in opened_lines(study)]
    if asked[0] == trial:
        return (
            f"{told['sentence']} A refit of this configuration was asked, not these very models."
        )
    return (
        f"{told['sentence']} That is trial {asked[0]}, not this one, trial {trial}, which was "
        f"{'asked at a later look' if trial in asked else 'never asked'} and selected when the "
        "answer was known."
    )


def _wanted(found: _Source, name: str | None) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the checkpoint of each fold that is exported, with the sides of the fold."""
    folder_of = {
        read_header(path).fold: path.parent
        for path in sorted(found.checkpoints.glob(f"*/{HEADER_NAME}"))
    }
    roles_of = {roles["name"]: roles for roles in found.folds["folds"]}
    if name is not None and name not in roles_of:
        raise SearchError(f"{name!r} is no fold. Give --fold one of {', '.join(roles_of)}.")
    names = list(roles_of) if name is None else [name]
    missing = [fold for fold in names if fold not in folder_of]
    if missing:
        raise SearchError(
            f"{found.checkpoints} has no checkpoint of the fold {missing[0]}. Restore it, or "
            "train the configuration again with `spectrum train`."
        )
    return [(folder_of[fold], roles_of[fold]) for fold in names]


def _copy(
    checkpoint: Path, aside: Path, found: _Source, roles: Mapping[str, Any]
) -> tuple[ExportedFold, CheckpointHeader]:
    """Copy a checkpoint that can be read, and describe it."""
    _, header = read_checkpoint(checkpoint)
    folder = aside / FOLDS_NAME / checkpoint.name.lstrip(".")
    folder.mkdir(parents=True)
    for name in (HEADER_NAME, WEIGHTS_NAME):
        shutil.copyfile(checkpoint / name, folder / name)
    fold = ExportedFold(
        name=header.fold,
        held_out=header.held_out,
        folder=folder.name,
        header_sha256=hashlib.sha256((folder / HEADER_NAME).read_bytes()).hexdigest(),
        num_bytes=(folder / WEIGHTS_NAME).stat().st_size,
        score=found.scores.get(header.fold),
        trained=_runs((*roles["training"], *roles["monitor"])),
        held_out_runs=_runs(roles["validation"]),
    )
    return fold, header


def _runs(units: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the runs of some units; those of events have their number after #."""
    return tuple(sorted({unit.split("#")[0] for unit in units}))


def _header(found: _Source, copied: list[tuple[ExportedFold, CheckpointHeader]]) -> ModelHeader:
    first = copied[0][1]
    return ModelHeader(
        config=first.config,
        target=_target(found, first),
        shape_TSHW=first.shape_TSHW,
        score=found.score,
        source=found.told,
        data_hash=first.data_hash,
        folds=tuple(fold for fold, _ in copied),
        images=tuple(TrainedImage(run=run, **told) for run, told in sorted(found.images.items())),
        versions=versions(),
    )


def _target(found: _Source, header: CheckpointHeader) -> Target:
    target = read_target(header.config.target)
    if fingerprint(target.model_dump(mode="json")) != found.target_hash:
        raise SearchError(
            f"The target {header.config.target} was changed since the model was trained. "
            "Restore the file, then export."
        )
    return target
