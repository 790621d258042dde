"""Results in the 3D views: volumes by volume rendering, segmentations as surfaces that a worker makes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.contents import copied_voxels
from GANSynthesisLib.mrml.worker_job import WorkerJob
from GANSynthesisLib.surfaces import SMOOTHING, Surface
from GANSynthesisLib.volumes import Volume

SEGMENTATION = "vtkMRMLSegmentationNode"
_SMOOTHING_PARAMETER = "Smoothing factor"  # of Slicer's conversion of binary label maps to closed surfaces


def needs_surfaces(node) -> bool:
    """Whether something has to be computed before a node can be shown in 3D."""
    return node.IsA(SEGMENTATION) and not node.GetSegmentation().ContainsRepresentation(_closed_surface())


def show_3d(node) -> None:
    """Show a segmentation that has surfaces, or a volume by volume rendering, in the 3D views."""
    if node.IsA(SEGMENTATION):
        node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(_closed_surface())
        node.GetDisplayNode().SetVisibility3D(True)
        return
    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(node) or logic.CreateDefaultVolumeRenderingNodes(node)
    display.SetVisibility(True)


class SurfacesJob(WorkerJob):
    """As `WorkerJob`: gives every segment of a segmentation node its closed surface, as Slicer's own conversion does,
    which stands still for it."""

    def __init__(self, node, worker: Worker):
        """Raises `JobError` where the worker is busy."""
        super().__init__(worker)
        self._node, self._segments = node, []

    def _asked(self, exchange: Exchange):
        segmentation, binary = self._node.GetSegmentation(), _binary_labelmap()
        layers, described = [], []
        for number in range(segmentation.GetNumberOfLayers(binary)):
            volume = yield from _layer(segmentation.GetLayerDataObject(number, binary))
            layers.append((yield from exchange.writing(volume)))
            for segment_id in segmentation.GetSegmentIDsForLayer(number, binary):
                self._segments.append(segment_id)
                value = segmentation.GetSegment(segment_id).GetLabelValue()
                described.append({"layer": number, "value": value})
        smoothing = float(segmentation.GetConversionParameter(_SMOOTHING_PARAMETER) or SMOOTHING)
        return "surfaces", {"layers": layers, "segments": described, "smoothing": smoothing}

    def _received(self, answer: list[dict[str, Any]], exchange: Exchange):
        segmentation = self._node.GetSegmentation()
        for segment_id, each in zip(self._segments, answer, strict=True):
            segment = segmentation.GetSegment(segment_id)
            if segment is not None:  # removed meanwhile
                segment.AddRepresentation(_closed_surface(), _poly_data(exchange.read(each)))
            yield
        segmentation.Modified()


def _layer(image) -> Generator[None, None, Volume]:
    """In steps, the label volume of a vtkOrientedImageData, in the coordinates of its segmentation."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    ijk_to_ras[:3, 3] = (ijk_to_ras @ [*image.GetExtent()[::2], 1])[:3]  # the array begins where the extent does
    voxels = yield from copied_voxels(image)
    return Volume(voxels, ijk_to_ras)


def _poly_data(surface: Surface):
    points, cells, data = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkPolyData()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(surface.points), deep=True))
    cells.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(surface.triangles).ravel(), deep=True))
    data.SetPoints(points)
    data.SetPolys(cells)
    normals = numpy_to_vtk(np.ascontiguousarray(surface.normals), deep=True)
    normals.SetName("Normals")
    data.GetPointData().SetNormals(normals)
    return data


def _closed_surface() -> str:
    return slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()


def _binary_labelmap() -> str:
    return slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
