"""Which images a study or a training has seen, for whoever gets its model.

Not here: what follows for a prediction on one of them (``spectrum.training.predicting``).
"""

from __future__ import annotations

from typing import Any, Final

from spectrum.data.manifest import ShardManifest

__all__ = ["IMAGES_NAME", "seen_images"]

IMAGES_NAME: Final = "images.json"
"""File of a study or a training that names its images."""


def seen_images(manifest: ShardManifest) -> dict[str, Any]:
    """Return digests and repetition time of each run's image, by the run's name, as JSON."""
    return {
        str(run.key): {
            "image_sha256": run.image_sha256,
            "voxels_sha256": run.voxels_sha256,
            "tr_s": run.tr_s,
        }
        for run in manifest.runs
    }
