"""What a model says of one uploaded image, as plain JSON, and what is wrong with the image.

The image is read to its end by a process of its own first, so that one that ends its reader is
named. Not here: HTTP (``app``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.bids import index_bids
from spectrum.data.image_check import check_images
from spectrum.data.map_grid import map_grid
from spectrum.data.pipeline import find_shards
from spectrum.data.run_views import RunView, mean_on_grid, sources_of_table, view_run
from spectrum.data.runs import Problem, RunTable
from spectrum.data.shards import ShardSet
from spectrum.errors import ConfigError, DataError, SpectrumError
from spectrum.evaluation.map_checks import rank_correlation
from spectrum.model.attention_maps import Method
from spectrum.serve.uploads import DATASET
from spectrum.training.exported import ExportedModel
from spectrum.training.predicting import Predicted, predict_table
from spectrum.training.run_map import RunMap, explain_run

__all__ = ["Answerer"]

Draw = Callable[[RunView], bytes]
DrawMap = Callable[[NDArray[Any], RunMap, tuple[float, float]], bytes]
"""Takes the mean image, X, Y, Z, the map, and the sizes of a voxel along X and Y, mm."""

MAX_CORRELATION: Final = 0.5
"""As for the maps of a study: one that is more like that of fresh weights shows the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """A model, and what draws a run and a map as PNG. Ray runs while it answers."""

    model: ExportedModel
    draw: Draw
    draw_map: DrawMap

    def __post_init__(self) -> None:
        """Refuse a model of events, which an image alone does not have."""
        target = self.model.header.target
        if target.event is not None:
            raise ConfigError(
                f"The model's target {target.name} is of events, and the page takes images alone. "
                "Use `spectrum predict` on a BIDS tree with event files."
            )

    def about(self) -> dict[str, Any]:
        """Return what the model is, and how much it may be believed."""
        header = self.model.header
        score = header.score
        return {
            "source": header.source,
            "target": header.target.name,
            "description": header.target.description,
            "classes": list(header.target.classes),
            "told": score.told,
            "seal": score.seal,
            "is_above_floor": score.ci95[0] > max(score.floor, score.chance),
        }

    def answer(self, work: Path) -> dict[str, Any]:
        """Say everything of the upload in a folder.

        Parameters
        ----------
        work : holds the BIDS tree ``upload``; shards are made beside it

        Returns
        -------
        answer : plain JSON
            ``problems`` (code, message, refuses), ``error`` (a sentence, or None); without an
            error also ``classes``, ``run`` (class -> probability), ``sequences`` (onset_s,
            probabilities), ``standing``, ``notes``, ``picture`` (PNG in base64) and ``map``
            (``picture``, and what is ``told`` of it).
        """
        root = work / DATASET
        table = index_bids([root], self.model.header.config.data)
        table = check_images(table, num_processes=1)
        told: dict[str, Any] = {"problems": _problems(table.problems, work), "error": None}
        if not any(run.is_usable for run in table.runs):
            return {**told, "error": "The image cannot be used, for the reasons named."}
        try:
            return {**told, **self._prediction(table, work)}
        except DataError as err:
            return {**told, "error": _clean(str(err), work)}

    def _prediction(self, table: RunTable, work: Path) -> dict[str, Any]:
        shards_root = work / "shards"
        told = predict_table(self.model, table, shards_root=shards_root)
        if not told.predictions:
            reasons = " ".join(problem.message for problem in told.refused)
            raise DataError(f"The image could not be predicted. {reasons}")
        predicted = told.predictions[0]
        return {
            "classes": list(predicted.probabilities),
            "run": predicted.probabilities,
            "sequences": [
                {"onset_s": onset_s, "probabilities": list(row)}
                for onset_s, row in predicted.sequences
            ],
            "standing": _standing(predicted),
            "notes": [_clean(note, work) for note in told.notes],
            **self._pictures(table, shards_root, predicted),
        }

    def _pictures(
        self, table: RunTable, shards_root: Path, predicted: Predicted
    ) -> dict[str, Any]:
        recipe = self.model.header.config.preprocessing
        found = find_shards(table, recipe, shards_root)
        if found is None:
            return {"picture": None, "map": {"picture": None, "told": "The run is gone."}}
        shards = ShardSet.open(found)
        return {
            "picture": self._picture(shards, table, shards_root),
            "map": self._map(shards, predicted),
        }

    def _picture(self, shards: ShardSet, table: RunTable, shards_root: Path) -> str | None:
        (run,) = shards.manifest.runs
        source = sources_of_table(table, shards.manifest.recipe, shards_root)[str(run.key)]
        try:
            return _base64(self.draw(view_run(shards, run, source)))
        except SpectrumError:
            return None

    def _map(self, shards: ShardSet, predicted: Predicted) -> dict[str, Any]:
        """Return the map of the answered class, and how like it is to that of fresh weights."""
        classes = list(predicted.probabilities)
        answer = max(classes, key=lambda name: predicted.probabilities[name])
        asked: dict[str, Any] = {
            "class_index": self.model.header.target.classes.index(answer),
            "folds": predicted.folds,
        }
        try:
            method, found = self._explained(shards, asked)
            fresh = explain_run(self.model, shards, method, fresh_seed=0, **asked)
            grid = map_grid(shards.manifest.runs, shards.manifest.recipe)
            mean_XYZ = mean_on_grid(shards)
            if mean_XYZ is None or mean_XYZ.shape != found.map_XYZ.shape:
                mean_XYZ = found.inside_XYZ.astype(np.float32)
            sizes_mm = np.linalg.norm(grid.affine[:3, :3], axis=0)
            png = self.draw_map(mean_XYZ, found, (float(sizes_mm[0]), float(sizes_mm[1])))
        except SpectrumError as err:
            return {"picture": None, "told": str(err)}
        rho = rank_correlation({"": found.map_XYZ}, [{"": fresh.map_XYZ}], found.inside_XYZ)
        return {"picture": _base64(png), "told": _told_map(answer, method, found, rho)}

    def _explained(self, shards: ShardSet, asked: Mapping[str, Any]) -> tuple[Method, RunMap]:
        """Return a map by attention, or by gradients where attention cannot be rolled out."""
        try:
            return "rollout", explain_run(self.model, shards, "rollout", **asked)
        except ConfigError:
            return "gradients", explain_run(self.model, shards, "gradients", **asked)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


