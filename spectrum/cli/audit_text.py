"""An audit and a ladder of baselines as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from spectrum.cli.tables import aligned, interval, with_interval

__all__ = ["audit_text", "ladder_text"]

REMEDY: Final = {
    "tables": "Give --quality FILE.tsv, or make shards (spectrum prepare) and audit them.",
    "shards": "Motion is known with preprocessing.motion_correction or a table of fMRIPrep.",
}
"""What makes unknown numbers known, by what was audited."""


def audit_text(told: Mapping[str, Any]) -> str:
    """Return an audit's JSON for people; the verdict comes last, where it is seen."""
    parts = [
        _counts(told),
        _design(told),
        _acquisition(told),
        [*_floor(told)],
        [*_copies(told["duplicates"])],
        _power(told),
        [told["verdict"]],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def ladder_text(told: Mapping[str, Any]) -> str:
    """Return a ladder's JSON for people, one line a rung."""
    head: list[object] = ["rung", "score", "95 % interval", "p", "above floor", "seconds"]
    rows: list[list[object]] = [head]
    for rung in told["rungs"]:
        above = rung["above_floor"]
        gain = f"{above['difference']:+.3f} (p = {above['p']:.4f})" if above else ""
        numbers = (f"{rung['score']:.3f}", interval(rung), f"{rung['p']:.4f}", gain)
        rows.append([rung["name"], *numbers, f"{rung['seconds']:.1f}"])
    lines = [
        f"`{told['target']}`, {told['scheme']}: {told['num_units']} units, "
        f"{told['num_groups']} subject(s), chance {told['chance']:.3f}",
        "",
        *aligned(rows, num_words=1),
        *(
            f"{rung['name']}: p = {rung['permutation']['p']:.4f}, refitted with "
            f"{rung['permutation']['test']}"
            for rung in told["rungs"]
            if rung["permutation"]
        ),
        *(f"{name} is skipped: {reason}" for name, reason in told["skipped"].items()),
    ]
    return "\n".join(lines)


def _counts(told: Mapping[str, Any]) -> list[str]:
    classes = list(told["classes"])
    head = ["data set", "task", "session", "run", *classes]
    names = ("dataset", "task", "session", "run")
    rows: list[list[object]] = []
    for place, group in groupby(told["counts"], key=lambda row: [row[name] for name in names]):
        count_of = {row["class"]: row["num_units"] for row in group}
        rows.append([*place, *(count_of.get(name, 0) for name in classes)])
    return aligned([head, *rows], num_words=4)


def _design(told: Mapping[str, Any]) -> list[str]:
    rows: list[list[object]] = [["design alone", "score", "95 % interval", ""]]
    for name, found in told["design"].items():
        note = "defines the target" if found["defines_target"] else ""
        rows.append([name, f"{found['score']:.3f}", interval(found), note])
    return aligned(rows, num_words=1)


def _acquisition(told: Mapping[str, Any]) -> list[str]:
    last = "higher later" if told["directions"] else ""
    rows: list[list[object]] = [["acquisition alone", "score", "95 % interval", last]]
    scored = {
        **told["acquisition"],
        **{f"{name} *": found for name, found in told["response"].items()},
        **{f"{name} **": found for name, found in told["mask"].items()},
    }
    for name, found in scored.items():
        rows.append([name, f"{found['score']:.3f}", interval(found), _direction(name, told)])
    lines = aligned(rows, num_words=1)
    if told["response"]:
        lines.append("* may be the BOLD response itself: no part of the floor")
    if told["mask"]:
        lines.append("** of this recipe's brain masks: no part of the floor")
    if told["missing"]:
        lines.append(f"unknown: {', '.join(told['missing'])}. {REMEDY[told['source']]}")
    return lines


def _direction(name: str, told: Mapping[str, Any]) -> str:
    found = told["directions"].get(name)
    return f"{found['num_higher']} of {found['num_pairs']} pairs" if found else ""


def _floor(told: Mapping[str, Any]) -> Iterator[str]:
    floor, majority = told["floor"], told["majority"]
    yield f"floor     {with_interval(floor)}  all of these in one model"
    if told["floor_with_mask"]:
        found = told["floor_with_mask"]
        yield f"with mask {with_interval(found)}"
    yield f"majority  {majority['score']:.3f}"
    yield f"chance    {told['chance']:.3f}"


def _copies(copies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not copies:
        yield "No image was found under two names."
    for copy in copies:
        where = f"on both sides of {', '.join(copy['folds'])}" if copy["folds"] else "in no fold"
        yield f"one image ({copy['why']}), {where}: {', '.join(copy['runs'])}"


def _power(told: Mapping[str, Any]) -> list[str]:
    unit = "pairs" if told["directions"] else "units"
    wanted = ("needed for p < 0.05", "80 % power from", "above a guessing floor from")
    rows: list[list[object]] = [["held out", "subjects", unit, *wanted]]
    for name, power in told["power"].items():
        numbers = (power["needed"], power["smallest"], power["smallest_above_floor"])
        cells = ["none" if value is None else f"{value:.2f}" for value in numbers]
        rows.append([name, power["num_subjects"], power["num_units"], *cells])
    return aligned(rows, num_words=1)
