"""Scene nodes -> volumes: world geometry, copied voxels, and one clear sentence for a node that cannot be used."""

import itertools
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GANSynthesisLib.asking import MASK
from GANSynthesisLib.mrml.contents import copied_voxels
from GANSynthesisLib.mrml.regions import Block, block_of_region, part_of, whole_of
from GANSynthesisLib.steps import ALONE, run_through
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, check_volume

# A non-linear transform that spreads a volume over more than this many times its voxels is a mistake, not a wish.
_GROWTH_LIMIT = 16
_SURFACE_SAMPLES = 24
_RESLICED = 1 << 14  # voxels in one step


def volume_from_node(node, item: int | None = None, role: str = "") -> Volume:
    """Volume (copied voxels (K, J, I), world RAS mm) of a scalar volume node, or of one item of a volume sequence
    node.

    The geometry is that of the world: a linear parent transform is multiplied into `ijk_to_ras`, and the voxels stay
    as they are. Under a non-linear parent transform, or one that shears the voxels, the image is resampled (linearly,
    the input's own spacing and orientation) onto a regular grid that encloses where the scene shows it. Outputs made
    from the volume lie in world coordinates too, under no transform.

    role: what the volume is for (`source`, `moving`, …), used in messages.
    Raises `VolumeError` naming the node: none, no voxels, NaN, constant, several values per voxel, or labels.
    """
    return run_through(reading_volume(node, item, role))


def reading_volume(node, item: int | None = None, role: str = "", region=None) -> Generator[object, None, Volume]:
    """The same in steps of some milliseconds; of the volume only what is inside a markups ROI, where one is given."""
    shown = _shown(node, item, role)
    block = _block(shown, region)
    steps = _resliced(shown, block) if shown.resampled else copied_voxels(shown.node.GetImageData(), block)
    voxels = yield from steps
    volume = Volume(voxels, part_of(shown.grid, block).ijk_to_ras, unit=_unit(shown.node), name=shown.name)
    yield ALONE
    check_volume(volume, role)
    return volume


def grid_from_node(node, item: int | None = None, role: str = "", region=None) -> Grid:
    """The grid of the volume that `reading_volume` gives. Raises `VolumeError` as that does, but for what only the
    voxels show."""
    shown = _shown(node, item, role)
    return part_of(shown.grid, _block(shown, region))


def is_sequence(node) -> bool:
    """Whether the node is a sequence (4D): to be treated item by item."""
    return bool(node) and node.IsA("vtkMRMLSequenceNode")


def frame_count(node) -> int:
    """Number of items of a sequence node."""
    return node.GetNumberOfDataNodes()


def _check_node(node, role: str) -> None:
    purpose = f" as {role}" if role else ""
    if node is None:
        raise VolumeError(f"No volume is chosen{purpose}: choose a scalar volume of the scene.")
    if not hasattr(node, "IsA") or not (node.IsA("vtkMRMLVolumeNode") or is_sequence(node)):
        kind = node.GetClassName() if hasattr(node, "GetClassName") else type(node).__name__
        raise VolumeError(f"{_title(node)} is a {kind}, not a volume: choose a scalar volume{purpose}.")


def _title(node) -> str:
    return f"'{node.GetName()}'" if hasattr(node, "GetName") else f"{node!r}"


def _item(sequence, item: int):
    count = frame_count(sequence)
    if not 0 <= item < count:
        raise VolumeError(f"Sequence '{sequence.GetName()}' has {count} items: there is no item {item}.")
    return sequence.GetNthDataNode(item)


def _check_image(node, name: str, role: str) -> None:
    purpose = f" as {role}" if role else ""
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise VolumeError(f"'{name}' is a {node.GetClassName()}, not a scalar volume: choose another one{purpose}.")
    if node.IsA("vtkMRMLLabelMapVolumeNode") and role != MASK:
        raise VolumeError(f"'{name}' is a label map: choose an image{purpose} (labels carry no intensities).")
    if node.IsA("vtkMRMLTensorVolumeNode"):  # the base class of color, diffusion-weighted and diffusion-tensor volumes
        raise VolumeError(
            f"'{name}' is a {node.GetClassName()} with several values per voxel: convert it to a scalar volume first "
            "(module Vector to Scalar Volume, or a scalar map of the diffusion data)."
        )
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise VolumeError(f"Volume '{name}' is empty: load an image into it first.")
    if image.GetNumberOfScalarComponents() != 1:
        raise VolumeError(
            f"Volume '{name}' has {image.GetNumberOfScalarComponents()} values per voxel: "
            "convert it to a scalar volume first."
        )


def _sequence_transform(sequence):
    """The transform that moves what the scene shows of the sequence, or None; it must not change from item to item."""
    transforms = []
    for browser in _nodes("vtkMRMLSequenceBrowserNode"):
        proxy = browser.GetProxyNode(sequence) if browser.IsSynchronizedSequenceNode(sequence, True) else None
        if proxy is not None and proxy.GetParentTransformNode() is not None:
            transforms.append(proxy.GetParentTransformNode())
    for transform in transforms:
        ancestor = transform
        while ancestor is not None:
            if any(browser.IsProxyNodeID(ancestor.GetID()) for browser in _nodes("vtkMRMLSequenceBrowserNode")):
                raise VolumeError(
                    f"Sequence '{sequence.GetName()}' is moved by '{ancestor.GetName()}', which changes "
                    "from item to item: harden it on the items, or take the sequence out from under it."
                )
            ancestor = ancestor.GetParentTransformNode()
    return transforms[0] if transforms else None


