"""Volumes, labels and transforms -> scene nodes, in world coordinates, with names, colors and display as Slicer's
users expect.

A node that the caller gives is filled and keeps its name; otherwise a new one is added beside the input. No other node
is touched, and none is left behind when something fails.
"""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import slicer

from GANSynthesisLib.intensity import sampled
from GANSynthesisLib.mrml.contents import (
    GRID_TRANSFORM,
    Labels,
    content_of,
    fill_segmentation,
    fill_transform,
    fill_volume,
)
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.volumes import Grid, Volume, VolumeError

SEQUENCE = "vtkMRMLSequenceNode"
VOLUME = "vtkMRMLScalarVolumeNode"
SEGMENTATION = "vtkMRMLSegmentationNode"
TRANSFORM = "vtkMRMLTransformNode"
LINEAR_TRANSFORM = "vtkMRMLLinearTransformNode"

_MEASURED_VOXELS = 1_000_000  # of an image whose window has to be found
# Part of the body, as cards name it -> display preset of Slicer's module Volumes; the first that fits is taken.
_CT_PRESETS = (
    (("brain", "head"), "CT_BRAIN"),
    (("lung", "chest", "thorax"), "CT_LUNG"),
    (("abdomen", "pelvis", "prostate", "liver"), "CT_ABDOMEN"),
)


def check_output_node(node, class_names: tuple[str, ...], inputs: dict) -> None:
    """Raise `VolumeError` unless `node` is None, or one of these classes exactly and neither an input nor above one.

    inputs: role -> input node.
    """
    if node is None:
        return
    kind = node.GetClassName() if hasattr(node, "GetClassName") else type(node).__name__
    if kind not in class_names:
        title = f"'{node.GetName()}'" if hasattr(node, "GetName") else repr(node)
        raise VolumeError(
            f"{title} is a {kind} and cannot take the output: choose a {' or '.join(class_names)}, or none."
        )
    for role, each in inputs.items():
        if node is each:
            raise VolumeError(
                f"'{node.GetName()}' is the input {role} and is not overwritten: choose another output, or none."
            )
        if node.IsA(TRANSFORM) and hasattr(each, "GetParentTransformNode") and _is_above(node, each):
            raise VolumeError(f"'{node.GetName()}' moves the input {role}: choose another output transform, or none.")


def check_can_be_moved(node) -> None:
    """Raise `VolumeError` unless the node can be put under a registration's transform: it must be under none yet."""
    if node.IsA(SEQUENCE):
        raise VolumeError(
            f"'{node.GetName()}' is a sequence: put the nodes that show it under the transform sequence by hand."
        )
    parent = node.GetParentTransformNode()
    if parent is not None:
        raise VolumeError(
            f"'{node.GetName()}' is under the transform '{parent.GetName()}': "
            "harden that first, or use the resampled volume."
        )


def _is_above(transform, node) -> bool:
    parent = node.GetParentTransformNode()
    return parent is not None and (parent is transform or _is_above(transform, parent))


@contextmanager
def whole_or_nothing(scene):
    """Remove every node that was added inside the block if the block fails."""
    before = set(_node_ids(scene))
    try:
        yield
    except BaseException:
        for node_id in _node_ids(scene):
            if node_id not in before and scene.GetNodeByID(node_id) is not None:
                scene.RemoveNode(scene.GetNodeByID(node_id))
        raise


def _node_ids(scene) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def volume_to_node(
    volume: Volume, node=None, *, like=None, intensity: dict | None = None, anatomy: str = "", scene=None, content=None
):
    """`node`, or a new scalar volume node, with the volume's voxels, geometry, unit and a fitting display.

    like: input node in whose subject-hierarchy folder a new node is placed. intensity, anatomy: of the model card, for
    window and level: a preset for Hounsfield units, else the card's output range, else nearly all of the intensities.
    content: of `contents.content_of`, where it has been made already; the same goes for the functions below.
    """
    scene = scene or slicer.mrmlScene
    with whole_or_nothing(scene):
        result = node or add_node(VOLUME, volume.name, scene)
        if result.GetDisplayNode() is None:
            result.CreateDefaultDisplayNodes()
        show_volume(result, volume, intensity or {}, anatomy)  # before there are voxels, which would all be looked at
        fill_volume(result, volume, content)
        result.SetAndObserveTransformNodeID(None)
        if node is None:
            place_beside(result, like)
    return result


