"""A head of no one: smooth layers and lumps without symmetry, on an anisotropic oblique grid."""

from __future__ import annotations

import command  # noqa: F401  puts the library on the path
import numpy as np
from rotation import rotation

from GANSynthesisLib.volumes import Grid, Volume

SPACING = (1.1, 1.4, 2.5)  # mm along i, j, k
SHAPE = (26, 50, 54)
RADII = (23.0, 28.0, 25.0)  # mm along R, A, S: small, so that 48 passes take minutes
LUMPS = (((-9, 6, 4), 6, 90), ((8, -9, 8), 5, -80), ((4, 11, -7), 7, 60), ((-7, -10, -9), 4, -70))


def synthetic_head(shift=(0.0, 0.0, 0.0), name: str = "head") -> Volume:
    """Intensities 0 … 255, zero outside; the anatomy moved by `shift` mm (R, A, S), the grid left in place."""
    grid = Grid.centred((12.0, -30.0, 45.0), SHAPE, SPACING, rotation(12, -9, 21))
    points = grid.points() - grid.centre_ras - np.asarray(shift)
    radius = np.linalg.norm(points / np.asarray(RADII), axis=-1)
    values = 140 + 60 * np.cos(7 * radius)
    for center, width, height in LUMPS:
        values += height * np.exp(-np.square(points - np.asarray(center)).sum(-1) / (2 * width**2))
    inside = np.clip((1 - radius) * 12, 0, 1)
    return Volume((np.clip(values, 10, 255) * inside).astype(np.float32), grid.ijk_to_ras, name=name)
