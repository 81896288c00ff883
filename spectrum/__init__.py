"""Distributed hyperparameter search for fMRI learning-stage classification with a slice ViT.

Axes of tensors, written at the end of a name; a letter is never reused:
B sequences in a batch, T volumes in a sequence, S slices in a volume, H rows and W columns of
a slice, C channels, P patch tokens, D width, N heads, K classes; V volumes in a run; X Y Z voxel
axes as NIfTI orders them.
"""

from spectrum.errors import SpectrumError

__all__ = ["SpectrumError", "__version__"]

__version__ = "0.1.0"
