"""What was found in an image that can be read: odd but usable, or a reason to refuse it.

Not here: how it is found (``orientation``, ``voxels``), and who is told (``images``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "listed"]

NUM_LISTED = 5
"""Indices that a sentence names before it only counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with an image.

    ``code`` is kebab-case; ``message`` is two sentences that name no file; ``volumes`` are the
    volumes at fault, counted from 0, empty where it is the header or the whole run;
    ``is_refusal`` tells whether the run is unusable.
    """

    code: str
    message: str
    volumes: tuple[int, ...] = ()
    is_refusal: bool = False


def listed(indices: tuple[int, ...]) -> str:
    """Return indices as words: the first few, and how many there are.

    Examples
    --------
    >>> listed((3, 4))
    '3, 4'
    >>> listed(tuple(range(9)))
    '0, 1, 2, 3, 4 and 4 more'
    """
    named = ", ".join(map(str, indices[:NUM_LISTED]))
    more = len(indices) - NUM_LISTED
    return f"{named} and {more} more" if more > 0 else named
