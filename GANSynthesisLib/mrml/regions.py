"""Restricting a volume to a region that the user drew."""

import itertools

import numpy as np
import slicer

from GANSynthesisLib.volumes import Volume, VolumeError

ROI = "vtkMRMLMarkupsROINode"


def cropped_to_region(volume: Volume, roi) -> Volume:
    """The part of the volume inside the smallest block of whole voxels around a markups ROI (box), in world space.

    Raises `VolumeError` where the node is no ROI, is not placed, or misses the volume.
    """
    corners = np.array(_corners(roi))
    to_index = np.linalg.inv(volume.ijk_to_ras)
    index = corners @ to_index[:3, :3].T + to_index[:3, 3]
    size = np.array(volume.shape[::-1])
    # Voxel i reaches from i − 0.5 to i + 0.5; half a thousandth forgives rounding of a box drawn on voxel borders.
    low = np.maximum(np.floor(index.min(axis=0) + 0.5 + 5e-4), 0).astype(int)
    high = np.minimum(np.ceil(index.max(axis=0) + 0.5 - 5e-4), size).astype(int)
    if (high <= low).any():
        raise VolumeError(f"The region '{roi.GetName()}' lies outside the volume '{volume.name}': move it into it.")
    (i0, j0, k0), (i1, j1, k1) = low, high
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    return volume.with_voxels(np.ascontiguousarray(volume.voxels[k0:k1, j0:j1, i0:i1]), ijk_to_ras=matrix)


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
