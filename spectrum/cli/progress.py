"""How far a command is, on stderr, by one rule.

On a terminal a bar; elsewhere (a pipe, a file, a job's log) a plain line at most every
``LINE_EVERY_S`` seconds, so that what is done sooner leaves none; with ``--quiet`` nothing. Not
here: the table of a search's trials (``live``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from spectrum.cli.console import has_terminal, is_quiet, notes
from spectrum.data.describing import size_text

__all__ = [
    "LINE_EVERY_S",
    "PlainLines",
    "Show",
    "busy",
    "bytes_bar",
    "duration_text",
    "new_bars",
    "progress_bar",
    "show_task",
    "steps_bar",
]

LINE_EVERY_S: Final = 30.0
"""Seconds between two lines where no bar can be drawn: two a minute keep a long job's log short,
and its reader sure that it goes on."""


class Show(Protocol):
    """Takes what is done of how much, and what else there is to say."""

    def __call__(self, done: int, total: int, told: str = "") -> None:
        """Show it."""


class ShowStep(Protocol):
    """Takes what is being done, what is done of how much, and what else there is to say."""

    def __call__(self, title: str, done: int, total: int, told: str = "") -> None:
        """Show it."""


class PlainLines:
    """Says how things stand now and then, and in the end where it had spoken before.

    Parameters
    ----------
    say : takes a line
    every_s : seconds in which it says one at most, >= 0
    clock : seconds, monotonic
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every_s, self._clock = say, every_s, clock
        self._begin = self._spoke = clock()
        self._waiting: str | None = None
        self._has_spoken = False

    def tell(self, text: str) -> None:
        """Take how things stand."""
        now = self._clock()
        self._waiting = f"{text}, {duration_text(now - self._begin)}"
        if now - self._spoke >= self._every_s:
            self._speak(now)

    def end(self) -> None:
        """Say how things stood last, where that is news to a reader of the lines before."""
        if self._has_spoken and self._waiting is not None:
            self._speak(self._clock())

    def _speak(self, now: float) -> None:
        if self._waiting is not None:
            self._say(self._waiting)
        self._spoke, self._waiting, self._has_spoken = now, None, True


@contextmanager
def progress_bar(title: str, *, unit: str) -> Iterator[Show]:
    """Show how many units are done; yields a callback."""
    counts = (MofNCompleteColumn(), TextColumn(unit))
    with _shown(counts, lambda done, total: f"{done} of {total} {unit}", first=title) as show:
        yield partial(show, title)


@contextmanager
def steps_bar() -> Iterator[ShowStep]:
    """Show steps that follow each other, each by its own name; yields a callback."""
    with _shown((MofNCompleteColumn(),), lambda done, total: f"{done} of {total}") as show:
        yield show


@contextmanager
def bytes_bar(title: str) -> Iterator[Show]:
    """Show how many bytes are there, with their rate; yields a callback."""
    counts = (DownloadColumn(binary_units=True), _BinarySpeedColumn())
    with _shown(counts, _bytes_text, first=title) as show:
        yield partial(show, title)


@contextmanager
def busy(title: str) -> Iterator[None]:
    """Show that something is being done that cannot be counted; on a terminal alone."""
    with _shown((), lambda done, total: "", first=title, keeps=False):
        yield


@contextmanager
def _shown(
    counts: tuple[ProgressColumn, ...],
    text_of: Callable[[int, int], str],
    *,
    first: str | None = None,
    keeps: bool = True,
) -> Iterator[ShowStep]:
    """Show steps as bars, as lines or not at all.

    Parameters
    ----------
    counts : columns between the bar and the time
    text_of : writes what is done of how much, for a line
    first : step that is shown before anything is counted
    keeps : whether the bar stays once something was counted
    """
    if is_quiet():
        yield _show_nothing
    elif has_terminal():
        with new_bars(*counts) as bars:
            bars.live.transient = True
            if first is not None:
                show_task(bars, first, 0, None)
            yield partial(_show_bar, bars, keeps)
    else:
        lines = PlainLines(partial(notes.print, markup=False, soft_wrap=True))
        try:
            yield partial(_show_line, lines, text_of)
        finally:
            lines.end()


def new_bars(*counts: ProgressColumn) -> Progress:
    """Return bars of the one shape: title, bar, counts, what else is told, time spent and left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *counts,
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=notes,
    )


def show_task(bars: Progress, title: str, done: int, total: int | None, told: str = "") -> None:
    """Show how far a step is, below those that began before it."""
    known = next((task.id for task in bars.tasks if task.description == title), None)
    task = bars.add_task(title, total=total, told=told) if known is None else known
    bars.update(task, completed=done, total=total, told=told)


def _show_nothing(title: str, done: int, total: int, told: str = "") -> None:
    """Take how far a step is, and show nothing."""


def _show_bar(
    bars: Progress, keeps: bool, title: str, done: int, total: int, told: str = ""
) -> None:
    # A bar on which nothing was counted before an error says nothing, and vanishes.
    bars.live.transient = not keeps
    show_task(bars, title, done, total, told)


def _show_line(
    lines: PlainLines,
    text_of: Callable[[int, int], str],
    title: str,
    done: int,
    total: int,
    told: str = "",
) -> None:
    lines.tell(", ".join(filter(None, (f"{title}: {text_of(done, total)}", told))))


def _bytes_text(done: int, total: int) -> str:
    return f"{size_text(done)} of {size_text(total)}"


def duration_text(seconds: float) -> str:
    """Return hours, minutes and seconds; hours only where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _BinarySpeedColumn(TransferSpeedColumn):
    """A rate in the units of all other sizes; rich's own counts in thousands."""

    def render(self, task: Task) -> Text:
        """Return the rate of a task."""
        speed = task.finished_speed or task.speed
        return Text("?" if speed is None else f"{size_text(speed)}/s", style="progress.data.speed")
