"""Commands about studies that exist: study list, show, diff, track and rm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from spectrum.cli.console import notes, print_json, print_text
from spectrum.cli.options import AimOption, JsonOption
from spectrum.errors import ConfigError, SearchError

__all__ = ["register"]

StudyArgument = Annotated[Path, typer.Argument(help="Folder of a study.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    study_app = typer.Typer(
        help="Studies: list, show, compare, track, remove.", no_args_is_help=True
    )
    study_app.command("list")(list_)
    study_app.command("show")(show)
    study_app.command("diff")(diff)
    study_app.command("track")(track)
    study_app.command("rm")(remove)
    app.add_typer(study_app, name="study")


def list_(
    studies: Annotated[Path, typer.Argument(help="Folder that holds the studies.")] = Path(
        "studies"
    ),
    as_json: JsonOption = False,
) -> None:
    """List the studies of a folder: trials, state, and the selected score.

    Example: spectrum study list studies
    """
    from spectrum.search.study_list import list_studies
    from spectrum.storage import told_place

    found = list_studies(studies)
    if as_json:
        print_json({"studies": found})
        return
    if not found:
        print_text(f"{told_place(studies)} holds no study.")
    width = max((len(told["study"]) for told in found), default=0)
    for told in found:
        print_text(f"{told['study']:{width}}  {told.get('problem') or _one_line(told)}")


def _one_line(told: dict[str, Any]) -> str:
    counts = f"{told['num_complete']} complete, {told['num_pruned']} pruned"
    counts += f", {told['num_failed']} failed" if told["num_failed"] else ""
    counts += f", {told['num_unfinished']} unfinished" if told["num_unfinished"] else ""
    best = "no score yet"
    if told["best_trial"] is not None:
        best = f"{told['selected_score']:.3f} trial {told['best_trial']} (selected)"
    return f"{told['created'][:10]}  {told['state']:7}  {best}  {counts}"


def show(study: StudyArgument, as_json: JsonOption = False) -> None:
    """Show a study: inputs, trials, what was selected, beside its floor.

    Example: spectrum study show studies/quickstart
    """
    from spectrum.search.study_list import show_study

    told = show_study(study)
    print_json(told) if as_json else print_text("\n".join(_lines(told)))


def diff(
    one: StudyArgument,
    other: Annotated[Path, typer.Argument(help="Folder of another study.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two studies: every input that differs, and what each selected.

    Example: spectrum study diff studies/quickstart studies/joint
    """
    from spectrum.search.study_list import diff_studies

    told = diff_studies(one, other)
    if as_json:
        print_json(told)
        return
    for path, (before, now) in told["inputs"].items():
        print_text(f"{path}: {_short(before, _exact)} | {_short(now, _exact)}")
    for name, best in zip(told["studies"], told["best"], strict=True):
        score = "no score" if best is None else f"{best['score']:.3f} (selected)"
        print_text(f"{name}: {score}")


def track(study: StudyArgument, aim: AimOption = None, as_json: JsonOption = False) -> None:
    """Make Aim show all that a study holds: what a dead server missed, or in another repository.

    Example: spectrum study track studies/quickstart --aim aim://127.0.0.1:53800
    """
    from spectrum.tracking import show_study

    shown = show_study(study, to=aim)
    if shown.note:
        raise SearchError(shown.note)
    told = {"study": str(study), "aim_repo": shown.repo, "num_trials": shown.num_trials}
    print_json(told) if as_json else print_text(f"{shown.num_trials} trials in {shown.repo}")


def remove(
    study: StudyArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without a further word.")] = False,
) -> None:
    """Remove a study with its trials and checkpoints; its runs in Aim stay.

    Example: spectrum study rm studies/quickstart --yes
    """
    from spectrum.search.study_list import remove_study, show_study
    from spectrum.storage import told_place

    if not yes:
        told = show_study(study)
        raise ConfigError(
            f"{told_place(study)} holds {told['num_complete']} complete trials and their "
            "checkpoints. Give --yes to remove it."
        )
    # Its address is known by its folder, which goes.
    place = told_place(study)
    notes.print(f"Removed {place} with {remove_study(study)} trials.", markup=False)


def _lines(told: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in told)
    return [
        f"{name if place == 0 else '':{width}}  {line}"
        for name, value in told.items()
        if value not in (None, [], "")
        for place, line in enumerate(_value_lines(value))
    ]


def _value_lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name} {_short(inner)}" for name, inner in value.items() if inner is not None]
    return [_plain(value)]


def _rounded(number: float) -> str:
    return f"{number:.4g}"


def _exact(number: float) -> str:
    """Write a number in full: two that differ in a late digit are not shown alike."""
    return repr(number)


def _plain(value: Any, of_float: Callable[[float], str] = _rounded) -> str:
    if isinstance(value, float):
        return of_float(value)
    if isinstance(value, list):
        return ", ".join(_plain(entry, of_float) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={_plain(entry, of_float)}" for name, entry in value.items())
    return str(value)


def _short(value: Any, of_float: Callable[[float], str] = _rounded) -> str:
    text = "absent" if value is None else _plain(value, of_float)
    return text if len(text) <= 100 else f"{text[:97]}..."
