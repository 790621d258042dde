"""Segmentation and label map nodes -> label volumes where the scene shows them, without a trace in the scene."""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import slicer
import vtk

from GANSynthesisLib.mrml.contents import copied_voxels, values_of
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.volumes import Volume, VolumeError

LABEL_MAP = "vtkMRMLLabelMapVolumeNode"
SEGMENTATION = "vtkMRMLSegmentationNode"


def has_labels(node) -> bool:
    """Whether the node is a segmentation or a label map."""
    return node is not None and (node.IsA(SEGMENTATION) or node.IsA(LABEL_MAP))


def labels_from_node(node, role: str = "") -> list[Volume]:
    """All that `reading_labels` gives, at once."""
    return run_through(reading_labels(node, role))


def reading_labels(node, role: str = "") -> Generator[None, None, list[Volume]]:
    """In steps, label volumes (K, J, I), world RAS mm, of a segmentation or label map node; several where segments
    overlap.

    Each has a grid of its own, as large as its segments need; label names are the segments', or those of the label
    map's colors. Under a non-linear parent transform labels are resampled from the nearest voxel. Segments that exist
    as surfaces only are filled with voxels for this purpose; the node stays as it is. role: what it is for, used in
    messages. Raises VolumeError for another kind of node, and for one without labels.
    """
    purpose = f" as {role}" if role else ""
    if not has_labels(node):
        raise VolumeError(f"No segmentation is chosen{purpose}: choose a segmentation or a label map of the scene.")
    layers = yield from _of_segmentation(node) if node.IsA(SEGMENTATION) else _of_label_map(node)
    if not layers:
        raise VolumeError(f"'{node.GetName()}' is empty: choose another segmentation{purpose}.")
    return layers


def _of_segmentation(node) -> Generator[None, None, list[Volume]]:
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(binary):
        converted = slicer.vtkSegmentation()
        converted.DeepCopy(segmentation)
        if not converted.CreateRepresentation(binary):
            raise VolumeError(
                f"'{node.GetName()}' cannot be turned into voxels: create its binary label map in Slicer's module "
                "Segmentations."
            )
        segmentation = converted
    layers = []
    for layer in range(segmentation.GetNumberOfLayers(binary)):
        segments = [segmentation.GetSegment(each) for each in segmentation.GetSegmentIDsForLayer(layer, binary)]
        names = {segment.GetLabelValue(): segment.GetName() for segment in segments}
        layers.append((yield from _world_labels(segmentation.GetLayerDataObject(layer, binary), node, names)))
    return layers


def _of_label_map(node) -> Generator[None, None, list[Volume]]:
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        return []
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    image.ShallowCopy(node.GetImageData())
    node.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    volume = yield from _world_labels(image, node, {})
    colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() else None
    if colors is None or colors.GetType() not in (colors.File, colors.User):
        return [volume]  # Slicer's own tables name colors ("peach"), not structures
    values = yield from values_of(volume.voxels)
    names = {value: colors.GetColorName(value) for value in values if value != 0}
    return [replace(volume, label_names={value: name for value, name in names.items() if name})]


def _world_labels(image, node, names: dict[int, str]) -> Generator[None, None, Volume]:
    """Volume of a `vtkOrientedImageData` in the coordinates of the node."""
    name, parent = node.GetName(), node.GetParentTransformNode()
    if image is None or image.GetNumberOfPoints() == 0:
        return Volume(np.zeros((1, 1, 1), np.uint8), name=name, label_names=names)
    linear = parent is None or parent.IsTransformToWorldLinear()
    if not linear:
        copy = slicer.vtkOrientedImageData()
        copy.DeepCopy(image)
        slicer.vtkSlicerSegmentationsModuleLogic.ApplyParentTransformToOrientedImageData(node, copy)
        image = copy
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    extent = image.GetExtent()
    ijk_to_ras[:3, 3] = (ijk_to_ras @ [*extent[::2], 1])[:3]  # the array begins where the extent does
    if parent is not None and linear:
        parent.GetMatrixTransformToWorld(matrix)
        ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix) @ ijk_to_ras
    voxels = yield from copied_voxels(image)
    return Volume(voxels, ijk_to_ras, name=name, label_names=names)
