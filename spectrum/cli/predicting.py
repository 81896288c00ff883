"""Commands: export a model out of its study, and predict runs with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrum.cli.console import (
    end_with_refused,
    print_json,
    print_notes,
    print_text,
)
from spectrum.cli.options import (
    CpusOption,
    JsonOption,
    MultiEchoOption,
    RootsArgument,
    ShardsOption,
    SpaceOption,
    TrFromOption,
)
from spectrum.cli.preparing import data_choices, index_trees, making_shards
from spectrum.cli.tables import aligned

if TYPE_CHECKING:
    from spectrum.training.predicting import Predicted

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(export)
    app.command()(predict)


def export(
    source: Annotated[
        Path, typer.Argument(help="Folder of a study, or of a finished spectrum train.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the model; must not exist yet.")],
    fold: Annotated[
        str | None, typer.Option(help="Only the model of this fold; all by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model of a study's selected trial, or of a training, to be given away.

    The folder holds the models of all folds, the recipe, the target, and the score with its floor.

    Example: spectrum export studies/quickstart model
    """
    from spectrum.search.exporting import export_model

    model = export_model(source, out, fold=fold)
    header = model.header
    if as_json:
        told = {"source": header.source, "score": header.score.model_dump(mode="json")}
        print_json({"model": str(out), "folds": [f.name for f in header.folds], **told})
        return
    print_text(f"{out}: {header.source}, the models of {len(header.folds)} folds")
    print_text(header.score.told)


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that spectrum export made.")],
    roots: RootsArgument,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the class of each run, or event, of BIDS trees with an exported model.

    Runs need no class. The model's own recipe is applied to them, into --shards.

    Example: spectrum predict model data/raw/ds000052
    """
    from spectrum.training.exported import read_model
    from spectrum.training.predicting import is_ready, predict_table

    read = read_model(model)
    of_model = {"data": read.header.config.data.model_dump(mode="json")}
    table = index_trees(roots, data_choices(tr_from, multi_echo, space, base=of_model))
    is_made = is_ready(read, table, shards)
    with making_shards(shards, is_made=is_made, cpus=cpus) as on_run_done:
        told = predict_table(read, table, shards_root=shards, on_run_done=on_run_done)
    refused = [asdict(problem) for problem in told.refused]
    if as_json:
        print_json(
            {
                "model": str(model),
                "target": read.header.target.name,
                "classes": list(read.header.target.classes),
                "score": read.header.score.model_dump(mode="json"),
                "predictions": [predicted.to_json() for predicted in told.predictions],
                "refused": refused,
                "notes": list(told.notes),
            }
        )
    else:
        print_text("\n".join(_table(told.predictions)))
    print_notes(told.notes)
    end_with_refused(refused)


def _table(predictions: Sequence[Predicted]) -> list[str]:
    classes = list(predictions[0].probabilities) if predictions else []
    head = ["unit", "class", *classes, "study"]
    rows = [
        [
            predicted.unit.name,
            predicted.class_name,
            *(f"{value:.3f}" for value in predicted.probabilities.values()),
            _standing(predicted),
        ]
        for predicted in predictions
    ]
    return aligned([head, *rows], num_words=2)


def _standing(predicted: Predicted) -> str:
    if not predicted.seen:
        return "new"
    return "held out" if predicted.held_out else "trained on"
