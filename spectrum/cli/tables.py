"""Rows of cells as aligned text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[object]], *, num_words: int) -> list[str]:
    """Return rows as lines whose columns stand below each other.

    Parameters
    ----------
    rows : cells, as many in each row
    num_words : columns at the left that are words; the others are numbers and end flush
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < num_words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]