def _nodes(class_name: str) -> list:
    return slicer.util.getNodesByClass(class_name)


class _Shown(NamedTuple):
    """An image of the scene: its node, the transform above it, its name, its own grid, the grid of the world on which
    it is read, and whether its voxels are to be resampled onto that."""

    node: object
    parent: object
    name: str
    local: Grid
    grid: Grid
    resampled: bool


def _shown(node, item: int | None, role: str) -> _Shown:
    _check_node(node, role)
    if is_sequence(node):
        if item is None:
            raise VolumeError(
                f"'{node.GetName()}' is a sequence: say which of its {frame_count(node)} items is meant."
            )
        image, parent = _item(node, item), _sequence_transform(node)
        name = f"{node.GetName()} [{item}]"
    else:
        image, parent, name = node, node.GetParentTransformNode(), node.GetName()
    _check_image(image, name, role)
    ijk_to_ras = _array(image.GetIJKToRASMatrix)
    if not (np.isfinite(ijk_to_ras).all() and abs(np.linalg.det(ijk_to_ras)) > 1e-9):
        raise VolumeError(
            f"Volume '{name}' has no extent in space: correct its spacing and directions in module Volumes."
        )
    local = Grid(image.GetImageData().GetDimensions()[::-1], ijk_to_ras)
    if parent is not None and not parent.IsTransformToWorldLinear():
        return _Shown(image, parent, name, local, _enclosing_grid(local, parent, name), True)
    if parent is not None:
        ijk_to_ras = _array(parent.GetMatrixTransformToWorld) @ ijk_to_ras
    world = Grid(local.shape, ijk_to_ras)
    return _Shown(image, parent, name, local, world.regular(), not world.is_regular())


def _array(matrix_into) -> np.ndarray:
    """The 4 by 4 matrix that a node's method writes."""
    matrix = vtk.vtkMatrix4x4()
    matrix_into(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _block(shown: _Shown, region) -> Block:
    return whole_of(shown.grid) if region is None else block_of_region(shown.grid, region, shown.name)


def _enclosing_grid(local: Grid, parent, name: str) -> Grid:
    """The regular grid, with the spacing and the (made orthogonal) axes of `local`, around where the scene shows
    `local` under the non-linear transform `parent`."""
    to_world = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(to_world)
    steps = [np.linspace(-0.5, size - 0.5, min(size, _SURFACE_SAMPLES) + 1) for size in local.shape[::-1]]
    ends = [(values[0], values[-1]) for values in steps]
    lattice = [
        index for index in itertools.product(*steps) if any(i in end for i, end in zip(index, ends, strict=True))
    ]
    surface = np.array(lattice) @ local.ijk_to_ras[:3, :3].T + local.ijk_to_ras[:3, 3]
    axes = local.regular().directions
    along = np.array([to_world.TransformPoint(point) for point in surface]) @ axes
    lower, upper = along.min(axis=0), along.max(axis=0)
    size = np.maximum(np.ceil((upper - lower) / local.spacing - 1e-3), 1)
    if not np.all(np.isfinite(size)) or np.prod(size) > _GROWTH_LIMIT * np.prod(np.array(local.shape, float)):
        raise VolumeError(
            f"Volume '{name}' is spread beyond use by its parent transform: correct or remove the transform."
        )
    return Grid.centred(axes @ ((lower + upper) / 2), tuple(size[::-1].astype(int)), local.spacing, axes)


def _resliced(shown: _Shown, block: Block) -> Generator[None, None, np.ndarray]:
    """In steps, voxels (K, J, I) of a block of the world's grid; the image's minimum where it has nothing."""
    image, from_world = shown.node.GetImageData(), vtk.vtkGeneralTransform()
    if shown.parent is not None:
        shown.parent.GetTransformFromWorld(from_world)
    chain = vtk.vtkGeneralTransform()  # output i, j, k -> world -> the volume's own RAS -> input i, j, k
    chain.PostMultiply()
    chain.Concatenate(slicer.util.vtkMatrixFromArray(shown.grid.ijk_to_ras))
    chain.Concatenate(from_world)
    chain.Concatenate(slicer.util.vtkMatrixFromArray(np.linalg.inv(shown.local.ijk_to_ras)))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetBackgroundLevel(image.GetScalarRange()[0])
    voxels = np.empty(part_of(shown.grid, block).shape, vtk_to_numpy(image.GetPointData().GetScalars()).dtype)
    columns, rows, slices = block[::-1]
    began = max(image.GetMTime(), chain.GetMTime())
    height = max(1, min(voxels.shape[1], _RESLICED // voxels.shape[2]))
    for k in range(slices.start, slices.stop):
        for j in range(rows.start, rows.stop, height):
            end = min(j + height, rows.stop)
            reslice.SetOutputExtent(columns.start, columns.stop - 1, j, end - 1, k, k)
            reslice.Update()
            part = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
            voxels[k - slices.start, j - rows.start : end - rows.start] = part.reshape(end - j, -1)
            yield
            if max(image.GetMTime(), chain.GetMTime()) != began:
                raise VolumeError(f"'{shown.name}' was changed or moved while it was being read: try again.")
    return voxels


def _unit(node) -> str:
    """Unit of the voxel values as far as the node knows it: "HU" for CT, else its UCUM code, else empty."""
    units = node.GetVoxelValueUnits()
    code = units.GetCodeValue() if units else ""
    return "HU" if code in ("[hnsf'U]", "hnsf'U") else code or ""
