"""Commands: audit, before any training, and baselines, beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.audit_text import audit_text, ladder_text
from spectrum.cli.console import end_with_refused, print_json, print_notes, print_text
from spectrum.cli.options import (
    JsonOption,
    MultiEchoOption,
    SetOption,
    SpaceOption,
    TrFromOption,
    data_settings,
)
from spectrum.cli.progress import progress_bar
from spectrum.errors import SearchError

if TYPE_CHECKING:
    from spectrum.config import TrialConfig

__all__ = ["register"]

QUALITY_HELP = (
    "Table of image quality numbers (MRIQC's group_bold.tsv), as FILE or DATASET=FILE; may be "
    "given again. The audit then needs no images."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(audit)
    app.command()(baselines)


def audit(
    paths: Annotated[
        list[Path], typer.Argument(help="Roots of BIDS data sets, or one shard set.")
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(help="Target name or file, early_late by default; may be given again."),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            help="Scheme of folds, leave-one-dataset-out by default; may be given again."
        ),
    ] = None,
    quality: Annotated[list[str] | None, typer.Option(help=QUALITY_HELP)] = None,
    settings: SetOption = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell before any training whether a score on a target can mean anything.

    Example: spectrum audit data/raw/ds000052 --target stage --scheme leave-one-subject-out
    --quality data/raw/ds000052/group_bold.tsv

    Design (data set, task, run) and acquisition numbers are scored on the folds of the scheme;
    the floor is the score of all acquisition numbers together. With several targets or schemes
    --json prints {"audits": [...]}.
    """
    from spectrum.evaluation.sources import open_source
    from spectrum.evaluation.target_audit import audit_target
    from spectrum.targets import read_target

    decided = [*(settings or []), *data_settings(tr_from, multi_echo, space)]
    configs = [_config(decided, one) for one in scheme or ["leave-one-dataset-out"]]
    targets = [read_target(name) for name in target or ["early_late"]]
    with progress_bar("Reading headers", unit="runs") as on_run_done:
        source = open_source(
            paths, quality=quality or (), choices=configs[0].data, on_run_done=on_run_done
        )
    asked = [(one, config) for one in targets for config in configs]
    audits = []
    with progress_bar("Auditing", unit="targets and schemes") as show:
        for num_done, (one, config) in enumerate(asked):
            show(num_done, len(asked), f"{one.name}, {config.folds.scheme}")
            audits.append(audit_target(source, one, config.folds, config.sequences))
        show(len(asked), len(asked))
    if as_json:
        found = [one.to_json() for one in audits]
        print_json(found[0] if len(found) == 1 else {"audits": found})
    else:
        print_text("\n\n".join(audit_text(one.to_json()) for one in audits))
    print_notes(dict.fromkeys(note for one in audits for note in one.notes))
    end_with_refused(source.refused)


def baselines(
    shards: Annotated[Path, typer.Argument(help="One shard set (spectrum prepare prints it).")],
    target: Annotated[str, typer.Option(help="Target name or file.")] = "early_late",
    scheme: Annotated[str, typer.Option(help="Scheme of folds.")] = "leave-one-dataset-out",
    rungs: Annotated[
        str | None,
        typer.Option(help="Rungs by name, with commas: dummy,floor,parcels,glm,mlp,cnn."),
    ] = None,
    permutations: Annotated[
        int,
        typer.Option(
            min=0,
            help="Whole refits of parcels and glm with classes permuted within subjects, at most.",
        ),
    ] = 0,
    study: Annotated[
        Path | None,
        typer.Option(
            help="Study that keeps the ladder; its sealed subjects must not be in the set."
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the ladder of baselines on the folds that a model gets, beside floor and chance.

    Example: spectrum baselines shards/0123456789abcdef-0123456789abcdef --rungs parcels,glm

    dummy: class frequencies. floor: acquisition numbers. parcels: logistic regression on parcels.
    glm: linear SVM on responses to events. mlp: a small network on parcels' series. cnn: a small
    3-D network on volumes. Each is tuned and fitted inside each fold.
    """
    from spectrum.data.shards import ShardSet
    from spectrum.evaluation.ladder import RUNGS, run_ladder
    from spectrum.search.sealing import read_seal
    from spectrum.targets import read_target

    config = _config(settings or [], scheme)
    names = [name.strip() for name in rungs.split(",")] if rungs else RUNGS
    opened = ShardSet.open(shards)
    with progress_bar("Fitting", unit="folds") as on_fold_done:
        ladder = run_ladder(
            opened,
            read_target(target),
            config.folds,
            config.sequences,
            names=names,
            num_permutations=permutations,
            seal=read_seal(study) if study is not None else None,
            on_fold_done=on_fold_done,
        )
    told = ladder.to_json()
    notes = [*ladder.notes]
    if study is not None:
        notes += _kept(study, told, opened.manifest.content_hash)
    if as_json:
        print_json(told)
    else:
        print_text(ladder_text(told))
    print_notes(notes)


def _kept(study: Path, told: dict[str, Any], content_hash: str) -> list[str]:
    """Keep a ladder in its study, and return where, or why not."""
    from spectrum.search.ladders import keep_ladder

    try:
        return [f"Kept: {keep_ladder(study, told, content_hash=content_hash)}"]
    except SearchError as err:
        return [str(err)]


def _config(decided: list[str], scheme: str) -> TrialConfig:
    from spectrum.config import TrialConfig, config_from_mapping, parse_settings, set_paths

    settings = [*decided, f"folds.scheme={scheme}"]
    return config_from_mapping(TrialConfig, set_paths({}, parse_settings(settings)))
