"""MNI152 as nilearn ships it: brain without skull, and its mask. Not here: registration to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEMPLATE_MM", "Template", "mni152"]

TEMPLATE_MM: Final = 2
"""Edge of the template's voxels; runs have 3 mm and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """T1-weighted intensity, 0 outside the brain, the brain, and the (4, 4) affine."""

    intensity_XYZ: NDArray[np.float32]
    brain_XYZ: NDArray[np.bool_]
    affine: NDArray[np.float64]


@cache
def mni152() -> Template:
    """Return the ICBM 2009a symmetric template (Fonov et al. 2011, NeuroImage 54:313).

    From ``nilearn.datasets.load_mni152_template`` and ``load_mni152_brain_mask``; nothing is
    downloaded. Arrays are read-only.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image = load_mni152_template(resolution=TEMPLATE_MM)
    brain = load_mni152_brain_mask(resolution=TEMPLATE_MM)
    template = Template(
        intensity_XYZ=np.asarray(image.dataobj, dtype=np.float32),
        brain_XYZ=np.asarray(brain.dataobj) > 0,
        affine=np.asarray(image.affine, dtype=np.float64),
    )
    for array in (template.intensity_XYZ, template.brain_XYZ, template.affine):
        array.setflags(write=False)
    return template