METHODS: Final = {
    "rollout": "Gradient-weighted attention rollout",
    "gradients": "Integrated gradients",
}


def _told_map(name: str, method: Method, found: RunMap, rho: float) -> str:
    """Say what a map is of, and whether it shows more than a model that learned nothing."""
    if rho > MAX_CORRELATION:
        verdict = "it shows the image and the architecture more than what was learned"
    else:
        verdict = "a low value is needed, and is no proof that the model looks there"
    return (
        f"{METHODS[method]} for {name}, mean over {found.num_sequences} sequences and "
        f"{found.num_models} models. |rank correlation| with the map of weights that learned "
        f"nothing: {rho:.2f}; {verdict}."
    )


def _standing(predicted: Predicted) -> str:
    if not predicted.seen:
        return "The model's study has not seen this image."
    if predicted.held_out:
        return "The study has seen this image; only models that never trained on it were asked."
    return "The model was trained on this very image: its answer means nothing."


def _problems(problems: tuple[Problem, ...], work: Path) -> list[dict[str, Any]]:
    return [
        {"code": one.code, "message": _clean(one.message, work), "refuses": one.refuses}
        for one in problems
        if one.code != "no-events"
    ]


def _clean(text: str, work: Path) -> str:
    """Return a sentence without the folder in which the upload lies for now."""
    return text.replace(f"{work}/", "")
