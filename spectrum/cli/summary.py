"""The summary of a study in words: never a score without its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectrum.cli.tables import ladder_lines, with_interval

__all__ = ["each_text", "search_json", "search_text"]


def search_json(result: Mapping[str, Any], *, aim_repo: str, report: Path) -> dict[str, Any]:
    """Add where to look to the object that ``spectrum search --json`` prints."""
    return {**result, "aim_repo": aim_repo, "report": str(report)}


def search_text(told: Mapping[str, Any], *, is_alone: bool = True) -> str:
    """Write the summary of a study for people; of several their seals are opened together."""
    best, default = told["best"], told["default"]
    trials = (
        f"{told['num_trials']} trials ({told['num_pruned']} pruned, {told['num_failed']} failed)"
        f" in {told['seconds']:.0f} s"
    )
    if best is None:
        return f"{trials}. No trial finished; see {told['study']}/trials.jsonl for the causes."
    lines = [
        trials,
        f"best     {with_interval(best)}  trial {best['trial']}; selected, so optimistic"
        f"{_unmasked(best)}",
        *_rerun_lines(best, default, told.get("selection")),
        f"default  {with_interval(default)}  the space's default configuration"
        if default
        else "default  did not finish",
        f"floor    {with_interval(told['floor'])}  acquisition numbers only, same folds",
        *ladder_lines(told.get("ladder"), "default recipe, same folds"),
        f"majority {told['majority']['score']:.3f}",
        f"chance   {best['chance']:.3f}",
        *_front(told),
        *_saved(told),
        *_sealed(told),
        told["verdict"],
        f"report: {told['report']}",
        "next:",
        _look(told["aim_repo"]),
        f"  spectrum report {told['study']} --open",
        *(_unseal(told) if is_alone else ()),
    ]
    return "\n".join(lines)


def each_text(folder: Path, told: Sequence[Mapping[str, Any]]) -> str:
    """Say how the seals of several studies are opened together, where one is not opened yet."""
    if all(one["sealed"]["opened"] for one in told):
        return f"The seals of all {len(told)} studies were opened."
    return (
        f"next, to score all {len(told)} studies together on everyone they sealed:\n"
        f"  spectrum unseal {folder} BIDS_ROOT...   (once, when all searches are over)"
    )


def _look(aim_repo: str) -> str:
    if "://" in aim_repo:
        return f"  spectrum ui FOLDER, where FOLDER is that of the Aim server ({aim_repo})"
    return f"  spectrum ui {aim_repo}"


def _rerun_lines(
    best: Mapping[str, Any], default: Mapping[str, Any] | None, selection: Mapping[str, Any] | None
) -> list[str]:
    """Tell what the selected trial scored with new seeds, and the default beside it."""
    if not best.get("rerun") or not selection:
        return []
    again = {*map(int, selection["scores"]), *selection["failed"]} - set(selection["beside"])
    beside = (default or {}).get("rerun")
    told = f"; default {beside['mean']:.3f}" if beside else ""
    return [
        f"re-run   {best['rerun']['mean']:.3f}{told}  means over {len(best['rerun']['scores'])} "
        f"new seeds; the highest of {len(again)} on the same subjects, selected too",
        *(
            ["         the default's mean is higher; it was not among the best and could not win"]
            if beside and 0 in selection["beside"] and beside["mean"] > best["rerun"]["mean"]
            else []
        ),
    ]


def _saved(told: Mapping[str, Any]) -> list[str]:
    """Tell what stopping early saved, over epochs and over folds."""
    return [
        f"saved    {part['fold_epochs']} epochs of folds, {part['folds']} folds: "
        f"{part['trials']} trials stopped over {axis}"
        for axis, part in (told.get("saved") or {}).items()
    ]


def _sealed(told: Mapping[str, Any]) -> list[str]:
    """Tell whom the search never saw."""
    return [f"sealed   {told['sealed']['sentence']}"] if told.get("sealed") else []


def _unseal(told: Mapping[str, Any]) -> list[str]:
    """Tell how the seal is opened, where it is not."""
    if not told.get("sealed") or told["sealed"]["opened"]:
        return []
    return [f"  spectrum unseal {told['study']} BIDS_ROOT...   (once, when the search is over)"]


def _front(told: Mapping[str, Any]) -> list[str]:
    """Tell the trials that no other one beats in all objectives."""
    return [
        "front    "
        + ", ".join(f"{name} {value:.4g}" for name, value in point.items() if name != "trial")
        + f"  trial {point['trial']}"
        for point in told.get("front") or ()
    ]


def _unmasked(best: Mapping[str, Any]) -> str:
    """Return the label of a score whose recipe leaves the air around the head in."""
    masked = best["config"]["preprocessing"]["brain_mask"]
    return "" if masked else "; unmasked: air is part of the input"
