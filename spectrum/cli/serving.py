"""Command: a local page that says what an exported model makes of an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from spectrum.cli.console import print_text, say
from spectrum.cli.options import CpusOption
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spectrum.data.run_views import RunView
    from spectrum.training.run_map import RunMap

__all__ = ["register"]

MIB: Final = 1024**2
OBJECT_STORE_GIB: Final = 0.3


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(serve)


def serve(
    model: Annotated[Path, typer.Argument(help="Folder that spectrum export made.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 43801,
    max_mib: Annotated[int, typer.Option(min=1, help="Largest image file, MiB.")] = 1024,
    cpus: CpusOption = None,
) -> None:
    """Open a local page: drop in a NIfTI, see its problems, slices, and class probabilities.

    On this machine alone; nothing is loaded from elsewhere, and no image is kept.

    Example: spectrum serve model
    """
    from spectrum.launch import local_ray
    from spectrum.training.exported import read_model

    try:
        from spectrum.serve import Answerer, run_page
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"{err.name} is not installed, which the page needs. "
            "Run: python -m pip install 'spectrum-fmri[serve]'"
        ) from err

    answerer = Answerer(model=read_model(model), draw=_draw, draw_map=_draw_map)
    say("Starting ...")
    with local_ray(num_cpus=cpus, object_store_gib=OBJECT_STORE_GIB):
        run_page(
            answerer,
            port=port,
            max_image_bytes=max_mib * MIB,
            show=lambda url: print_text(f"{url}  (on this machine alone; Ctrl+C ends it)"),
        )


def _draw(view: RunView) -> bytes:
    from spectrum.report.run_figure import draw_run
    from spectrum.report.theme import LIGHT, render

    return render(lambda theme: draw_run(theme, view=view), LIGHT, "png")[0]


def _draw_map(mean_XYZ: NDArray[Any], found: RunMap, voxel_mm: tuple[float, float]) -> bytes:
    from spectrum.report.run_map import draw_run_map
    from spectrum.report.theme import LIGHT, render

    return render(
        lambda theme: draw_run_map(
            theme,
            background_XYZ=mean_XYZ,
            map_XYZ=found.map_XYZ,
            inside_XYZ=found.inside_XYZ,
            voxel_mm=voxel_mm,
        ),
        LIGHT,
        "png",
    )[0]
