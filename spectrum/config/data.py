"""How BIDS trees are read where they leave a choice to their user.

Decided once for a study, before its first trial. Not here: what is done to a run (the recipe).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectrum.config.frozen import FrozenConfig

__all__ = ["DataConfig"]


class DataConfig(FrozenConfig):
    """What counts where files contradict each other or offer more than one image of a run."""

    tr_from: Literal["agreed", "header", "sidecar"] = "agreed"
    """Whose repetition time counts where the image's header and its JSON sidecar differ.
    ``agreed``: a run on which they differ is refused by name, because volumes and events would
    be put at wrong times by the one that errs."""

    multi_echo: Literal["refuse", "combine"] = "refuse"
    """What becomes of a run with several echoes. ``combine``: one image, each voxel the mean over
    echoes weighted by echo time and temporal signal-to-noise ratio (Poser et al. 2006)."""

    space: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9]+$")
    """Space of the derivatives to take, as in ``space-<label>``; ``native`` is an image without.
    None takes the first there is of MNI152NLin2009cAsym, another MNI152, native, any other."""
