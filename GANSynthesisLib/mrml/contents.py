"""What nodes hold, made before there is a node: VTK objects of volumes, labels and transforms, and the way back.

Voxels are copied in steps of some milliseconds, for a thread that must not wait; the scene gets all of them at once.
"""

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from GANSynthesisLib.mrml.regions import Block, part_of, whole_of
from GANSynthesisLib.mrml.terminology import color_of, term_of
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.volumes import Grid, Volume

GRID_TRANSFORM = "vtkMRMLGridTransformNode"
_PART = 4 << 20  # bytes copied in one step


class Labels(NamedTuple):
    """A label map of several segments, a vtkOrientedImageData, and names of all its values but 0."""

    image: object
    names: dict[int, str]


def copied_voxels(image, block: Block | None = None) -> Generator[None, None, np.ndarray]:
    """Copied scalars (K, J, I) of a vtkImageData, or of a block of it, in steps; at once where somebody changes them
    meanwhile."""
    scalars, seen = image.GetPointData().GetScalars(), image.GetPointData().GetScalars().GetMTime()
    block = block or (slice(None),) * 3
    copy = np.empty_like(_voxels(image)[block], order="C")
    for rows in _parts(copy):
        now = _voxels(image)[block]
        if image.GetPointData().GetScalars() is not scalars or scalars.GetMTime() != seen or now.shape != copy.shape:
            return now.copy()
        copy[rows] = now[rows]
        yield
    return copy


def _voxels(image) -> np.ndarray:
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def content_of(value, *, labels: bool = False, class_name: str = "", grid: Grid | None = None) -> Generator:
    """In steps, what a node of a volume, of a label volume (`labels`) or of a spatial transform is to hold.

    class_name: of the transform node, where there is one already. grid: on which a linear transform is sampled for a
    grid transform node.
    """
    if not isinstance(value, Volume):
        return (yield from _transform(value, class_name, grid))
    return (yield from (_labels(value) if labels else _image_data(value.voxels, vtk.vtkImageData())))


def fill_volume(node, volume: Volume, content=None) -> None:
    """Voxels, geometry and unit of the volume into a scalar volume node, in the scene or not."""
    node.SetAndObserveImageData(content or run_through(content_of(volume)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    if volume.unit == "HU":
        node.SetVoxelValueQuantity(_coded("112031", "DCM", "Attenuation Coefficient"))
        node.SetVoxelValueUnits(_coded("[hnsf'U]", "UCUM", "Hounsfield unit"))
    else:
        node.SetVoxelValueQuantity(None)
        node.SetVoxelValueUnits(_coded(volume.unit, "UCUM", volume.unit) if volume.unit else None)


def fill_segmentation(node, volume: Volume, content: Labels | None = None) -> None:
    """Segments of a label volume into a segmentation node, in the scene or not; they share one label map, as in
    Slicer."""
    image, names = content or run_through(content_of(volume, labels=True))
    representation = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(representation)
    segmentation.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(image),
    )
    for label, name in sorted(names.items()):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*color_of(name, label))
        segment.SetLabelValue(label)
        term = term_of(name)
        if term:
            segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), term.entry)
        segment.AddRepresentation(representation, image)
        segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(name))


def fill_transform(node, transform, grid: Grid | None = None, content=None) -> None:
    """The map into a transform node, in the scene or not, in the direction "from parent": fixed to moving points."""
    node.SetAndObserveTransformFromParent(
        content or run_through(content_of(transform, class_name=node.GetClassName(), grid=grid)))


def _image_data(voxels: np.ndarray, image):
    """The vtkImageData with the voxels (K, J, I), or vectors (K, J, I, 3), as its scalars, in index space."""
    kind = np.dtype(np.uint8) if voxels.dtype == bool else voxels.dtype
    target = _scalars(image, voxels.shape[:3], 1, kind)
    for rows in _parts(voxels):
        target[rows] = voxels[rows, ..., None]
        yield
    return image


def _scalars(image, shape: tuple[int, int, int], components: int, kind) -> np.ndarray:
    """(K, J, I, components) view of new scalars of the vtkImageData, still to be filled."""
    scalars = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(np.dtype(kind)))
    scalars.SetNumberOfComponents(components)
    scalars.SetNumberOfTuples(int(np.prod(shape)))
    image.SetDimensions(*shape[::-1])
    image.GetPointData().SetScalars(scalars)
    return vtk_to_numpy(scalars).reshape(*shape, components)


def _labels(volume: Volume):
    image = yield from _image_data(volume.voxels, slicer.vtkOrientedImageData())
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    names = {label: name for label, name in volume.label_names.items() if label != 0}
    values = yield from values_of(volume.voxels)
    return Labels(image, {label: f"Label {label}" for label in values if label != 0} | names)


def values_of(voxels: np.ndarray) -> Generator[None, None, list[int]]:
    """In steps, the values that a label array (K, J, I) holds, in their order."""
    found = set()
    for rows in _parts(voxels):
        found.update(np.unique(voxels[rows]).tolist())
        yield
    return sorted(map(int, found))


def _transform(transform, class_name: str, grid: Grid | None):
    if transform.displacement is None and class_name != GRID_TRANSFORM:
        content = vtk.vtkTransform()
        content.SetMatrix(slicer.util.vtkMatrixFromArray(transform.matrix))
        return content
    return (yield from _grid_transform(transform, (transform.grid or grid).regular()))


def _grid_transform(transform, grid: Grid):
    """`vtkOrientedGridTransform` of the whole map, fixed RAS -> moving RAS."""
    image = vtk.vtkImageData()
    image.SetOrigin(*grid.ijk_to_ras[:3, 3])
    image.SetSpacing(*grid.spacing)
    vectors = _scalars(image, grid.shape, 3, np.float64)
    field = None if transform.displacement is None else transform.total_displacement(grid)
    for rows in _parts(vectors):
        slab = part_of(grid, (rows, *whole_of(grid)[1:]))
        part = transform.total_displacement(slab) if field is None else field[:, rows]
        vectors[rows] = np.moveaxis(part, 0, -1)
        yield
    directions = np.eye(4)
    directions[:3, :3] = grid.directions
    content = slicer.vtkOrientedGridTransform()
    content.SetDisplacementGridData(image)
    content.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    content.SetInterpolationModeToLinear()
    return content


def _parts(array: np.ndarray) -> Iterator[slice]:
    """Slices of the first axis, each of a few megabytes."""
    count = max(1, _PART // max(array[:1].nbytes, 1))
    return (slice(start, min(start + count, len(array))) for start in range(0, len(array), count))


def _coded(value: str, scheme: str, meaning: str):
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry
