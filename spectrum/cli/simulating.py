"""Command: simulate BIDS trees with a planted truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrum.cli.console import ending_politely, print_json, print_text
from spectrum.cli.options import CpusOption, JsonOption
from spectrum.cli.progress import progress_bar

if TYPE_CHECKING:
    from spectrum.data.simulate import SimulationConfig

__all__ = ["register"]

TRUTH_HELP = (
    "What is planted. effect: deep regions answer differently early and late. null: they answer "
    "alike. leak: subjects bear a mark, and the target OUT/leak.yaml gives each one class. clock: "
    "air, motion and drift go with time in the session. site: data sets bear a mark. reversal: "
    "effect and clock, which disagree in reversal run 1."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder that the BIDS trees are written to.")],
    truth: Annotated[
        Literal["effect", "null", "leak", "clock", "site", "reversal"],
        typer.Option(help=TRUTH_HELP),
    ] = "effect",
    effect_percent: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=20.0,
            help="Peak of the deep response, percent of the voxel's mean; 0.3 without it, the "
            "size at which a linear decoder of 4 subjects a data set scores about 0.7.",
        ),
    ] = None,
    subjects: Annotated[int, typer.Option(min=1, max=99, help="Subjects of each data set.")] = 4,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="Write this data set alone; may be given again. All four without it."),
    ] = None,
    matrix: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|native",
            help="Voxels along X and along Y, 8 to 64; native is 64, as the scanner has them.",
        ),
    ] = "16",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the four data sets in miniature, or in full size, with a planted truth.

    Example: spectrum simulate simulated --truth effect --subjects 4

    Same options, same bytes, whatever the number of CPUs. Full-size runs (--matrix native) take
    about 30 MB on disk and 0.35 GiB of memory for each CPU.
    """
    from spectrum.data.simulate import simulate as write_trees
    from spectrum.launch import available_cpus

    settings = {
        "truth": truth,
        "num_subjects": subjects,
        "seed": seed,
        "matrix": _matrix(matrix),
        **({"datasets": dataset} if dataset else {}),
        **({} if effect_percent is None else {"effect_percent": effect_percent}),
    }
    config = _config(settings)
    kept = f"What is written stays in {out}; the same command writes the whole of it again."
    with ending_politely(kept), progress_bar("Simulating", unit="runs") as on_run_done:
        roots = write_trees(out, config, cpus=cpus or available_cpus(), on_run_done=on_run_done)
    target = out / "leak.yaml" if truth == "leak" else None
    if as_json:
        print_json(_told(config, roots, target))
        return
    print_text("\n".join(str(path) for path in (*roots, *([target] if target else []))))


def _matrix(text: str) -> int:
    from spectrum.data.simulate import NATIVE_MATRIX

    if text == "native":
        return NATIVE_MATRIX
    if not text.isdecimal():
        raise typer.BadParameter(
            f"{text!r} is no number of voxels. Give a number from 8 to 64, or native.",
            param_hint="--matrix",
        )
    return int(text)


def _config(settings: dict[str, Any]) -> SimulationConfig:
    from spectrum.config.reading import config_from_mapping
    from spectrum.data.simulate import TRUTHS, SimulationConfig

    if "effect_percent" in settings and TRUTHS[settings["truth"]].learning == "none":
        raise typer.BadParameter(
            f"the truth {settings['truth']} has no deep response whose size could be set. "
            "Take the option away, or choose another truth.",
            param_hint="--effect-percent",
        )
    return config_from_mapping(SimulationConfig, settings)


def _told(
    config: SimulationConfig, roots: tuple[Path, ...], target: Path | None
) -> dict[str, Any]:
    from spectrum.data.simulate import TRUTHS, planned_runs

    truth = TRUTHS[config.truth]
    return {
        "roots": [str(root) for root in roots],
        "truth": config.truth,
        "promise": truth.promise,
        "target": None if target is None else str(target),
        "num_runs": len(planned_runs(config)),
        "effect_percent": config.effect_percent if truth.learning != "none" else None,
        "matrix": config.matrix,
        "seed": config.seed,
    }
