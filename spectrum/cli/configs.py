"""Commands about configurations and search spaces: config show; space show, sample, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from spectrum.cli.console import print_json, print_text
from spectrum.cli.options import JsonOption, SetOption

__all__ = ["register"]

SpaceArgument = Annotated[Path, typer.Argument(help="Search-space file.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    config_app = typer.Typer(help="Configurations.", no_args_is_help=True)
    config_app.command("show")(show_config)
    app.add_typer(config_app, name="config")
    space_app = typer.Typer(help="Search spaces.", no_args_is_help=True)
    space_app.command("show")(show_space)
    space_app.command("sample")(sample_space)
    space_app.command("check")(check_space)
    app.add_typer(space_app, name="space")


def show_config(settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Print a complete configuration, each field with its meaning.

    Example: spectrum config show > config.yaml
    """
    from spectrum.config import TrialConfig, config_from_mapping, parse_settings, set_paths

    config = config_from_mapping(TrialConfig, set_paths({}, parse_settings(settings or [])))
    if as_json:
        print_json(config.model_dump(mode="json"))
        return
    print_text("\n".join(_documented_lines(config, indent="")))


def _documented_lines(config: BaseModel, *, indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_documented_lines(value, indent=indent + "  ")]
            continue
        lines += [f"{indent}# {line.strip()}" for line in (field.description or "").splitlines()]
        lines += [f"{indent}{name}: {_yaml_scalar(value)}"]
    return lines


def _yaml_scalar(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(
        list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000
    )
    return text.removesuffix("...\n").strip()


def show_space(space: SpaceArgument, as_json: JsonOption = False) -> None:
    """Print what a search space searches, and from which default.

    Example: spectrum space show search_spaces/quickstart.yaml
    """
    from spectrum.search.space import read_space

    parsed = read_space(space)
    if as_json:
        print_json(parsed.model_dump(mode="json"))
        return
    print_text(parsed.describe())


def sample_space(
    space: SpaceArgument,
    number: Annotated[int, typer.Option(min=1, help="Points to draw.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw points of a search space.

    Example: spectrum space sample search_spaces/joint.yaml --number 3
    """
    from spectrum.search.optuna_study import sample_points
    from spectrum.search.space import read_space

    points = sample_points(read_space(space), number, seed=seed)
    if as_json:
        print_json({"points": points})
        return
    for point in points:
        print_text(", ".join(f"{path}={value}" for path, value in point.items()))


def check_space(space: SpaceArgument, as_json: JsonOption = False) -> None:
    """Check a search space: names, types, and that every combination is a valid configuration.

    Example: spectrum space check search_spaces/joint.yaml
    """
    from spectrum.search.space import read_space

    parsed = read_space(space)
    parsed.check()
    if as_json:
        print_json({"space": parsed.name, "parameters": list(parsed.parameters), "valid": True})
        return
    print_text(f"{parsed.name}: {len(parsed.parameters)} parameters, valid.")
