"""Predictions by models that never trained on the subject: what dissociations are asked of.

A fold's model is asked about a run only where no run of the run's subject stood on its training
side, whatever the run: other tasks of a trained subject would be told by who it is. Nothing is
fitted. Not here: what is made of the answers (``spectrum.evaluation.dissociation``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spectrum.data.manifest import ShardRun
from spectrum.data.runs import RunTable
from spectrum.data.seals import Seal
from spectrum.entities import RunKey
from spectrum.errors import LeakageError
from spectrum.training.exported import ExportedModel, ModelHeader
from spectrum.training.predicting import Asked, Predicted, predict_table
from spectrum.training.prediction_notes import names_in_study

__all__ = ["OtherSubjects", "ask_other_subjects", "judgeable", "predict_other_subjects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSubjects:
    """The runs that can be asked about, and the subjects that all models were trained on."""

    table: RunTable
    trained: tuple[str, ...]


def judgeable(model: ExportedModel, table: RunTable, keys: Sequence[RunKey]) -> OtherSubjects:
    """Keep those of some runs whose subject at least one fold's model never trained on."""
    wanted = set(keys)
    runs = [run for run in table.runs if run.key in wanted]
    kept = tuple(run for run in runs if _folds_without({run.key.group}, model.header))
    trained = {run.key.group for run in runs} - {run.key.group for run in kept}
    return OtherSubjects(table=replace(table, runs=kept), trained=tuple(sorted(trained)))


def predict_other_subjects(
    model: ExportedModel,
    table: RunTable,
    *,
    shards_root: Path,
    seal: Seal | None = None,
    **making: Any,
) -> tuple[Predicted, ...]:
    """Predict each run by the models that never trained on its subject.

    Parameters
    ----------
    model : of a study
    table : of ``judgeable``
    shards_root : folder of all shard sets
    seal : whom nobody may look at yet
    making : further arguments of ``predict_table``

    Raises
    ------
    LeakageError
        Where a subject is known under another name too, under which all models trained on it, or
        which is sealed.
    """

    def ask(run: ShardRun, header: ModelHeader) -> Asked:
        if seal is not None:
            seal.check([run])
        return ask_other_subjects(run, header)

    return predict_table(model, table, shards_root=shards_root, ask=ask, **making).predictions


def ask_other_subjects(run: ShardRun, header: ModelHeader) -> Asked:
    """Choose the folds whose training sides hold no run of the run's person.

    The person is known under every name that the study's images, or equal ones, have.

    Raises
    ------
    LeakageError
        Where there is none.
    """
    others = {run.person or run.key.group, *map(_group, names_in_study(run, header))}
    folds = _folds_without({run.key.group, *others}, header)
    if not folds:
        raise LeakageError(
            f"Every model of the study was trained on {', '.join(sorted(others))}, under this "
            f"or another name (run {run.key}). Leave this subject out of the evaluation."
        )
    return Asked(folds, seen=len(folds) < len(header.folds), held_out=True)


def _folds_without(groups: set[str], header: ModelHeader) -> tuple[str, ...]:
    return tuple(
        fold.name for fold in header.folds if groups.isdisjoint(map(_group, fold.trained))
    )


def _group(run: str) -> str:
    """Return data set and subject of a run by its name."""
    return run.split("_")[0]
