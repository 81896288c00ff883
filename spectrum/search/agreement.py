"""Journal and ``trials.jsonl`` are brought to agree when a study is opened, or it is refused.

The line of a trial is written before the journal is told, so a kill leaves a line that the journal
lacks, never the other way round; whatever else differs is damage. Not here: the tracker, which may
lag behind (``driver``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.optuna_study import TrialJournal

__all__ = ["bring_to_agree"]


def bring_to_agree(
    folder: StudyFolder, journal: TrialJournal, lines: Mapping[int, Mapping[str, Any]]
) -> None:
    """Tell the journal of lines that it lacks.

    Raises
    ------
    SearchError
        Where one of the two knows a trial that the other does not, or knows it otherwise.
    """
    outcomes = journal.outcomes
    for number, line in lines.items():
        if number not in outcomes:
            raise SearchError(_lacks(folder, number, "trials.jsonl", "the journal"))
        if outcomes[number] is None:
            journal.tell(number, line["state"], values=journal.values_in(line))
        found = journal.difference(number, line)
        if found:
            raise SearchError(
                f"{folder.path}: of trial {number} the journal says {found[0]}, trials.jsonl "
                f"{found[1]}. One of the two files was damaged; restore it, or search under "
                "another name."
            )
    for number, outcome in outcomes.items():
        if outcome is not None and number not in lines:
            raise SearchError(_lacks(folder, number, "the journal", "trials.jsonl"))


def _lacks(folder: StudyFolder, number: int, having: str, lacking: str) -> str:
    return (
        f"{folder.path}: {having} has trial {number} as ended, {lacking} does not know it. "
        "A file of the study was removed or damaged; restore it, or search under another name."
    )
