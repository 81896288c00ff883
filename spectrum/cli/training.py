"""Command: train one configuration over all its folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import (
    end_with_refused,
    ending_politely,
    print_json,
    print_notes,
    print_text,
)
from spectrum.cli.options import (
    CpusOption,
    JsonOption,
    MultiEchoOption,
    SetOption,
    ShardsOption,
    SpaceOption,
    TrFromOption,
    data_settings,
)
from spectrum.cli.progress import steps_bar

if TYPE_CHECKING:
    from spectrum.records import FoldRecord
    from spectrum.search.single import TrainEpoch, TrainResult

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(train)


def train(
    config: Annotated[
        Path,
        typer.Argument(help="Configuration file (spectrum config show); left out with --from."),
    ],
    roots: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of BIDS data sets, raw or fMRIPrep derivatives."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="STUDY/TRIAL whose configuration is trained again."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Data-parallel workers; above 1 through Ray Train.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the result.")] = Path("trained"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last epoch in --out.")
    ] = False,
    ladder: Annotated[
        bool, typer.Option(help="Fit simpler models on the same folds and recipe first.")
    ] = True,
    settings: SetOption = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one configuration over all its folds, with floor and simpler models beside its score.

    A training that was interrupted goes on with --resume, to the numbers of an undisturbed one.

    Example: spectrum train config.yaml data/raw/ds000002 data/raw/ds000052 --workers 2

    Example: spectrum train data/raw/ds0000* --from studies/quickstart/7 --out again
    """
    from spectrum.config import TrialConfig, read_config
    from spectrum.errors import ConfigError
    from spectrum.launch import local_ray
    from spectrum.search.sealing import seal_of_trial
    from spectrum.search.single import train_single
    from spectrum.search.trial_source import config_of_trial

    wanted = [*(settings or []), *data_settings(tr_from, multi_echo, space)]
    wanted += [f"training.workers={workers}"] if workers else []
    if source is not None:
        parsed, data = config_of_trial(source, wanted), [config, *(roots or [])]
    else:
        parsed, data = read_config(TrialConfig, config, settings=wanted), roots or []
    if not data:
        raise ConfigError("No data were given. Name the folders of BIDS data sets after CONFIG.")
    kept = f"Epochs that ended are kept in {out}; go on with --resume."
    with (
        ending_politely(kept),
        local_ray(num_cpus=cpus, kept=kept),
        steps_bar() as show,
    ):
        result = train_single(
            parsed,
            data,
            shards_root=shards,
            out=out,
            on_epoch=lambda told: show(
                "Training epochs", told.record.epoch + 1, told.num_records, _epoch_text(told)
            ),
            on_step=show,
            ladder="linear" if ladder else "none",
            resume=resume,
            seal=seal_of_trial(source) if source is not None else None,
        )
    if as_json:
        print_json(result.to_json())
    else:
        print_text(_train_text(result))
    print_notes(result.notes)
    end_with_refused(result.refused)


def _epoch_text(epoch: TrainEpoch) -> str:
    """Return what an epoch came to: fold, loss, score and rate."""
    record = epoch.record
    fold = record.folds[-1].fold if len(record.folds) == 1 else f"{len(record.folds)} folds"
    training = fmean(told.training_loss for told in record.folds)
    held_out = fmean(told.validation_loss for told in record.folds)
    rate = epoch.sequences_per_second
    return ", ".join(
        [
            fold,
            f"loss {training:.3f}, held out {held_out:.3f}",
            f"score {record.score.value:.3f}",
            f"{rate:.0f} sequences/s" if rate else "done before",
        ]
    )


def _train_text(result: TrainResult) -> str:
    told = result.to_json()
    lines = [
        _line("score", told),
        f"{'':<10}p {told['p']:.4f} ({told['test']})",
        _line("floor", told["floor"]),
        *(_line(name, rung) for name, rung in (told["ladder"] or {}).items()),
        f"{'majority':<10}{told['majority']['score']:.3f}",
        f"{'chance':<10}{told['chance']:.3f}",
        told["verdict"],
        "",
        *_fold_table(result.folds),
        "",
        f"{told['sequences_per_second']} sequences/s; checkpoints in {told['checkpoint']}",
    ]
    return "\n".join(lines)


def _line(name: str, told: Mapping[str, Any]) -> str:
    low, high = told["ci95"]
    return f"{name:<10}{told['score']:.3f}  [{low:.3f}, {high:.3f}]"


def _fold_table(folds: Sequence[FoldRecord]) -> list[str]:
    """Return a heading and a line a fold; losses are nats per sequence of the held-out side."""
    width = max(8, *(len(fold.held_out) for fold in folds))
    heading = f"{'held out':<{width}}  score   loss  kept epoch  sequences trained, held out"
    return [
        heading,
        *(
            f"{fold.held_out:<{width}}  {fold.score:5.3f}  {fold.loss:5.3f}"
            f"  {fold.epoch + 1:10d}  {fold.num_training}, {fold.num_validation}"
            for fold in folds
        ),
    ]
