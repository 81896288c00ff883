"""What a search is doing: the steps before its first trial, then a table of those that run.

On a terminal; elsewhere a line now and then, as all commands tell how far they are
(``progress``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from spectrum.cli.console import has_terminal, is_quiet, notes
from spectrum.cli.progress import PlainLines, duration_text, new_bars, show_task

if TYPE_CHECKING:
    from spectrum.search.status import StudyStatus, TrialStatus

__all__ = ["SearchShow", "live_search", "table_of"]

COLUMNS = ("trial", "state", "fold", "epoch", "score", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchShow:
    """Callbacks that show a search: one takes a step before its trials, one how it stands."""

    on_step: Callable[[str, int, int], None]
    on_status: Callable[[StudyStatus], None]


@contextmanager
def live_search() -> Iterator[SearchShow]:
    """Show on stderr what a search is doing."""
    if is_quiet():
        yield SearchShow(on_step=lambda title, done, total: None, on_status=lambda status: None)
        return
    if has_terminal():
        screen = _Screen()
        with Live(console=notes, transient=True, get_renderable=screen.now) as live:
            show = SearchShow(on_step=screen.take_step, on_status=screen.take_status)
            yield show
            live.refresh()
        return
    lines = PlainLines(partial(notes.print, markup=False, soft_wrap=True))
    try:
        yield SearchShow(
            on_step=lambda title, done, total: lines.tell(f"{title}: {done} of {total}"),
            on_status=lambda status: lines.tell(headline(status)),
        )
    finally:
        lines.end()


class _Screen:
    """Bars until the first trial, then the table."""

    def __init__(self) -> None:
        self._bars = new_bars(MofNCompleteColumn())
        self._status: StudyStatus | None = None

    def take_step(self, title: str, done: int, total: int) -> None:
        show_task(self._bars, title, done, total)

    def take_status(self, status: StudyStatus) -> None:
        self._status = status

    def now(self) -> RenderableType:
        return self._bars.get_renderable() if self._status is None else table_of(self._status)


def table_of(status: StudyStatus) -> Group:
    """Return a line for each trial that runs, and above them how the study stands."""
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("epoch", "score", "time") else "left")
    for trial in status.trials:
        table.add_row(*_cells(trial))
    return Group(Text(headline(status)), table)


def headline(status: StudyStatus) -> str:
    """Return how a study stands in one line: trials done, the best one, and what it is read by."""
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
        parts.append(f"{duration_text(status.seconds_left)} left")
    return ", ".join(parts)


def _cells(trial: TrialStatus) -> tuple[str, ...]:
    return (
        str(trial.number if trial.of is None else trial.of),
        "starting" if trial.score is None else "running" if trial.of is None else "re-run",
        trial.fold or "all",
        f"{trial.epoch}/{trial.num_epochs}" if trial.fold is None else str(trial.epoch),
        "" if trial.score is None else f"{trial.score:.3f}",
        duration_text(trial.seconds),
    )
