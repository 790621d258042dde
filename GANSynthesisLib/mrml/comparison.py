"""Looking at an input and a result together: volumes that show both, made where the user asks for them."""

import numpy as np
import slicer
import vtk

from GANSynthesisLib.intensity import sampled
from GANSynthesisLib.mrml.inputs import volume_from_node
from GANSynthesisLib.mrml.outputs import volume_to_node
from GANSynthesisLib.volumes import Grid, Volume, resample

_SQUARE_MM = 20.0


def on_grid_of(node, other) -> bool:
    """Whether two volume nodes, where the scene shows them, have their voxels in the same places."""
    return all(each.GetParentTransformNode() is None for each in (node, other)) and _grid(node).same_as(_grid(other))


def _grid(node) -> Grid:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return Grid(node.GetImageData().GetDimensions()[::-1], slicer.util.arrayFromVTKMatrix(matrix))


def checkerboard(first, second):
    """New volume node on the grid of `first`: its intensities and those of `second` in alternating blocks of 2 cm.

    Both are scaled to their own range (1 to 99 %), because they are of different kinds.
    """
    one, other = _on_one_grid(first, second)
    blocks = [index * step // _SQUARE_MM
              for index, step in zip(np.indices(one.shape, sparse=True), one.spacing[::-1], strict=True)]
    of_first = sum(blocks) % 2
    name = f"{first.GetName()} and {second.GetName()} [checkerboard]"
    return volume_to_node(one.with_voxels(np.where(of_first == 0, _scaled(one), _scaled(other)), name=name, unit=""),
                          like=first)


def difference(result, reference):
    """New volume node on the grid of `reference`: the result less the reference, with a window around zero.

    In the unit of the two where it is the same known one, else both scaled to their own range (1 to 99 %).
    """
    one, other = _on_one_grid(reference, result)
    if one.unit and one.unit == other.unit:
        values, unit = other.voxels.astype(np.float32) - one.voxels.astype(np.float32), one.unit
    else:
        values, unit = _scaled(other) - _scaled(one), ""
    name = f"{result.GetName()} [difference from {reference.GetName()}]"
    reach = float(np.percentile(np.abs(values), 99)) or 1.0
    node = volume_to_node(one.with_voxels(values, name=name, unit=unit), like=result)
    node.GetDisplayNode().SetAutoWindowLevel(False)  # a unit of HU would have brought a preset of CT
    node.GetDisplayNode().SetWindowLevel(2 * reach, 0)
    return node


def show_3d(node) -> None:
    """Show a segmentation as surfaces, or a volume by volume rendering, in the 3D views."""
    if node.IsA("vtkMRMLSegmentationNode"):
        node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility3D(True)
        return
    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(node) or logic.CreateDefaultVolumeRenderingNodes(node)
    display.SetVisibility(True)


def _on_one_grid(first, second) -> tuple[Volume, Volume]:
    one, other = volume_from_node(first), volume_from_node(second)
    if not other.grid.same_as(one.grid):
        other = resample(other, one.grid)
    return one, other


def _scaled(volume: Volume) -> np.ndarray:
    """Float32 in 0 … 1 from the 1st to the 99th percentile of a sample of the voxels."""
    low, high = np.percentile(sampled(volume.voxels, 500_000), (1, 99))
    return np.clip((volume.voxels.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
