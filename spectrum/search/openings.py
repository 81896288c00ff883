"""The openings of a study's seal, in an order that no kill can turn into a look for free.

An opening is a line of ``openings.jsonl`` before anything is said of a sealed subject, and a line
of ``unsealed.jsonl`` with what it found after that. One without the other was cut short: it has
counted, with the configuration that it began with, and is finished before another one begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from spectrum.errors import SearchError
from spectrum.search.json_lines import append_line, cut_torn_tail, read_lines
from spectrum.search.sealing import OPENINGS_NAME, UNSEALED_NAME

__all__ = ["Opening", "Openings", "Wanted", "opening_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an opening scores: a trial, its refit's configuration, and how it was selected."""

    trial: int
    config: Mapping[str, Any]
    num_trials: int
    num_reruns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One look at the sealed people; ``data`` is the content hash of all that it reads."""

    look: int
    opened: str
    again: bool
    data: str
    wanted: Wanted

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        told = asdict(self)
        return {**{k: v for k, v in told.items() if k != "wanted"}, **told["wanted"]}


class Openings:
    """The openings of one study; the study is locked by the caller.

    Parameters
    ----------
    study : its folder
    """

    def __init__(self, study: Path) -> None:
        self._begun, self._found = study / OPENINGS_NAME, study / UNSEALED_NAME
        for path in (self._begun, self._found):
            cut_torn_tail(path)
        self.openings = [_opening(line) for line in read_lines(self._begun, signed=True)]
        self.lines = read_lines(self._found, signed=True)
        looks = [opening.look for opening in self.openings]
        found = [line["look"] for line in self.lines]
        if looks != list(range(1, len(looks) + 1)) or not set(found) <= set(looks):
            raise SearchError(
                f"{self._begun} and {self._found} do not belong together: an opening is missing. "
                "Restore both files."
            )

    @property
    def cut_short(self) -> Opening | None:
        """The opening that has begun and found nothing yet; None without one."""
        found = {line["look"] for line in self.lines}
        last = self.openings[-1] if self.openings else None
        return last if last is not None and last.look not in found else None

    def refuse_another(self) -> None:
        """Raise SearchError with what was found, where the seal was opened."""
        if not self.lines:
            return
        line = self.lines[-1]
        low, high = line["score"]["ci95"]
        raise SearchError(
            f"The seal was opened on {line['opened']}: trial {line['trial']} scored "
            f"{line['score']['value']:.3f} [{low:.3f}, {high:.3f}] beside a floor of "
            f"{line['floor']['value']:.3f}, p = {line['p_corrected']:.4f}. A further look weighs "
            "less: give "
            "--again to take it, which is noted and corrects p for all looks."
        )

    def begin(self, wanted: Wanted, *, data: str, now: datetime, again: bool) -> Opening:
        """Return the opening to be done: the one cut short, or a new one, noted on disk.

        Parameters
        ----------
        wanted : ignored where one was cut short
        data : content hash of what is read
        now : with a zone
        again : whether a further look was asked for

        Raises
        ------
        SearchError
            Where the data are not those that an opening that was cut short began with, and no
            further look was asked for.
        """
        cut = self.cut_short
        if cut is not None and cut.data == data:
            return cut
        if cut is not None and not again:
            raise SearchError(
                f"The opening of {cut.opened} was cut short, and the data have changed since "
                f"(content {cut.data[:12]}, now {data[:12]}). Restore them to finish it, or give "
                "--again for a further look."
            )
        if not again:
            self.refuse_another()
        opening = Opening(
            look=len(self.openings) + 1,
            opened=now.isoformat(timespec="seconds"),
            again=bool(self.openings),
            data=data,
            wanted=wanted,
        )
        append_line(self._begun, opening.to_json())
        self.openings.append(opening)
        return opening

    def end(self, opening: Opening, found: Mapping[str, Any]) -> dict[str, Any]:
        """Note what an opening found; return its line."""
        line = {**opening.to_json(), **found}
        append_line(self._found, line)
        self.lines.append(line)
        return line


def opening_json(line: Mapping[str, Any], study: Path) -> dict[str, Any]:
    """Return the line of an opening as ``spectrum unseal --json`` prints it."""
    return {
        **line,
        "study": str(study),
        "score": line["score"]["value"],
        "ci95": list(line["score"]["ci95"]),
        "chance": line["score"]["chance"],
        "floor": {"score": line["floor"]["value"], "ci95": list(line["floor"]["ci95"])},
        "by_subject": line["score"]["by_group"],
    }


def _opening(line: Mapping[str, Any]) -> Opening:
    names = ("trial", "config", "num_trials", "num_reruns")
    return Opening(
        look=line["look"],
        opened=line["opened"],
        again=line["again"],
        data=line["data"],
        wanted=Wanted(**{name: line[name] for name in names}),
    )
