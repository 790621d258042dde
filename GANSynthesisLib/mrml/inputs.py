"""Scene nodes -> volumes: world geometry, copied voxels, and one clear sentence for a node that cannot be used."""

import itertools

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from GANSynthesisLib.volumes import Grid, Volume, VolumeError, check_volume, resample

# A non-linear transform that spreads a volume over more than this many times its voxels is a mistake, not a wish.
_GROWTH_LIMIT = 16
_SURFACE_SAMPLES = 24


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
    volume = _world_volume(image, parent, name)
    check_volume(volume, role)
    return volume


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
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
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


def _world_volume(node, parent, name: str) -> Volume:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    if not (np.isfinite(ijk_to_ras).all() and abs(np.linalg.det(ijk_to_ras)) > 1e-9):
        raise VolumeError(
            f"Volume '{name}' has no extent in space: correct its spacing and directions in module Volumes."
        )
    if parent is not None and not parent.IsTransformToWorldLinear():
        return _warped_volume(node, parent, ijk_to_ras, name)
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
        ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix) @ ijk_to_ras
    volume = Volume(np.array(slicer.util.arrayFromVolume(node)), ijk_to_ras, unit=_unit(node), name=name)
    return volume if volume.grid.is_regular() else resample(volume, volume.grid.regular())


def _warped_volume(node, parent, ijk_to_ras: np.ndarray, name: str) -> Volume:
    """The volume where the non-linear transform `parent` shows it, resampled onto a regular world grid."""
    to_world = vtk.vtkGeneralTransform()
    from_world = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(to_world)
    parent.GetTransformFromWorld(from_world)
    local = Grid(node.GetImageData().GetDimensions()[::-1], ijk_to_ras)
    grid = _enclosing_grid(local, to_world, name)
    return Volume(_resliced(node, local, from_world, grid), grid.ijk_to_ras, unit=_unit(node), name=name)


def _enclosing_grid(local: Grid, to_world, name: str) -> Grid:
    """The regular grid, with the spacing and the (made orthogonal) axes of `local`, around where `to_world` takes
    `local`."""
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


def _resliced(node, local: Grid, from_world, grid: Grid) -> np.ndarray:
    """Voxels (K, J, I) of the node's image on a world grid; the image's minimum where it has nothing."""
    chain = vtk.vtkGeneralTransform()  # output i, j, k -> world -> the volume's own RAS -> input i, j, k
    chain.PostMultiply()
    chain.Concatenate(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras))
    chain.Concatenate(from_world)
    chain.Concatenate(slicer.util.vtkMatrixFromArray(np.linalg.inv(local.ijk_to_ras)))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(node.GetImageData())
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    k, j, i = grid.shape
    reslice.SetOutputExtent(0, i - 1, 0, j - 1, 0, k - 1)
    reslice.SetBackgroundLevel(node.GetImageData().GetScalarRange()[0])
    reslice.Update()
    return np.array(vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())).reshape(grid.shape)


def _unit(node) -> str:
    """Unit of the voxel values as far as the node knows it: "HU" for CT, else its UCUM code, else empty."""
    units = node.GetVoxelValueUnits()
    code = units.GetCodeValue() if units else ""
    return "HU" if code in ("[hnsf'U]", "hnsf'U") else code or ""
