"""Whole images in patches: how an image of any size is brought to the size that a network sees at once."""

from __future__ import annotations

import numpy as np

from GANSynthesisLib.grid import Grid


def fitted_spacing(canonical: Grid, window: tuple[int, int, int], context: str) -> tuple[float | None, ...]:
    """Voxel size (i, j, k) in mm at which the whole of an image just fits into a window (D, H, W), the same along all
    axes so that proportions are kept; in 2D the distance of slices stays."""
    axes = range(3 if context == "3D" else 2)
    size, count, seen = canonical.size_mm, canonical.shape[::-1], window[::-1]
    step = max((size[axis] / seen[axis] for axis in axes if count[axis] > 1), default=1.0)
    return (step, step, step if context == "3D" else None)


def whole_box(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel along each axis, as corners of a box."""
    return np.zeros(len(shape)), np.array(shape, float) - 1
