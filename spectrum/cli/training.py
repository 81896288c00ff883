"""Command: train one configuration over all its folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrum.cli.console import (
    end_with_refused,
    print_json,
    print_notes,
    print_text,
    progress_bar,
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

if TYPE_CHECKING:
    from spectrum.search.single import TrainResult

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
    settings: SetOption = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one configuration over all its folds, with its floor beside its score.

    Example: spectrum train config.yaml data/raw/ds000002 data/raw/ds000052 --workers 2

    Example: spectrum train data/raw/ds0000* --from studies/quickstart/7 --out again
    """
    from spectrum.config import TrialConfig, read_config
    from spectrum.errors import ConfigError
    from spectrum.launch import local_ray
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
    with local_ray(num_cpus=cpus), progress_bar("Training", unit="epochs") as on_progress:
        result = train_single(
            parsed,
            data,
            shards_root=shards,
            out=out,
            on_epoch=lambda record: on_progress(record.epoch + 1, parsed.training.num_epochs),
        )
    if as_json:
        print_json(result.to_json())
    else:
        print_text(_train_text(result))
    print_notes(result.notes)
    end_with_refused(result.refused)


def _train_text(result: TrainResult) -> str:
    told = result.to_json()
    low, high = told["ci95"]
    floor_low, floor_high = told["floor"]["ci95"]
    lines = [
        f"score    {told['score']:.3f}  [{low:.3f}, {high:.3f}]",
        f"p        {told['p']:.4f} ({told['test']})",
        f"floor    {told['floor']['score']:.3f}  [{floor_low:.3f}, {floor_high:.3f}]",
        f"majority {told['majority']['score']:.3f}",
        f"chance   {told['chance']:.3f}",
        *[f"  held out {fold['held_out']}: {fold['score']:.3f}" for fold in told["folds"]],
        told["verdict"],
        f"{told['sequences_per_second']} sequences/s; checkpoints in {told['checkpoint']}",
    ]
    return "\n".join(lines)
