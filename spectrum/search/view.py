"""What a reader sees of a study folder, also while a search writes it or after it was killed.

Readers never write: a line that has no end yet is left out here, and cut only by the search that
owns the folder (``folder``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.config.files import parse_json
from spectrum.errors import SearchError
from spectrum.records import Prediction, TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.json_lines import parse_line
from spectrum.search.ladders import read_ladder
from spectrum.search.selection import Selection, is_rerun, ranked, selection_from_json
from spectrum.search.trial_json import record_from_json
from spectrum.storage import told_place

__all__ = ["StudyView", "view_study"]


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as its files say: manifest, the line of each ended trial, and the trials begun.

    ``floor`` and ``default`` are the JSON of the study's floor and of its default configuration's
    score, None where they are not there yet. ``reruns`` are the lines of the re-runs, which
    ``lines`` leaves out; ``selection`` is what they led to, None where trials ended since.
    ``front`` are the Pareto-best trials of a study of several objectives, ``ladder`` the JSON of
    the simpler models on the same folds, None where none was fitted.
    """

    path: Path
    manifest: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    unfinished: tuple[int, ...]
    floor: Mapping[str, Any] | None
    default: Mapping[str, Any] | None
    reruns: tuple[Mapping[str, Any], ...] = ()
    selection: Selection | None = None
    front: tuple[int, ...] = ()
    ladder: Mapping[str, Any] | None = None

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of all trials that the folder knows."""
        return frozenset({line["number"] for line in self.lines} | set(self.unfinished))

    @property
    def complete(self) -> tuple[Mapping[str, Any], ...]:
        """Lines of the complete trials, the highest score first, the first of equals first."""
        return tuple(ranked({line["number"]: line for line in self.lines}))

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The selected trial: of the highest mean over its re-runs, or of the highest score."""
        if self.selection is not None:
            winner = self.selection.winner
            return next(line for line in self.complete if line["number"] == winner)
        return next(iter(self.complete), None)

    def tags_of(self, number: int) -> tuple[str, ...]:
        """Return the tags that a trial has by its place in the study."""
        best = ("best",) if self.best is not None and number == self.best["number"] else ()
        pareto = ("pareto",) if number in self.front else ()
        return (*best, *pareto, "default") if number == 0 else (*best, *pareto)

    def records_of(self, number: int) -> tuple[TrialEpochRecord, ...]:
        """Return the epochs of a trial in the order in which they were written."""
        lines = _whole_lines(self.path / "trials" / str(number) / "records.jsonl")
        return tuple(record_from_json(line) for line in lines)

    def predictions_of(self, number: int) -> tuple[Prediction, ...]:
        """Return what a complete trial says of each held-out unit; nothing where it wrote none."""
        values = _json_or_none(self.path / "trials" / str(number) / "predictions.json") or ()
        return tuple(Prediction.from_json(value) for value in values)


def view_study(folder: Path) -> StudyView:
    """Read a study folder.

    Raises
    ------
    SearchError
        Where there is no study, or its manifest, its ladder or a line was damaged.
    """
    if not StudyFolder(folder).exists:
        raise SearchError(
            f"{told_place(folder)} holds no study (study.json). Give the folder that a search "
            "made, such as studies/quickstart."
        )
    all_lines = {line["number"]: line for line in _whole_lines(folder / "trials.jsonl")}
    by_number = {number: line for number, line in all_lines.items() if not is_rerun(number)}
    reruns = tuple(all_lines[number] for number in sorted(all_lines.keys() - by_number.keys()))
    numbers = (int(path.name) for path in folder.glob("trials/*") if path.name.isdigit())
    begun = {number for number in numbers if not is_rerun(number)}
    selection = _json_or_none(folder / "selection.json")
    is_current = selection is not None and selection["num_trials"] == len(by_number)
    return StudyView(
        path=folder,
        manifest=StudyFolder(folder).read_manifest(),
        lines=tuple(by_number[number] for number in sorted(by_number)),
        unfinished=tuple(sorted(begun - by_number.keys())),
        floor=_json_or_none(folder / "floor.json"),
        default=_json_or_none(folder / "default.json"),
        reruns=reruns,
        selection=selection_from_json(selection) if is_current else None,
        front=tuple((_json_or_none(folder / "front.json") or {"trials": ()})["trials"]),
        ladder=read_ladder(folder),
    )


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, text in enumerate(lines, start=1):
        try:
            yield parse_line(path, number, text, signed=False)
        except SearchError:
            if number < len(lines):
                raise


def _json_or_none(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SearchError(f"{path} is damaged: {err}. Restore the file.") from err
