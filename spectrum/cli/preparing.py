"""What commands share that read BIDS trees and make shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrum.cli.console import ending_politely
from spectrum.cli.options import data_settings
from spectrum.cli.progress import progress_bar

if TYPE_CHECKING:
    from spectrum.config import DataConfig
    from spectrum.data.runs import RunTable

__all__ = ["data_choices", "index_trees", "making_shards"]


def data_choices(
    tr_from: str | None,
    multi_echo: str | None,
    space: str | None,
    *,
    base: Mapping[str, Any] | None = None,
) -> DataConfig:
    """Return what counts where trees leave a choice: the options, over a base mapping."""
    from spectrum.config import TrialConfig, config_from_mapping, parse_settings, set_paths

    decided = parse_settings(data_settings(tr_from, multi_echo, space))
    return config_from_mapping(TrialConfig, set_paths(base or {}, decided)).data


def index_trees(roots: list[Path], choices: DataConfig) -> RunTable:
    """Return the runs of BIDS trees, with progress."""
    from spectrum.data.bids import index_bids

    with progress_bar("Reading headers", unit="runs") as on_run_done:
        return index_bids(roots, choices, on_run_done=on_run_done)


@contextmanager
def making_shards(
    shards: Path, *, is_made: bool, cpus: int | None
) -> Iterator[Callable[[int, int], None]]:
    """Have Ray where shards are to be made, yield the progress, and end in words on Ctrl-C.

    Parameters
    ----------
    is_made : whether the set is there already, so that no Ray is needed
    """
    from spectrum.launch import local_ray

    kept = f"Finished runs are kept in {shards}; the same command goes on from there."
    with (
        ending_politely(kept),
        nullcontext() if is_made else local_ray(num_cpus=cpus, kept=kept),
        progress_bar("Preparing", unit="runs") as on_run_done,
    ):
        yield on_run_done
