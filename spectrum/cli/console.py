"""What commands share: JSON on stdout, everything else on stderr, one sentence for an error.

Not here: how far a command is (``progress``).
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import IO, Any, Final, cast

import typer
from rich.console import Console

__all__ = [
    "DONE_IN_PART",
    "INTERRUPTED",
    "end_with_refused",
    "ending_politely",
    "has_terminal",
    "is_quiet",
    "notes",
    "print_json",
    "print_notes",
    "print_text",
    "say",
    "set_quiet",
    "visible",
]

DONE_IN_PART = 3
"""Exit code when some inputs were refused and the others are done."""

INTERRUPTED = 130
"""Exit code after SIGINT, as shells count it (128 + 2); after SIGTERM it is 143."""

POLITE: Final = (signal.SIGTERM, signal.SIGHUP)
"""Requests to end, beside Ctrl-C: of a scheduler, and of a terminal that goes."""

HIDDEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it, but for the ends of lines and tabulators; and what
turns the order of what follows."""


class _Stderr:
    """The process's stderr of the moment; one whose terminal is gone takes nothing.

    Work goes on without it, as after ``disown``, and is ended in order where it is to end.
    """

    @property
    def rich_proxied_file(self) -> _Stderr:
        """What rich writes to, also while a table of its own stands in for stderr."""
        return self

    @property
    def _file(self) -> Any:
        """The file beneath such a table; None where Python was started with stderr closed."""
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def write(self, text: str) -> int:
        """Write, and return how much there was to write."""
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def __getattr__(self, name: str) -> Any:
        """Return whatever else a console asks its file for."""
        return getattr(self._file, name)


class _Notes(Console):
    """A console whose sentences, with whatever names stand in them, command no terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; what is hidden in texts is shown."""
        shown = (visible(each) if isinstance(each, str) else each for each in objects)
        super().print(*shown, **options)


def visible(text: str) -> str:
    r"""Return a text with control characters as escapes.

    Examples
    --------
    >>> print(visible("sub-01\x1b[2J"))
    sub-01\x1b[2J
    """
    return HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


notes = _Notes(file=cast("IO[str]", _Stderr()), stderr=True, highlight=False)
"""Progress, warnings and errors."""

_QUIET: Final[ContextVar[bool]] = ContextVar("quiet", default=False)


def set_quiet(quiet: bool) -> None:
    """Have the command that is being called leave progress and notes away, or not."""
    _QUIET.set(quiet)


def is_quiet() -> bool:
    """Tell whether progress and notes are left away."""
    return _QUIET.get()


def has_terminal() -> bool:
    """Tell whether stderr is a terminal that can redraw a line."""
    return notes.is_terminal and not notes.is_dumb_terminal


def say(sentence: str) -> None:
    """Tell on stderr what is being done; nothing with ``--quiet``."""
    if not is_quiet():
        notes.print(sentence, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one machine-readable object on stdout."""
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")


def print_notes(sentences: Iterable[str]) -> None:
    """Print what a user should know besides the result, on stderr; not with ``--quiet``."""
    for sentence in sentences:
        say(f"note: {sentence}")


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
        Of several around each other the innermost speaks.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    earlier = _take_signals(dict.fromkeys(POLITE, stop))
    try:
        yield
    except KeyboardInterrupt:
        notes.print(f"spectrum: interrupted. {sentence}".rstrip(), markup=False, soft_wrap=True)
        raise typer.Exit(128 + came[0] if came else INTERRUPTED) from None
    finally:
        _take_signals(earlier)


def _take_signals(handlers: Mapping[signal.Signals, Any]) -> dict[signal.Signals, Any]:
    """Set handlers and return those before; in a thread, or where ``nohup`` ignores, none is."""
    earlier: dict[signal.Signals, Any] = {}
    with suppress(ValueError):
        for number, handler in handlers.items():
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            earlier[number] = signal.signal(number, handler)
    return earlier


def print_text(text: str) -> None:
    """Print a result for people on stdout."""
    sys.stdout.write(visible(text) + "\n")
