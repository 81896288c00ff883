"""Rigid places as six numbers and as matrices, and how far apart two of them are.

Millimetres of the scanner, RAS+, and radians. A place maps a point of the reference to where it
lies in a volume: first turned about a centre, by the right-hand rule about X, then Y, then Z, then
moved. Not here: finding places (``motion``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HEAD_RADIUS_MM",
    "framewise_displacement",
    "parameters_of",
    "place_matrix",
    "through",
]

HEAD_RADIUS_MM: Final = 50.0
"""Distance from the centre of the head to the cortex, about (Power et al. 2012, NeuroImage
59:2142)."""

Matrix = NDArray[np.float64]


def place_matrix(parameters: NDArray[Any], center_mm: NDArray[Any]) -> Matrix:
    """Return the (4, 4) matrix of a rigid place.

    Parameters
    ----------
    parameters : (6,)
        Translations along X, Y, Z in millimetres, rotations about X, Y, Z in radians.
    center_mm : (3,)
        What is turned about.

    Examples
    --------
    >>> quarter = np.array([0.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2])
    >>> np.round(place_matrix(quarter, np.zeros(3)) @ [1.0, 0.0, 0.0, 1.0], 6).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", parameters[3:]).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = center_mm + parameters[:3] - turn @ center_mm
    return matrix


def parameters_of(place: Matrix, center_mm: NDArray[Any]) -> NDArray[np.float64]:
    """Return the six numbers of a rigid place; the inverse of ``place_matrix``."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(place[:3, :3]).as_euler("xyz")
    moved = place[:3, :3] @ center_mm + place[:3, 3] - center_mm
    return np.concatenate([moved, turns])


def through(matrix: Matrix, points_3N: NDArray[Any]) -> NDArray[np.float64]:
    """Map points, (3, N), by a (4, 4) matrix."""
    return np.asarray(matrix[:3, :3] @ points_3N + matrix[:3, 3:])


def framewise_displacement(motion_V6: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far the head went since the volume before (Power et al. 2012).

    The sum of the absolute changes of the six parameters, rotations as arcs at ``HEAD_RADIUS_MM``.

    Parameters
    ----------
    motion_V6 : (V, 6) translations in millimetres, then rotations in radians

    Returns
    -------
    fd : (V,) millimetres
        NaN for the first volume, as fMRIPrep has it.

    Examples
    --------
    >>> framewise_displacement(np.array([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0.02, 0, 0]])).tolist()
    [nan, 2.0]
    """
    change_V6 = np.abs(np.diff(np.asarray(motion_V6, dtype=np.float64), axis=0))
    moved = change_V6[:, :3].sum(axis=1) + HEAD_RADIUS_MM * change_V6[:, 3:].sum(axis=1)
    return np.concatenate([np.full(min(1, len(motion_V6)), np.nan), moved])
