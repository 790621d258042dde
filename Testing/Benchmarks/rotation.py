"""Rotations by angles, for benchmarks and tests."""

from __future__ import annotations

import numpy as np


def rotation(*degrees: float) -> np.ndarray:
    """(3, 3) rotation about R, then A, then S."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
