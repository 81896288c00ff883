"""Command: what a study shows, and what may be claimed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import print_json, print_notes, print_text
from spectrum.cli.options import (
    CpusOption,
    JsonOption,
    MultiEchoOption,
    ShardsOption,
    SpaceOption,
    TrFromOption,
)
from spectrum.cli.preparing import data_choices, making_shards
from spectrum.cli.progress import busy

if TYPE_CHECKING:
    from spectrum.evaluation.dissociation import Dissociation
    from spectrum.evaluation.dissociation_tasks import Order, Skipped

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(evaluate)


def evaluate(
    study: Annotated[Path, typer.Argument(help="Folder of a study.")],
    roots: Annotated[
        list[Path] | None,
        typer.Argument(help="BIDS trees for the dissociations; none are run without."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="reversal, relearning, stop-signal, counterbalance, interleave or all; may be "
            "given again."
        ),
    ] = None,
    order: Annotated[
        Path | None,
        typer.Option(
            help="Table with tabs: dataset, participant_id, position (1 is first), task; for "
            "counterbalance and interleave."
        ),
    ] = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """State what a study shows: interval, floor, permutations, dissociations, known limits.

    Writes statement.json and statement.html into the study. Models are asked about subjects that
    they never trained on; nothing is fitted, and no file of a sealed subject is opened.

    Example: spectrum evaluate studies/joint data/raw/ds0000* --task reversal --task stop-signal
    """
    from spectrum.evaluation.dissociation_tasks import read_order
    from spectrum.report.statement_page import write_statement
    from spectrum.search.evaluating import task_names
    from spectrum.search.statement import build_statement
    from spectrum.search.view import view_study
    from spectrum.tracking import show_study

    names = task_names(task or ["all"])
    found_order = read_order(order) if order is not None else None
    view = view_study(study)
    choices = (tr_from, multi_echo, space)
    outcomes, notes = _dissociate(study, roots or [], names, found_order, choices, shards, cpus)
    with busy("Permuting"):
        told = build_statement(view, outcomes, date=datetime.now(UTC).date().isoformat())
    path = write_statement(study, told)
    shown = show_study(study)
    if as_json:
        print_json({"statement": str(path), **told})
    else:
        print_text("\n".join(_lines(told, path)))
    print_notes([*notes, shown.note] if shown.note else notes)


def _dissociate(
    study: Path,
    roots: list[Path],
    names: Sequence[str],
    order: Order | None,
    choices: tuple[str | None, str | None, str | None],
    shards: Path,
    cpus: int | None,
) -> tuple[tuple[Dissociation | Skipped, ...], tuple[str, ...]]:
    from spectrum.search.evaluating import judge_tasks, models_of_study, runs_to_judge
    from spectrum.search.sealing import index_unsealed, read_seal
    from spectrum.training.other_subjects import predict_other_subjects
    from spectrum.training.predicting import is_ready

    with models_of_study(study) as model:
        target = model.header.target
        if not roots:
            without = "No BIDS tree was given."
            return judge_tasks(names, (), target, without=without), ()
        of_model = {"data": model.header.config.data.model_dump(mode="json")}
        seal = read_seal(study)
        table = index_unsealed(roots, data_choices(*choices, base=of_model), seal)
        asked = runs_to_judge(model, table, names)
        notes = tuple(
            f"{group} is refused: every model of the study was trained on this subject."
            for group in asked.trained
        )
        if not asked.table.runs or not target.paired:
            return judge_tasks(names, (), target, order=order), notes
        is_made = is_ready(model, asked.table, shards)
        with making_shards(shards, is_made=is_made, cpus=cpus) as on_run_done:
            predicted = predict_other_subjects(
                model, asked.table, shards_root=shards, seal=seal, on_run_done=on_run_done
            )
        return judge_tasks(names, predicted, target, order=order), notes


def _lines(told: Mapping[str, Any], path: Path) -> list[str]:
    from spectrum.report.statement_page import sentences

    lines = [*sentences(told), ""]
    for name, one in told["tasks"].items():
        if "skipped" in one:
            lines.append(f"{name}: not run. {one['skipped']}")
            continue
        low, high = one["ci95"]
        lines.append(
            f"{name}: {one['share']:.3f} [{low:.3f}, {high:.3f}], {one['num_subjects']} subjects, "
            f"p above {one['p_above']:.4f}, below {one['p_below']:.4f}: {one['verdict']}"
        )
    return [*lines, "", *(f"Limit: {limit}" for limit in told["limits"]), "", f"Written: {path}"]