def writing_volume(volume: Volume, **options) -> Generator[None, None, object]:
    """As `volume_to_node`, in steps of which only the last one changes the scene."""
    content = yield from content_of(volume)
    return volume_to_node(volume, content=content, **options)


def segmentation_to_node(volume: Volume, node=None, *, like=None, scene=None, content: Labels | None = None):
    """`node`, or a new segmentation node, with one segment per name of the label volume, and its grid as reference
    geometry.

    Every name becomes a segment, present in the image or not, with SNOMED CT codes and color where the name is known.
    Segments that a given node had before are replaced.
    """
    scene = scene or slicer.mrmlScene
    with whole_or_nothing(scene):
        result = node or add_node(SEGMENTATION, volume.name, scene)
        result.SetAndObserveTransformNodeID(None)
        if like is not None and like.IsA(VOLUME) and like.GetScene() is scene:
            result.SetReferenceImageGeometryParameterFromVolumeNode(like)
        fill_segmentation(result, volume, content)
        result.CreateDefaultDisplayNodes()
        if node is None:
            place_beside(result, like)
    return result


def transform_to_node(
    transform, node=None, *, name: str = "", like=None, grid: Grid | None = None, scene=None, content=None
):
    """`node`, or a new transform node, such that a moving volume put under it is shown aligned with the fixed one.

    transform: `SpatialTransform`, fixed points -> moving points. MRML calls this direction "from parent". Without a
    displacement field the new node is a linear transform, else a grid transform that holds the whole map, sampled on
    the transform's grid, or on `grid` (the fixed volume's) where a given grid transform node takes a linear one.
    Raises `VolumeError` for a displacement field that a given linear transform node cannot hold.
    """
    kind = node.GetClassName() if node is not None else ""
    content = content or run_through(content_of(transform, class_name=kind, grid=grid))
    linear = content.IsA("vtkLinearTransform")
    if kind == LINEAR_TRANSFORM and not linear:
        raise VolumeError(
            f"'{node.GetName()}' is a linear transform and cannot hold a displacement field: choose none."
        )
    scene = scene or slicer.mrmlScene
    with whole_or_nothing(scene):
        result = node or add_node(LINEAR_TRANSFORM if linear else GRID_TRANSFORM, name, scene)
        fill_transform(result, transform, content=content)
        result.SetAndObserveTransformNodeID(None)
        if node is None:
            place_beside(result, like)
    return result


def show_volume(node, volume: Volume, intensity: dict, anatomy: str) -> None:
    """Window and level of a volume node's display (see `volume_to_node`)."""
    display = node.GetDisplayNode()
    if volume.unit == "HU":
        presets = [preset for words, preset in _CT_PRESETS if any(word in anatomy.lower() for word in words)]
        logic = slicer.modules.volumes.logic()
        if logic.ApplyVolumeDisplayPreset(display, presets[0] if presets else "CT_BONE"):
            return
    if intensity.get("kind") in ("window", "hounsfield"):
        low, high = intensity["lower"], intensity["upper"]
    else:
        low, high = np.percentile(sampled(volume.voxels, _MEASURED_VOXELS), (0.1, 99.9))
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, max(high, low + 1e-6))


def show_like(node, other) -> None:
    """Window, level and color table of the volume node as those of another."""
    if node.GetDisplayNode() is None or other.GetDisplayNode() is None or not other.IsA(VOLUME):
        return
    display, example = node.GetDisplayNode(), other.GetDisplayNode()
    display.SetAutoWindowLevel(example.GetAutoWindowLevel())
    display.SetWindowLevel(example.GetWindow(), example.GetLevel())
    display.SetAndObserveColorNodeID(example.GetColorNodeID())


def add_node(class_name: str, name: str, scene):
    """New node in the scene, its name made unique the way Slicer does it ("name_1")."""
    return scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name or "GANSynthesis"))


def place_beside(node, like) -> None:
    """Put the node into the subject-hierarchy folder (or study, or patient) that the node `like` is in."""
    if like is None or like.GetScene() is not node.GetScene():
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(like)
    if item == hierarchy.GetInvalidItemID():
        return
    parent = hierarchy.GetItemParent(item)
    own = hierarchy.GetItemByDataNode(node)
    if own == hierarchy.GetInvalidItemID():  # outside Slicer's GUI nothing makes items on its own
        hierarchy.CreateItem(parent, node)
    else:
        hierarchy.SetItemParent(own, parent)
