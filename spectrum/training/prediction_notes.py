"""What is said beside predictions: which of them mean little, and why.

Not here: the predictions themselves (``predicting``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from spectrum.data.manifest import ShardManifest, ShardRun
from spectrum.data.recipe import STEP_VERSIONS
from spectrum.data.runs import shortened
from spectrum.training.exported import ModelHeader

if TYPE_CHECKING:
    from spectrum.training.predicting import Predicted

__all__ = ["iter_notes", "names_in_study"]

TR_TOLERANCE: Final = 0.05
"""A repetition time further from all of training, as a share, is told."""


def names_in_study(run: ShardRun, header: ModelHeader) -> set[str]:
    """Return the names that a run's image has in the study: by its voxels, or by its file."""
    return {
        image.run
        for image in header.images
        if (image.voxels_sha256 and image.voxels_sha256 == run.voxels_sha256)
        or image.image_sha256 == run.image_sha256
    }


def iter_notes(
    predictions: Sequence[Predicted], manifest: ShardManifest, header: ModelHeader
) -> Iterator[str]:
    """Yield one sentence for each thing that limits what predictions of these runs mean."""
    yield header.score.told
    yield from _iter_fold_notes(predictions, header)
    trained = [p for p in predictions if p.seen and not p.held_out]
    held_out = [p for p in predictions if p.held_out]
    if trained:
        yield (
            f"{len(trained)} of {len(predictions)} predictions are of images that the model was "
            "trained on (seen: true, held_out: false); they mean nothing."
        )
    if held_out:
        yield (
            f"{len(held_out)} of {len(predictions)} predictions are of images of the model's own "
            "study, by the folds alone that held them out (held_out: true)."
        )
    if known := _num_of_known_people(predictions, header):
        yield (
            f"{known} of {len(predictions)} predictions are of other images of subjects that the "
            "model was trained on; the score is not of such."
        )
    if header.target.paired:
        yield (
            f"The target {header.target.name} is scored within pairs of runs: which of the two "
            "is which. The class of a run alone was never scored."
        )
    yield from _iter_run_notes(manifest, header)


def _num_of_known_people(predictions: Sequence[Predicted], header: ModelHeader) -> int:
    """Count new images of subjects, by data set and subject, of whom others were trained on."""
    people = {run.split("_")[0] for fold in header.folds for run in fold.trained}
    return sum(p.unit.key.group in people and not p.seen for p in predictions)


def _iter_fold_notes(predictions: Sequence[Predicted], header: ModelHeader) -> Iterator[str]:
    if len(header.folds) > 1 and any(len(p.folds) == len(header.folds) for p in predictions):
        yield (
            f"Probabilities are the mean over the models of {len(header.folds)} folds, where no "
            "fold held the run out; the score is that of each on what it held out, not of this "
            "mean."
        )
    steps = {
        name
        for name, version in STEP_VERSIONS.items()
        if header.versions.get("steps", {}).get(name) != version
    }
    if steps:
        yield (
            f"The recipe's steps {', '.join(sorted(steps))} have changed since the model was "
            "trained, so that its inputs differ. Use the version of Spectrum that exported it: "
            f"{header.versions.get('spectrum')}."
        )


def _iter_run_notes(manifest: ShardManifest, header: ModelHeader) -> Iterator[str]:
    known = {image.run for image in header.images}
    trained_s = sorted({image.tr_s for image in header.images if image.tr_s is not None})
    in_seconds = header.config.model.temporal_position == "seconds"
    found = []
    for run in manifest.runs:
        if str(run.key) in known and not names_in_study(run, header):
            message = (
                f"{run.key} has the name of a run of the model's study and other voxels; if it is "
                "that run, processed in another way, its prediction means nothing."
            )
            found.append(("same-name", message))
        if trained_s and min(abs(run.tr_s / tr_s - 1.0) for tr_s in trained_s) > TR_TOLERANCE:
            adapts = (
                "its positions are in seconds and follow"
                if in_seconds
                else "a volume stands for another time than in training"
            )
            seconds = ", ".join(f"{tr_s:g}" for tr_s in trained_s)
            message = f"{run.key} has a TR of {run.tr_s:g} s, the model saw {seconds} s: {adapts}."
            found.append(("other-tr", message))
    yield from shortened(found)
