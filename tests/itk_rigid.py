"""SimpleITK's own rigid registration of one volume to another: the peer that ours is held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_place(
    reference_XYZ: NDArray[Any],
    volume_XYZ: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    fwhm_mm: float,
    last_step_mm: float = 1e-3,
) -> NDArray[np.float64]:
    """Return (4, 4): where a point of the reference lies in the volume. Mean squares, linear."""
    fixed, moving = (_image(array, affine, fwhm_mm) for array in (reference_XYZ, volume_XYZ))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMeanSquares()
    method.SetMetricFixedMask(SimpleITK.Cast(fixed > 0.3 * reference_XYZ.max(), 1))
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, last_step_mm, 100, 0.5, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = SimpleITK.Euler3DTransform()
    middle = (np.array(reference_XYZ.shape) - 1.0) / 2.0
    center = affine[:3, :3] @ middle + affine[:3, 3]
    transform.SetCenter((center * [-1, -1, 1]).tolist())
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return _matrix(transform)


def _image(array_XYZ: NDArray[Any], affine: NDArray[np.float64], fwhm_mm: float) -> Any:
    turned = LPS_OF_RAS @ affine
    voxel_mm = np.linalg.norm(turned[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array_XYZ.T, dtype=np.float32))
    image.SetSpacing(voxel_mm.tolist())
    image.SetOrigin(turned[:3, 3].tolist())
    image.SetDirection((turned[:3, :3] / voxel_mm).ravel().tolist())
    return SimpleITK.SmoothingRecursiveGaussian(image, fwhm_mm / np.sqrt(8 * np.log(2)))


def _matrix(transform: Any) -> NDArray[np.float64]:
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    center = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(transform.GetTranslation()) + center - linear @ center
    return LPS_OF_RAS @ matrix @ LPS_OF_RAS
