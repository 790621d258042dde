"""By how much one image lies beside another one that should be the same."""

from __future__ import annotations

import numpy as np

BLOCK = 8  # voxels


def mean_displacement(image, reference) -> float:
    """Mean length, in voxels, of the displacement between two images (K, J, I), measured from their content.

    One displacement per block of 8 voxels, by least squares on the intensity gradient (Lucas and Kanade 1981),
    averaged with the weight of the block's gradient: what shows no edge cannot show a displacement. Good below about a
    voxel, and of the right order above.
    """
    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    axes = [axis for axis, size in enumerate(image.shape) if size > 2]
    slope = np.stack(np.gradient((image + reference) / 2, axis=axes))
    normal = np.einsum("a...,b...->ab...", slope, slope)
    right = slope * (reference - image)
    sums = _block_sums(normal).reshape(len(axes), len(axes), -1), _block_sums(right).reshape(len(axes), -1)
    matrices, sides = np.moveaxis(sums[0], -1, 0), np.moveaxis(sums[1], -1, 0)
    strength = np.trace(matrices, axis1=1, axis2=2)
    used = strength > 1e-3 * strength.max() if strength.size else np.zeros(0, bool)
    if not used.any():
        return 0.0
    ridge = 1e-3 * strength[used, None, None] * np.eye(len(axes))
    shifts = np.linalg.solve(matrices[used] + ridge, sides[used, :, None])[..., 0]
    return float(np.average(np.linalg.norm(shifts, axis=1), weights=strength[used]))


def _block_sums(values: np.ndarray) -> np.ndarray:
    """Sums over blocks of the last three axes; the last block of an axis may be smaller."""
    for axis in (-3, -2, -1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], BLOCK), axis=axis)
    return values
