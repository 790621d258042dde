"""Blocks of voxels, and the block around a region that the user drew."""

import itertools

import numpy as np
import slicer

from GANSynthesisLib.volumes import Grid, VolumeError

Block = tuple[slice, slice, slice]  # of K, J, I
ROI = "vtkMRMLMarkupsROINode"


def whole_of(grid: Grid) -> Block:
    return tuple(slice(0, size) for size in grid.shape)


def part_of(grid: Grid, block: Block) -> Grid:
    """The grid of a block of voxels."""
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [each.start for each in block[::-1]]
    return Grid(tuple(each.stop - each.start for each in block), matrix)


def block_of_region(grid: Grid, roi, name: str) -> Block:
    """The smallest block of whole voxels around a markups ROI (box), in world space.

    Raises `VolumeError` where the node is no ROI, is not placed, or misses the grid, which is that of the volume
    called `name`.
    """
    corners = np.array(_corners(roi))
    to_index = np.linalg.inv(grid.ijk_to_ras)
    index = corners @ to_index[:3, :3].T + to_index[:3, 3]
    # Voxel i reaches from i − 0.5 to i + 0.5; half a thousandth forgives rounding of a box drawn on voxel borders.
    low = np.maximum(np.floor(index.min(axis=0) + 0.5 + 5e-4), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + 0.5 - 5e-4), grid.shape[::-1]).astype(int)
    if (high <= low).any():
        raise VolumeError(f"The region '{roi.GetName()}' lies outside the volume '{name}': move it into it.")
    i, j, k = (slice(start, stop) for start, stop in zip(low.tolist(), high.tolist(), strict=True))
    return k, j, i


def _corners(roi) -> list[list[float]]:
    """The eight corners of the box, RAS mm in the world."""
    if roi.GetClassName() != ROI:
        raise VolumeError(f"'{roi.GetName()}' is a {roi.GetClassName()}, not a region: choose a markups ROI.")
    size = [0.0, 0.0, 0.0]
    roi.GetSizeWorld(size)
    if roi.GetNumberOfControlPoints() == 0 or min(size) <= 0:
        raise VolumeError(f"The region '{roi.GetName()}' has not been placed: draw it in the slice views first.")
    matrix = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    half = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * size
    return (half @ matrix[:3, :3].T + matrix[:3, 3]).tolist()
