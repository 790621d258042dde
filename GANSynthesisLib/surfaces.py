"""Closed surfaces of structures in label volumes, as 3D views show them. Needs VTK, which Slicer has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from GANSynthesisLib.volumes import Volume

SMOOTHING = 0.5  # 0 … 1, as Slicer's conversion of binary label maps to closed surfaces has it by default


@dataclass(frozen=True, eq=False)
class Surface:
    """points (N, 3) and normals (N, 3), float32, RAS mm; triangles (M, 3), int64 indices of points."""

    points: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray


def closed_surface(labels: Volume, value: int, smoothing: float = SMOOTHING) -> Surface:
    """Surface of the voxels (K, J, I) with a value: discrete flying edges (Schroeder 2015), smoothed by a windowed
    sinc (Taubin 1996) whose pass band is 10^(-4 · smoothing). Without such voxels, a surface of nothing."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    edges = vtk.vtkDiscreteFlyingEdges3D()
    edges.SetInputData(_padded_block(labels.voxels == value))
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.SetValue(0, 1)
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.SetNumberOfIterations(20 + round(40 * smoothing))
    smooth.BoundarySmoothingOff()
    smooth.FeatureEdgeSmoothingOff()
    smooth.SetPassBand(10 ** (-4 * smoothing))
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    place = vtk.vtkTransform()
    place.SetMatrix(labels.ijk_to_ras.ravel().tolist())
    world = vtk.vtkTransformPolyDataFilter()
    world.SetTransform(place)
    world.SetInputConnection((smooth if smoothing > 0 else edges).GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(world.GetOutputPort())
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()  # also of a volume whose axes are left-handed
    normals.Update()
    found = normals.GetOutput()
    if found.GetNumberOfPoints() == 0:
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32))
    return Surface(
        np.asarray(vtk_to_numpy(found.GetPoints().GetData()), np.float32),
        np.asarray(vtk_to_numpy(found.GetPolys().GetConnectivityArray()), np.int64).reshape(-1, 3),
        np.asarray(vtk_to_numpy(found.GetPointData().GetNormals()), np.float32),
    )


def _padded_block(inside: np.ndarray):
    """vtkImageData of 0 and 1 around what is inside, with a border of zeros, which closes the surface; its points have
    the indices of the array."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    spans = []
    for axis in range(3):
        there = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append((int(there[0]), int(there[-1]) + 1) if there.size else (0, 0))
    block = np.pad(inside[tuple(slice(*span) for span in spans)], 1).astype(np.uint8)
    image = vtk.vtkImageData()
    image.SetDimensions(*block.shape[::-1])
    image.SetOrigin(*(span[0] - 1 for span in reversed(spans)))
    image.GetPointData().SetScalars(numpy_to_vtk(block.ravel(), deep=True))
    return image
