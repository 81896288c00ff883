"""Commands about configurations and spaces: config show; space show, sample, check, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from spectrum.cli.console import print_json, print_notes, print_text
from spectrum.cli.options import FreezeOption, JsonOption, SetOption

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
    space_app.command("schema")(print_schema)
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


def show_space(
    space: SpaceArgument,
    settings: SetOption = None,
    freeze: FreezeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a search space searches, derives and forbids, and from which default.

    Example: spectrum space show search_spaces/quickstart.yaml
    """
    from spectrum.search.space import read_space_file

    reading = read_space_file(space, settings or [], freeze or [])
    if as_json:
        print_json(reading.space.model_dump(mode="json"))
    else:
        print_text(reading.space.describe())
    print_notes(reading.notes)


def sample_space(
    space: SpaceArgument,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Points to draw.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same points.")] = 0,
    settings: SetOption = None,
    freeze: FreezeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw points of a search space at random.

    Example: spectrum space sample search_spaces/joint.yaml -n 3 --seed 1
    """
    from spectrum.search.optuna_study import sample_points
    from spectrum.search.space import read_space_file

    reading = read_space_file(space, settings or [], freeze or [])
    reading.check()
    points = sample_points(reading.space, number, seed=seed)
    if as_json:
        print_json({"points": points})
    else:
        for point in points:
            print_text(", ".join(f"{path}={value}" for path, value in point.items()))
    print_notes(reading.notes)


def check_space(
    space: SpaceArgument,
    settings: SetOption = None,
    freeze: FreezeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a search space: names, types, and that every combination is a valid configuration.

    An error names file and line.

    Example: spectrum space check search_spaces/joint.yaml
    """
    from spectrum.search.space import read_space_file
    from spectrum.search.validity import moved_share

    reading = read_space_file(space, settings or [], freeze or [])
    reading.check()
    parsed, moved = reading.space, moved_share(reading.space)
    if as_json:
        print_json(
            {
                "space": parsed.name,
                "parameters": list(parsed.parameters),
                "derived": list(parsed.derive),
                "moved_share": moved,
                "valid": True,
            }
        )
    else:
        beside = f"; forbid moves {moved:.1%} of random draws" if parsed.forbid else ""
        print_text(f"{parsed.name}: {len(parsed.parameters)} parameters, valid{beside}.")
    print_notes(reading.notes)


def print_schema(as_json: JsonOption = False) -> None:
    """Print the JSON Schema of search-space files, for editors.

    Example: spectrum space schema > space.schema.json
    """
    import json

    from spectrum.search.space_schema import space_schema

    schema = space_schema()
    print_json(schema) if as_json else print_text(json.dumps(schema, indent=2))
