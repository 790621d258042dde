"""A made patch put into a volume of the scene at a point: a new volume node, and a segmentation of what was put in."""

from __future__ import annotations

import slicer

from GANSynthesisLib.insertion import insert_patch
from GANSynthesisLib.mrml.inputs import volume_from_node
from GANSynthesisLib.mrml.labels import labels_from_node
from GANSynthesisLib.mrml.outputs import segmentation_to_node, show_like, volume_to_node, whole_or_nothing
from GANSynthesisLib.mrml.provenance import attributes_of, read_provenance, write_provenance
from GANSynthesisLib.volumes import Volume, VolumeError, resample

MARKUPS = "vtkMRMLMarkupsNode"


def insert_patch_nodes(volume_node, patch_node, at, labels_node=None, *, blending: str = "poisson",
                       match: bool = False, scene=None) -> tuple:
    """(volume node, segmentation node) of `insertion.insert_patch`; the nodes given stay as they are.

    at: a markups node, whose last point is taken, or a point (RAS, mm) of the world. labels_node: segmentation or
    label map of the patch. Both new nodes carry where they come from. Raises VolumeError naming the node.
    """
    scene = scene or slicer.mrmlScene
    point = _point(at)
    volume, patch = volume_from_node(volume_node, role="volume"), volume_from_node(patch_node, role="patch")
    labels = None if labels_node is None else _labels(labels_node, patch)
    made = insert_patch(volume, patch, point, labels, blending=blending, match=match)
    with whole_or_nothing(scene):
        new = volume_to_node(made.volume, like=volume_node, scene=scene)
        show_like(new, volume_node)
        marked = segmentation_to_node(made.labels, like=new, scene=scene)
        _write_origin(new, marked, volume_node, patch_node, point, blending)
    return new, marked


def _point(at) -> tuple[float, float, float]:
    if not hasattr(at, "IsA"):
        return tuple(float(value) for value in at)
    if not at.IsA(MARKUPS):
        raise VolumeError(f"'{at.GetName()}' is a {at.GetClassName()}: choose a point list.")
    if at.GetNumberOfControlPoints() == 0:
        raise VolumeError(f"The point list '{at.GetName()}' holds no point: place one where the patch is to go.")
    return tuple(at.GetNthControlPointPositionWorld(at.GetNumberOfControlPoints() - 1))


def _labels(node, patch: Volume) -> Volume:
    """The labels of a node on the patch's grid; of segments that overlap, the later ones."""
    found = labels_from_node(node, "labels of the patch")
    layers = [resample(layer, patch.grid, "nearest", fill=0) for layer in found]
    voxels, names = layers[0].voxels.copy(), dict(layers[0].label_names)
    for layer in layers[1:]:
        first = max(names)
        voxels[layer.voxels > 0] = layer.voxels[layer.voxels > 0] + first
        names |= {value + first: name for value, name in layer.label_names.items() if value}
    return Volume(voxels, patch.ijk_to_ras, name=node.GetName(), label_names=names)


def _write_origin(new, marked, volume_node, patch_node, point, blending: str) -> None:
    origin = read_provenance(patch_node)
    attributes = attributes_of(
        "insert", (origin.get("Model", "none"), origin.get("ModelHash", ""), origin.get("System", "")),
        {"volume": volume_node, "patch": patch_node}, hashes={}, warnings=[],
        settings={"at_ras": [round(value, 3) for value in point], "blending": blending},
    )
    for node in (new, marked):
        write_provenance(node, attributes)
