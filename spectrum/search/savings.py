"""What early stopping saved: epochs of folds that stopped trials did not train.

Counted against the trials that ran whole. Pure; not here: who stopped them (``driver``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["savings"]


def savings(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return, for stopping over epochs and over folds, the trials stopped and what they spared.

    Parameters
    ----------
    lines : of ended trials

    Returns
    -------
    saved : ``trials``, and ``fold_epochs`` (epochs of one fold) and ``folds`` never begun
        Empty while no trial is complete.
    """
    lines = list(lines)
    num_folds = max((len(line["folds"]) for line in lines), default=0)
    saved: dict[str, dict[str, int]] = {}
    for line in lines:
        if not line.get("stopped_by") or not num_folds:
            continue
        told = saved.setdefault(line["stopped_by"], {"trials": 0, "fold_epochs": 0, "folds": 0})
        epochs, folds = _spared(line, num_folds)
        told["trials"] += 1
        told["fold_epochs"] += epochs
        told["folds"] += folds
    return saved


def _spared(line: Mapping[str, Any], num_folds: int) -> tuple[int, int]:
    """Return the epochs of folds, and the folds, that a stopped trial did not train."""
    training = line["config"]["training"]
    num_epochs, done = training["num_epochs"], line["num_epochs"]
    if training.get("fold_order", "epoch") == "epoch":
        return (num_epochs - done) * num_folds, 0
    return num_epochs * num_folds - done, num_folds - -(-done // num_epochs)
