"""Addresses of a store on the command line: each stands for its working copy on this machine.

Not here: how a search keeps its study stored while it runs (``spectrum.search.stored``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.cli.console import print_notes
from spectrum.errors import StorageError

__all__ = ["WITH_SCHEME", "stored_words", "with_addresses"]

ROOT_OPTIONS: Final = ("--studies", "--shards")
"""What they name is read by a search, which fetches what it needs."""

SENT: Final = "submit"
"""Command whose words are for another machine, which has working copies of its own."""

WITH_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
"""How an address begins; a Path of one has lost the second slash."""


@contextmanager
def stored_words(words: Sequence[str]) -> Iterator[list[str]]:
    """Replace addresses by their working copies, and store what was changed there in the end.

    A study is fetched where another machine has gone on with it.

    Parameters
    ----------
    words : the command line

    Raises
    ------
    StorageError
        A store refuses or does not answer, or another machine has gone on with a study that was
        changed here.
    """
    if SENT in words[:3]:
        yield list(words)
        return
    studies: dict[Path, str] = {}
    local = [_local(*pair, studies) for pair in zip(words, ["", *words], strict=False)]
    try:
        yield local
    finally:
        for folder, address in studies.items():
            _push(folder, address)


def with_addresses(text: str) -> str:
    """Return a message with the address of each working copy of this machine that it names."""
    from spectrum.storage import copies_in

    try:
        untold = [copy for copy in copies_in(text) if copy.address not in text]
    except (RuntimeError, OSError):
        # Who has no home folder has no copies to tell of, and the message counts.
        return text
    return " ".join(
        [text, *(f"{copy.path} is this machine's copy of {copy.address}." for copy in untold)]
    )


def _local(word: str, before: str, studies: dict[Path, str]) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    is_root = (option or before) in ROOT_OPTIONS
    if not ("://" in value or (is_root and WITH_SCHEME.match(value))):
        return word
    from spectrum.storage import is_address, working_copy

    if not is_root and not is_address(value):
        return word
    folder = working_copy(value).path if is_root else _folder_of(value, studies)
    return f"{option}{equals}{folder}"


def _folder_of(address: str, studies: dict[Path, str]) -> Path:
    from spectrum.search.stored import fetch_study, stored_studies
    from spectrum.storage import working_copy

    above, _, name = address.rstrip("/").rpartition("/")
    if not above.endswith("/"):
        folder = working_copy(above).path / name
        if fetch_study(folder, address):
            studies[folder] = address
            return folder
    copy = working_copy(address)
    for one in stored_studies(address):
        studies[copy.path / one] = f"{copy.address}/{one}"
    return copy.path


def _push(folder: Path, address: str) -> None:
    from spectrum.search.stored import push_study

    if not folder.is_dir():
        return
    try:
        push_study(folder, address)
    except StorageError as err:
        print_notes([f"{folder} was not stored. {err}"])
