"""The shard sets of a study while it runs: held against others, and told where it removes some.

Not here: how sets are held and removed (``spectrum.data.holders``, ``spectrum.data.store``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.data.describing import size_text
from spectrum.data.holders import holding
from spectrum.data.store import evictions
from spectrum.search.folder import StudyFolder
from spectrum.search.json_lines import append_line

__all__ = ["EVENTS", "sets_held"]

EVENTS: Final = "events.jsonl"
"""In the folder of a study: what happened besides trials, one a line."""


@contextmanager
def sets_held(
    study: StudyFolder, shards_root: Path, on_note: Callable[[str], None]
) -> Iterator[str]:
    """Hold sets for a study while it runs; yields the holder's name, for its trials.

    In the end each set that the study removed, to stay within ``study.disk_gib``, is a line of
    ``events.jsonl``, and all of them are one sentence.

    Parameters
    ----------
    study : its folder
    shards_root : folder of all shard sets
    on_note : told the sentence
    """
    with holding(shards_root, study.path.name) as holder:
        try:
            yield holder
        finally:
            told = evictions(shards_root, by=holder)
            for line in told:
                append_line(study.path / EVENTS, {"event": "evicted", **line})
            if told:
                size = size_text(sum(line["num_bytes"] for line in told))
                recipes = "; ".join(dict.fromkeys(line["recipe"] for line in told))
                on_note(
                    f"{len(told)} shard sets ({size}) were removed to stay within "
                    f"study.disk_gib: {recipes}."
                )
