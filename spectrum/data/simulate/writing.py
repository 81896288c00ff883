"""Simulated runs as BIDS trees on disk. Not here: what is in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import yaml
from isal import igzip

from spectrum import __version__
from spectrum.data.simulate.config import NATIVE_MATRIX, SimulationConfig
from spectrum.data.simulate.datasets import PLANS, TR_S, DatasetPlan
from spectrum.data.simulate.image import SimulatedRun, planned_runs, simulate_run
from spectrum.data.simulate.leak_target import leak_target
from spectrum.data.simulate.seeding import generator, single_threaded_blas
from spectrum.entities import RunKey
from spectrum.errors import DataError

__all__ = ["simulate"]

CONVERTER_LEVEL: Final = 6
"""gzip level of full-size images: zlib's own default, which dcm2niix and FSL keep."""

MINIATURE_LEVEL: Final = 1
"""gzip level of the others, the fastest one with Huffman codes of their own."""


def simulate(
    out: Path,
    config: SimulationConfig,
    *,
    cpus: int = 1,
    on_run_done: Callable[[int, int], None] | None = None,
) -> tuple[Path, ...]:
    """Write one BIDS tree per data set below ``out``.

    Parameters
    ----------
    out : folder
        Made if it is not there. Trees of the same configuration are written again. The truth
        ``leak`` also writes its target, ``out/leak.yaml``.
    config : what to simulate
    cpus : runs simulated at once, >= 1
        Changes no byte. A full-size run takes about 0.35 GiB while it is worked on.
    on_run_done : called after each run
        With the number of runs done and of runs in all.

    Returns
    -------
    roots : folders
        ``out/<data set>``, in the order of the configuration.

    Raises
    ------
    DataError
        ``not-empty``: a folder holds something else than this very simulation.
    """
    roots = tuple(out / name for name in config.datasets)
    for root in roots:
        _check_free(root, config)
    _write_target(out, config)
    for root in roots:
        _write_texts(root, PLANS[root.name], config)
    keys = planned_runs(config)
    with single_threaded_blas(), ThreadPoolExecutor(cpus) as pool:
        waiting = [pool.submit(_simulate_run, out, key, config) for key in keys]
        try:
            for num_done, done in enumerate(as_completed(waiting), 1):
                done.result()
                if on_run_done is not None:
                    on_run_done(num_done, len(keys))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return roots


def _simulate_run(out: Path, key: RunKey, config: SimulationConfig) -> None:
    _write_run(out / key.dataset, simulate_run(key, config))


def _write_target(out: Path, config: SimulationConfig) -> None:
    if config.truth != "leak":
        return
    path = out / "leak.yaml"
    text = yaml.safe_dump(leak_target(config), sort_keys=False, allow_unicode=False)
    if path.exists() and path.read_text("utf-8") != text:
        raise DataError(
            f"{path} is the target of another simulation. Expected a new or empty folder: "
            "give another one, or remove it.",
            code="not-empty",
            path=str(path),
        )
    out.mkdir(parents=True, exist_ok=True)
    _write(path, text)


def _check_free(root: Path, config: SimulationConfig) -> None:
    description = root / "dataset_description.json"
    if not root.exists() or not any(root.iterdir()):
        return
    if description.is_file() and description.read_text("utf-8") == _json(
        _description(PLANS[root.name], config)
    ):
        return
    raise DataError(
        f"{root} holds other files than this simulation. Expected a new or empty folder: "
        "give another one, or remove it.",
        code="not-empty",
        path=str(root),
    )


def _description(plan: DatasetPlan, config: SimulationConfig) -> dict[str, Any]:
    return {
        "Name": f"{plan.title} (simulated)",
        "BIDSVersion": "1.8.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["Spectrum"],
        "GeneratedBy": [{"Name": "spectrum simulate", "Version": __version__}],
        "Simulation": config.model_dump(mode="json", exclude={"datasets"}),
    }


def _write_texts(root: Path, plan: DatasetPlan, config: SimulationConfig) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _write(root / "dataset_description.json", _json(_description(plan, config)))
    _write(
        root / "README",
        f"Simulated. No person was scanned: names and shapes follow {plan.name}, the images are\n"
        f"made by Spectrum with the planted truth '{config.truth}', seed {config.seed}.\n",
    )
    if plan.has_participants:
        _write(root / "participants.tsv", _participants(plan, config))
    for task in plan.tasks:
        sidecar = {"RepetitionTime": TR_S, "TaskName": task.title, **plan.sidecar}
        _write(root / f"task-{task.name}_bold.json", _json(sidecar))


def _participants(plan: DatasetPlan, config: SimulationConfig) -> str:
    lines = ["participant_id\tsex\tage"]
    for subject in plan.subjects(config.num_subjects):
        rng = generator(config.seed, plan.name, subject, "participant")
        sex, age = "MF"[int(rng.integers(2))], str(rng.integers(*plan.ages, endpoint=True))
        is_unknown = subject in plan.participants_unknown
        lines.append(f"sub-{subject}\t" + ("n/a\tn/a" if is_unknown else f"{sex}\t{age}"))
    return "\n".join(lines) + "\n"


def _write_run(root: Path, run: SimulatedRun) -> None:
    stem = str(run.key).partition("/")[2]
    folders = [f"sub-{run.key.subject}"]
    folders += [f"ses-{run.key.session}"] if run.key.session else []
    folder = root.joinpath(*folders, "func")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{stem}_events.tsv", run.events)
    (folder / f"{stem}_bold.nii.gz").write_bytes(_nifti(run))


def _nifti(run: SimulatedRun) -> bytes:
    """Return the run as a gzipped NIfTI without a time stamp, so that bytes repeat."""
    image = nib.Nifti1Image(run.data_XYZV, run.affine)
    image.set_sform(run.affine, code="scanner")
    image.set_qform(run.affine, code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*np.diag(run.affine)[:3], run.tr_s))
    image.header["descrip"] = b"simulated by Spectrum"
    return _compressed(image.to_bytes(), is_native=run.data_XYZV.shape[0] == NATIVE_MATRIX)


def _compressed(data: bytes, *, is_native: bool) -> bytes:
    """Return a gzip member without a time; full-size images as converters write them."""
    if is_native:
        return gzip.compress(data, CONVERTER_LEVEL, mtime=0)
    return bytes(igzip.compress(data, MINIATURE_LEVEL, mtime=0))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
