"""The dissociations of a study: its fold models, asked about subjects that they never saw.

The models are those of the selected trial, as they were trained; nothing is fitted. Not here: what
the answers mean (``spectrum.evaluation.dissociation_tasks``), and the statement (``statement``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.data.runs import RunTable
from spectrum.errors import ConfigError
from spectrum.evaluation.dissociation import Dissociation, RunAnswer
from spectrum.evaluation.dissociation_tasks import (
    TASKS,
    Order,
    Skipped,
    evaluate_task,
    task_runs,
)
from spectrum.search.exporting import export_model
from spectrum.targets import Target
from spectrum.training.exported import ExportedModel
from spectrum.training.other_subjects import OtherSubjects, judgeable
from spectrum.training.predicting import Predicted

__all__ = ["ALL", "judge_tasks", "models_of_study", "runs_to_judge", "task_names"]

ALL: Final = "all"


def task_names(asked: Sequence[str]) -> tuple[str, ...]:
    """Return dissociations by name, all of them for ``all``.

    Raises
    ------
    ConfigError
        A name is none.
    """
    unknown = [name for name in asked if name not in (*TASKS, ALL)]
    if unknown:
        raise ConfigError(
            f"{unknown[0]!r} is no dissociation. Expected some of {', '.join((*TASKS, ALL))}."
        )
    return tuple(name for name in TASKS if ALL in asked or name in asked)


@contextmanager
def models_of_study(study: Path) -> Iterator[ExportedModel]:
    """Yield the fold models of the selected trial, checked, in a folder that is then removed."""
    with tempfile.TemporaryDirectory(prefix="spectrum-evaluate-") as folder:
        yield export_model(study, Path(folder) / "model")


def runs_to_judge(model: ExportedModel, table: RunTable, names: Sequence[str]) -> OtherSubjects:
    """Return the runs that the tasks need and that a held-out model can judge."""
    keys = [run.key for run in table.runs]
    needed = {key for found in task_runs(names, keys).values() for key in found}
    return judgeable(model, table, sorted(needed))


def judge_tasks(
    names: Sequence[str],
    predicted: Iterable[Predicted],
    target: Target,
    *,
    order: Order | None = None,
    without: str = "",
) -> tuple[Dissociation | Skipped, ...]:
    """Run dissociations on the predictions for their runs.

    Parameters
    ----------
    names : of ``task_names``
    predicted : by models that never trained on the run's subject
    target : of the models; its second class is the later one
    order : of the tasks of each subject, where a user gave it
    without : why nothing was predicted; all tasks are skipped with it
    """
    if not target.paired:
        without = (
            f"The target {target.name} does not tell earlier from later runs. Search early_late."
        )
    if without:
        return tuple(Skipped(task=name, reason=without) for name in names)
    later = target.classes[1]
    answers = [RunAnswer(key=one.unit.key, late=one.probabilities[later]) for one in predicted]
    return tuple(evaluate_task(name, answers, order=order) for name in names)
