"""The table of a search that runs, on a terminal; in a pipe nothing is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spectrum.cli.console import notes

if TYPE_CHECKING:
    from spectrum.search.status import StudyStatus, TrialStatus

__all__ = ["live_table", "table_of"]

COLUMNS = ("trial", "state", "fold", "epoch", "score", "time")


@contextmanager
def live_table() -> Iterator[Callable[[StudyStatus], None]]:
    """Show a table on stderr while a search runs; yields a callback that takes its status."""
    if not notes.is_terminal:
        yield lambda status: None
        return
    with Live(console=notes, transient=True, auto_refresh=False) as live:
        yield lambda status: live.update(table_of(status), refresh=True)


def table_of(status: StudyStatus) -> Group:
    """Return a line for each trial that runs, and above them how the study stands."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("epoch", "score", "time") else "left")
    for trial in status.trials:
        table.add_row(*_cells(trial))
    return Group(Text(_headline(status)), table)


def _headline(status: StudyStatus) -> str:
    parts = [f"{status.num_done} of {status.num_total} trials"]
    if status.best is not None:
        parts.append(f"best so far {status.best[1]:.3f} (trial {status.best[0]}, selected)")
    if status.floor is not None:
        parts.append(f"floor {status.floor:.3f}")
    parts += [
        f"{name} {score:.3f}"
        for name, score in status.ladder.items()
        if name not in ("dummy", "floor")
    ]
    if status.seconds_left is not None:
        parts.append(f"{_time(status.seconds_left)} left")
    return ", ".join(parts)


def _cells(trial: TrialStatus) -> tuple[str, ...]:
    return (
        str(trial.number if trial.of is None else trial.of),
        "starting" if trial.score is None else "running" if trial.of is None else "re-run",
        trial.fold or "all",
        f"{trial.epoch}/{trial.num_epochs}" if trial.fold is None else str(trial.epoch),
        "" if trial.score is None else f"{trial.score:.3f}",
        _time(trial.seconds),
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
