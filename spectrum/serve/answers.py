"""What a model says of one uploaded image, as plain JSON, and what is wrong with the image.

The image is read to its end by a process of its own first, so that one that ends its reader is
named. Not here: HTTP (``app``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.data.bids import index_bids
from spectrum.data.image_check import check_images
from spectrum.data.pipeline import find_shards
from spectrum.data.run_views import RunView, sources_of_table, view_run
from spectrum.data.runs import Problem, RunTable
from spectrum.data.shards import ShardSet
from spectrum.errors import ConfigError, DataError, SpectrumError
from spectrum.serve.uploads import DATASET
from spectrum.training.exported import ExportedModel
from spectrum.training.predicting import Predicted, predict_table

__all__ = ["Answerer"]

Draw = Callable[[RunView], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """A model, and what draws a run as PNG. Ray runs while it answers."""

    model: ExportedModel
    draw: Draw

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
            probabilities), ``standing``, ``notes`` and ``picture`` (PNG in base64).
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
            "picture": self._picture(table, shards_root),
        }

    def _picture(self, table: RunTable, shards_root: Path) -> str | None:
        recipe = self.model.header.config.preprocessing
        found = find_shards(table, recipe, shards_root)
        if found is None:
            return None
        shards = ShardSet.open(found)
        (run,) = shards.manifest.runs
        source = sources_of_table(table, recipe, shards_root)[str(run.key)]
        try:
            png = self.draw(view_run(shards, run, source))
        except SpectrumError:
            return None
        return base64.b64encode(png).decode()


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
