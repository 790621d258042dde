"""A known displacement: a moving volume made from a fixed one through a transform that is chosen, not estimated."""

from dataclasses import dataclass

import numpy as np

from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, Volume, resample

ROTATION_DEGREES = 7.0
ROTATION_AXIS = (0.4, -0.3, 0.87)
TRANSLATION_MM = (6.0, -5.0, 4.0)
SCALES = (1.04, 0.97, 1.02)
BEND_MM = 4.0
BEND_LENGTH_MM = 140.0  # of one wave of the bend
FIELD_SPACING_MM = 5.0
FIELD_MARGIN_MM = 60.0  # around the fixed volume, so that the moving grid lies within the field

MOVING_SPACING_MM = 1.2
MOVING_TILT_DEGREES = 15.0
MOVING_TILT_AXIS = (1.0, 0.5, -0.3)
# Columns: the directions of i, j, k before the tilt; a sagittal acquisition whose second axis runs downward.
MOVING_AXES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class KnownDisplacement:
    """`to_fixed` takes moving points to fixed points, RAS mm, in closed form; registration looks for its inverse."""

    to_fixed: SpatialTransform

    def moving_points(self, fixed_points: np.ndarray) -> np.ndarray:
        """(N, 3) where fixed points truly lie in the moving volume, RAS mm; to 0.0001 mm."""
        return self.to_fixed.inverse_points(fixed_points)

    def displaced(self, volume: Volume, grid: Grid) -> Volume:
        """The volume as it looks in the moving position, sampled on `grid`."""
        return resample(volume, grid, "linear", transform=self.to_fixed)


def known_displacement(fixed: Grid) -> KnownDisplacement:
    """Rotation, translation, scaling and a smooth bend about the center of the fixed grid."""
    to_center, from_center = np.eye(4), np.eye(4)
    to_center[:3, 3], from_center[:3, 3] = -fixed.centre_ras, fixed.centre_ras
    linear = np.eye(4)
    linear[:3, :3] = rotation(ROTATION_DEGREES, ROTATION_AXIS) @ np.diag(SCALES)
    linear[:3, 3] = TRANSLATION_MM
    size = np.array(fixed.size_mm) + 2 * FIELD_MARGIN_MM
    shape = tuple(np.ceil(size / FIELD_SPACING_MM).astype(int)[::-1])
    grid = Grid.centred(fixed.centre_ras, shape, (FIELD_SPACING_MM,) * 3)
    bend = smooth_bend(grid.points() - fixed.centre_ras)
    return KnownDisplacement(SpatialTransform(from_center @ linear @ to_center, bend, grid))


def smooth_bend(points: np.ndarray) -> np.ndarray:
    """(3, K, J, I) mm at points (K, J, I, 3) mm: waves along all axes, at most BEND_MM each, without folding."""
    phase = 2 * np.pi / BEND_LENGTH_MM * points
    x, y, z = np.moveaxis(phase, -1, 0)
    waves = (np.sin(y + 0.6) * np.cos(z), np.sin(z - 0.4) * np.cos(x + 0.3), np.sin(x + 1.1) * np.cos(y - 0.5))
    return (BEND_MM * np.stack(waves)).astype(np.float32)


def moving_grid(fixed: Grid) -> Grid:
    """Another scanner's grid over the same place: coarser, axes permuted and flipped, oblique, cut differently."""
    directions = rotation(MOVING_TILT_DEGREES, MOVING_TILT_AXIS) @ MOVING_AXES
    extent = np.abs(MOVING_AXES.T) @ np.array(fixed.size_mm) + 24.0
    shape = tuple(np.ceil(extent / MOVING_SPACING_MM).astype(int)[::-1])
    return Grid.centred(fixed.centre_ras + [3.0, -4.0, 2.0], shape, (MOVING_SPACING_MM,) * 3, directions)


def rotation(degrees: float, axis) -> np.ndarray:
    """(3, 3) rotation about an axis through the origin (Rodrigues 1840)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
