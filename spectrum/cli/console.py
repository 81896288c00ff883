"""What commands share: JSON on stdout, everything else on stderr, one sentence for an error."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from spectrum.data.describing import size_text

__all__ = [
    "DONE_IN_PART",
    "INTERRUPTED",
    "bytes_bar",
    "end_with_refused",
    "ending_politely",
    "notes",
    "print_json",
    "print_notes",
    "print_text",
    "progress_bar",
]

DONE_IN_PART = 3
"""Exit code when some inputs were refused and the others are done."""

INTERRUPTED = 130
"""Exit code after SIGINT, as shells count it (128 + 2)."""

notes = Console(stderr=True, highlight=False)
"""Progress, warnings and errors."""


def print_json(value: Any) -> None:
    """Print one machine-readable object on stdout."""
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")


def print_notes(sentences: Iterable[str]) -> None:
    """Print what a user should know besides the result, on stderr."""
    for sentence in sentences:
        notes.print(f"note: {sentence}", markup=False, soft_wrap=True)


def end_with_refused(refused: Sequence[Mapping[str, Any]]) -> None:
    """Name each refused input on stderr and exit as done in part; do nothing without one."""
    for problem in refused:
        sentence = f"refused, {problem['code']}: {problem['message']}"
        notes.print(sentence, markup=False, soft_wrap=True)
    if refused:
        raise typer.Exit(DONE_IN_PART)


@contextmanager
def ending_politely(sentence: str = "") -> Iterator[None]:
    """End on Ctrl-C, or a polite request to end, in words and not in a traceback.

    Parameters
    ----------
    sentence : what is kept, and how to go on
        Of several around each other the innermost speaks. One around Ray's start is not told of a
        polite request, which Ray takes for itself; put one inside too.
    """
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        notes.print(f"spectrum: interrupted. {sentence}".rstrip(), markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, earlier)


def print_text(text: str) -> None:
    """Print a result for people on stdout."""
    sys.stdout.write(text + "\n")


@contextmanager
def progress_bar(title: str, *, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr; yields a callback that takes what is done and the total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _BinarySpeedColumn(TransferSpeedColumn):
    """A rate in the units of all other sizes; rich's own counts in thousands."""

    def render(self, task: Task) -> Text:
        """Return the rate of a task."""
        speed = task.finished_speed or task.speed
        return Text("?" if speed is None else f"{size_text(speed)}/s", style="progress.data.speed")


@contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of bytes with rate and time left; yields a callback as ``progress_bar`` does.

    The bar vanishes where nothing was counted before an error.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(binary_units=True),
        _BinarySpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.live.transient = False
            bar.update(task, completed=done, total=total)

        yield show
