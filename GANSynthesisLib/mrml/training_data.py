"""Volumes and segmentations of the scene -> files of training cases.

A role (`source`, `target`, …) is given as a subject-hierarchy item: a folder, whose volumes, at any depth, are the
role's images in the order the hierarchy shows them, or a single volume or segmentation. Which images belong together:
those of the same name where every role has the same names, else the first of each role, the second of each, and so on.
Folders within the folder of images alone (`image`) are classes, named as they are.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from GANSynthesisLib.mrml.inputs import reading_volume
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.volumes import Volume

VOLUME, LABEL_MAP, SEGMENTATION = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLSegmentationNode"
IMAGES_OF_LABELS = {"labels": ("source", "image"), "fixed_labels": ("fixed",), "moving_labels": ("moving",)}


@dataclass(frozen=True)
class SceneCase:
    """Nodes of one training case by role, the name its files get, and the class it is of, if any."""

    name: str
    nodes: dict
    class_name: str = ""


def scene_cases(items: dict[str, int], paired: bool = True) -> list[SceneCase]:
    """The cases in subject-hierarchy items, role -> item ID (see the module's docstring).

    paired: whether the roles of a case belong together; labels always belong to their image. Raises DataError: an
    item without volumes, roles with different numbers of them.
    """
    nodes = {role: _nodes_in(item, role) for role, item in items.items()}
    for role, found in nodes.items():
        if not found:
            wanted = "label maps or segmentations" if role in IMAGES_OF_LABELS else "volumes"
            raise DataError(f"'{_item_name(items[role])}' holds no {wanted} for '{role}': choose another folder.")
    groups = [tuple(nodes)] if paired else [
        (role, *(labels for labels, images in IMAGES_OF_LABELS.items() if role in images and labels in nodes))
        for role in nodes if role not in IMAGES_OF_LABELS
    ]
    cases, names = [], set()
    for group in groups:
        for together in _matched({role: nodes[role] for role in group}):
            name = _unique(_file_name(next(iter(together.values())).GetName()), names)
            class_name = _folder_within(items["image"], together["image"]) if "image" in together else ""
            cases.append(SceneCase(name, together, class_name))
    return cases


def segment_names(cases: list[SceneCase]) -> list[str]:
    """Names of the segments of all cases, in the order met: the label values 1, 2, … of the files."""
    names = {}
    for case in cases:
        for node in case.nodes.values():
            if node.IsA(SEGMENTATION):
                content = node.GetSegmentation()
                names |= {content.GetNthSegment(n).GetName(): None for n in range(content.GetNumberOfSegments())}
    return list(names)


@dataclass(frozen=True)
class CaseFile:
    """One file of a case: its path in the folder of the cases, `role/[class/]name.nii`, and its volume.

    channels: 0, or how many structures of a label volume become one channel each.
    """

    path: str
    volume: Volume
    channels: int = 0


def case_files(cases: list[SceneCase]) -> Iterator[CaseFile | None]:
    """The files of the cases, one after the other, each read from the scene when its turn comes; None between two
    steps of one that takes longer.

    Labels lie on the grid of their image, as a single label map, or for registrations with one channel of 0 and 1 per
    structure. Raises VolumeError and DataError.
    """
    names = segment_names(cases)
    for case in cases:
        for role, node in case.nodes.items():
            path = "/".join(filter(None, (role, _file_name(case.class_name, ""), f"{case.name}.nii")))
            if role not in IMAGES_OF_LABELS:
                volume = yield from reading_volume(node, role=role)
                yield CaseFile(path, volume)
                continue
            image = next(case.nodes[each] for each in IMAGES_OF_LABELS[role] if each in case.nodes)
            labels = yield from labels_on(node, image, names)
            yield None
            yield CaseFile(path, labels, 0 if role == "labels" else max(len(names), int(labels.voxels.max())))


def labels_on(node, image_node, names: list[str]) -> Generator[None, None, Volume]:
    """Label volume (uint8 or uint16 voxels) of a label map or segmentation node, on the world grid of its image node;
    in steps, one for each segment.

    names: segment names in the order of their label values 1, 2, …. Raises DataError where the two cannot be brought
    together: a label map on another grid, or an image under a non-linear transform.
    """
    image = yield from reading_volume(image_node)
    if node.IsA(SEGMENTATION):
        voxels = np.zeros(slicer.util.arrayFromVolume(image_node).shape, np.uint16)
        content = node.GetSegmentation()
        for number in range(content.GetNumberOfSegments()):
            inside = slicer.util.arrayFromSegmentBinaryLabelmap(node, content.GetNthSegmentID(number), image_node) > 0
            voxels[inside] = names.index(content.GetNthSegment(number).GetName()) + 1
            yield
    else:
        voxels = np.array(slicer.util.arrayFromVolume(node))
        if not np.allclose(_world_matrix(node), image.ijk_to_ras, atol=1e-3):
            raise DataError(
                f"The label map '{node.GetName()}' does not lie on the grid of '{image_node.GetName()}': resample it, "
                "or import it as a segmentation."
            )
    if voxels.shape != image.shape:
        raise DataError(
            f"The labels '{node.GetName()}' do not fit the image '{image_node.GetName()}' as the scene shows it: "
            "harden its transform, or give labels of the same grid."
        )
    kind = np.uint8 if voxels.max() < 256 else np.uint16
    return image.with_voxels(voxels.astype(kind), name=node.GetName(), unit="")


def _nodes_in(item: int, role: str) -> list:
    """Volume nodes of an item and below it, in the order shown; for labels, label maps and segmentations."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    below = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, below, True)
    items = [item, *(below.GetId(index) for index in range(below.GetNumberOfIds()))]
    kinds = (LABEL_MAP, SEGMENTATION) if role in IMAGES_OF_LABELS else (VOLUME,)
    nodes = [hierarchy.GetItemDataNode(each) for each in items]
    return [node for node in nodes if node is not None and node.GetClassName() in kinds]


def _item_name(item: int) -> str:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene).GetItemName(item)


