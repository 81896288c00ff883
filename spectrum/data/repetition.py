"""Which repetition time counts, from what the header and the sidecar of a run say. No I/O."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from spectrum.data.runs import Problem

__all__ = ["TR_RANGE_S", "TR_TOLERANCE_S", "decide_tr"]

TR_TOLERANCE_S: Final = 1e-3
"""Headers hold 32-bit floats and rounded milliseconds; what differs more is another TR."""

TR_RANGE_S: Final = (0.05, 30.0)
"""Seconds taken for real. MR encephalography, the fastest, has 0.1 s (Asslaender et al. 2013,
NeuroImage 73:59); values beyond are milliseconds, or a field that nobody filled in."""


def decide_tr(
    path: Path,
    *,
    in_header_s: float | None,
    in_sidecar_s: float | None,
    tr_from: Literal["agreed", "header", "sidecar"],
) -> tuple[float | None, Problem | None]:
    """Return the TR of a run in seconds, and what is wrong with it.

    Parameters
    ----------
    path : the image, named in the problem
    in_header_s, in_sidecar_s : seconds, or None where it is not told
    tr_from : whose word counts where both are told and differ

    Returns
    -------
    tr_s, problem
        The sidecar's value where the two agree, as it is the less rounded one. None with a
        refusing problem where nothing is told (``no-tr``), where they differ and nobody has
        decided (``tr-mismatch``), and where the value is no repetition time (``odd-tr``).
    """
    if in_sidecar_s is None or in_header_s is None:
        tr_s = in_header_s if in_sidecar_s is None else in_sidecar_s
    elif abs(in_sidecar_s - in_header_s) <= TR_TOLERANCE_S or tr_from == "sidecar":
        tr_s = in_sidecar_s
    elif tr_from == "header":
        tr_s = in_header_s
    else:
        return None, _mismatch(path, in_header_s, in_sidecar_s)
    if tr_s is None:
        return None, _untold(path)
    return (tr_s, None) if TR_RANGE_S[0] <= tr_s <= TR_RANGE_S[1] else (None, _odd(path, tr_s))


def _mismatch(path: Path, in_header_s: float, in_sidecar_s: float) -> Problem:
    message = (
        f"{path} has a TR of {in_header_s:g} s in its header and {in_sidecar_s:g} s in its "
        "sidecar. Decide with --tr-from header or --tr-from sidecar, or correct the wrong one."
    )
    return Problem(code="tr-mismatch", path=str(path), message=message, refuses=True)


def _untold(path: Path) -> Problem:
    message = (
        f"No sidecar has a RepetitionTime for {path}, and no header a time step. "
        "Add RepetitionTime, in seconds, to its JSON sidecar."
    )
    return Problem(code="no-tr", path=str(path), message=message, refuses=True)


def _odd(path: Path, tr_s: float) -> Problem:
    message = (
        f"{path} has a TR of {tr_s:g} s. Expected {TR_RANGE_S[0]:g} to {TR_RANGE_S[1]:g} s; "
        "RepetitionTime counts seconds, not milliseconds: correct it."
    )
    return Problem(code="odd-tr", path=str(path), message=message, refuses=True)
