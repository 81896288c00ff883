"""An inspection as text: a table of runs and classes, and the problems by kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spectrum.cli.tables import aligned

__all__ = ["inspection_text"]

MAX_SHOWN = 3
"""Problems of one kind that are written out; --json lists all."""


def inspection_text(result: Mapping[str, Any]) -> str:
    """Return what ``inspect_table`` found, for people."""
    pairs = f", {result['num_pairs']} pairs" if result["is_paired"] else ""
    lines = [
        f"{result['num_runs']} runs, {result['num_usable']} of them usable; "
        f"{result['target']} labels {sum(result['classes'].values())} {result['unit']}s of "
        f"{result['num_subjects']} subjects{pairs}.",
        "",
        *_table(result),
        "",
        *(f"{finding['code']}: {finding['message']}" for finding in result["findings"]),
        *_problems(result["problems"], has_findings=bool(result["findings"])),
    ]
    return "\n".join(lines)


def _table(result: Mapping[str, Any]) -> list[str]:
    classes = list(result["classes"])
    head = ["data set", "task", "runs", "usable", *classes, "no class"]
    rows = [
        [
            row["dataset"],
            row["task"],
            row["num_runs"],
            row["num_usable"],
            *(row["classes"][name] for name in classes),
            row["unlabelled"],
        ]
        for row in result["table"]
    ]
    sums = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
    return aligned([head, *rows, ["all", "", *sums]], num_words=2)


def _problems(problems: Sequence[Mapping[str, Any]], *, has_findings: bool) -> list[str]:
    if not problems:
        return [] if has_findings else ["No problem was found."]
    of_code: dict[str, list[Mapping[str, Any]]] = {}
    for problem in sorted(problems, key=lambda problem: not problem["refuses"]):
        of_code.setdefault(problem["code"], []).append(problem)
    refused = sum(problem["refuses"] for problem in problems)
    lines = [f"{len(problems)} problems, {refused} of them refuse a run or a file:"]
    for code, members in of_code.items():
        lines += _kind(code, members)
    return lines


def _kind(code: str, members: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    effect = "refused" if members[0]["refuses"] else "noted"
    yield f"  {code}: {len(members)}, {effect}"
    yield from (f"    {member['message']}" for member in members[:MAX_SHOWN])
    if len(members) > MAX_SHOWN:
        yield f"    ... and {len(members) - MAX_SHOWN} more; --json lists all"