def _folder_within(item: int, node) -> str:
    """Name of the folder right below the item that the node is in, at any depth; empty where it is in none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    own = hierarchy.GetItemByDataNode(node)
    below, parent = own, hierarchy.GetItemParent(own)
    while parent not in (item, hierarchy.GetInvalidItemID(), hierarchy.GetSceneItemID()):
        below, parent = parent, hierarchy.GetItemParent(parent)
    return hierarchy.GetItemName(below) if parent == item and below != own else ""


def _matched(nodes: dict[str, list]) -> list[dict]:
    """Nodes that belong together, by role."""
    names = {role: sorted(node.GetName() for node in found) for role, found in nodes.items()}
    first, *others = names.values()
    if all(other == first for other in others) and len(set(first)) == len(first):
        nodes = {role: sorted(found, key=lambda node: node.GetName()) for role, found in nodes.items()}
    counts = {role: len(found) for role, found in nodes.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{role} has {count}" for role, count in counts.items())
        raise DataError(f"The folders hold different numbers of images ({told}): every case needs one of each.")
    return [dict(zip(nodes, together, strict=True)) for together in zip(*nodes.values(), strict=True)]


def _file_name(name: str, otherwise: str = "case") -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or otherwise


def _unique(name: str, taken: set[str]) -> str:
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    taken.add(chosen)
    return chosen


def _world_matrix(node) -> np.ndarray:
    """Voxel indices -> world RAS of a volume node; its parent transform, if any, must be linear."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local, parent = slicer.util.arrayFromVTKMatrix(matrix), node.GetParentTransformNode()
    if parent is None:
        return local
    if not parent.IsTransformToWorldLinear():
        raise DataError(f"The label map '{node.GetName()}' is under a non-linear transform: harden it first.")
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix) @ local
