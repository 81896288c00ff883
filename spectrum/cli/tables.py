"""Rows of cells as aligned text, and scores with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["aligned", "interval", "ladder_lines", "with_interval"]


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


def interval(found: Mapping[str, Any]) -> str:
    """Return the interval of a score, ``ci95``."""
    low, high = found["ci95"]
    return f"[{low:.3f}, {high:.3f}]"


def with_interval(found: Mapping[str, Any]) -> str:
    """Return ``score`` and its interval."""
    return f"{found['score']:.3f}  {interval(found)}"


def ladder_lines(rungs: Mapping[str, Any] | None, where: str) -> list[str]:
    """Return a line for each simpler model, or one that none was fitted.

    Parameters
    ----------
    rungs : ``score``, ``ci95`` and ``about`` by name
    where : on what they were fitted and scored
    """
    if not rungs:
        return ["ladder   no simpler model was fitted"]
    return [
        f"{name:8} {with_interval(rung)}  {rung['about']}, {where}" for name, rung in rungs.items()
    ]
