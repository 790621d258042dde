"""Landmarks in both volumes, and everything a registration gives, in the scene."""

import numpy as np
import pytest
import slicer
import torch
import vtk
from test_logic_networks import PERCENTILE, add_head
from vtk.util.numpy_support import vtk_to_numpy

from GANSynthesisLib import models
from GANSynthesisLib.models import Card, Port, save_model
from GANSynthesisLib.mrml.landmarks import check_landmarks, landmark_errors
from GANSynthesisLib.mrml.outputs import transform_to_node
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, VolumeError
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

SETTINGS = {"patch": (16, 16, 16), "spacing": (4.0,), "width": 4, "critic_width": 4, "structures": 1,
            "structure_names": ("prostate",), "axes": "image"}


@pytest.fixture
def logic(tmp_path, monkeypatch):
    start_host()
    import GANSynthesis

    torch.manual_seed(0)
    system = build_system("wgan_registration", SETTINGS)
    needs = ("fixed", "moving")
    labels = {"label_names": {1: "prostate"}, "needs": needs}
    outputs = (Port("transform", "", "mm", needs=needs), Port("warped", "MR", needs=needs),
               Port("linear", "", "mm", needs=needs), Port("deformation", "", "mm", needs=needs),
               Port("jacobian", "", needs=needs), Port("segmentation", "", **labels),
               Port("warped_segmentation", "", **labels))
    plain = {key: list(each) if isinstance(each, tuple) else each for key, each in system.settings.as_dict().items()}
    save_model(tmp_path / "fuse.safetensors", system.deployed_state(), Card(
        name="fuse", title="Fuse", description="", system=system.name, task="register", settings=plain,
        inputs=(Port("fixed", "US", intensity=PERCENTILE), Port("moving", "MR", intensity=PERCENTILE)),
        outputs=outputs, spacing=(4.0,) * 3, shape=(16, 16, 16), context="3D", anatomy="prostate"))  # fmt: skip
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path))
    monkeypatch.setattr(models, "shipped_models_folder", lambda: tmp_path / "none")
    start_scene()
    return GANSynthesis.GANSynthesisLogic()


def markups(name, points, labels=()):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for index, point in enumerate(points):
        node.AddControlPoint(vtk.vtkVector3d(*map(float, point)), labels[index] if labels else "")
    return node


def bend() -> SpatialTransform:
    """An affine map and a smooth displacement of some mm, fixed to moving points."""
    grid = Grid.centred((0, 0, 0), (20, 24, 22), (5, 5, 5))
    x, y, z = np.moveaxis(grid.points(), -1, 0)
    field = np.stack([3 * np.sin(y / 30), 2 * np.cos(z / 25), 2 * np.sin(x / 20)]).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.05, 0.1, 0], [-0.1, 0.95, 0], [0, 0, 1]]
    matrix[:3, 3] = [8, -4, 6]
    return SpatialTransform(matrix, field, grid)


FIXED = np.array([[0.0, 0, 0], [10, -5, 3], [-12, 8, 9], [4, 15, -11]])


def test_landmarks_are_matched_by_label_and_measured_in_fixed_space(logic):
    transform = bend()
    node = transform_to_node(transform)
    moving = transform.points(FIXED)
    fixed = markups("F", FIXED, ["apex", "base", "cyst", "stone"])
    other = markups("M", moving[[2, 0, 3, 1]] + [0, 0, 0], ["cyst", "apex", "stone", "base"])
    found = logic.landmarkErrors(fixed, other, node)
    assert found.names == ("apex", "base", "cyst", "stone")
    assert found.after.max() < 0.1
    assert found.before == pytest.approx(np.linalg.norm(moving - FIXED, axis=1), abs=1e-3)
    assert "landmark error 0.0 mm" in str(found)


def test_points_without_common_labels_are_matched_by_order_and_transforms_above_count(logic):
    transform = bend()
    node = transform_to_node(transform)
    above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = vtk.vtkMatrix4x4()
    shift.SetElement(0, 3, 7)
    above.SetMatrixTransformToParent(shift)
    moving = transform.points(FIXED)
    other = markups("M", moving - [7, 0, 0])
    other.SetAndObserveTransformNodeID(above.GetID())
    assert landmark_errors(markups("F", FIXED), other, node).after.max() < 0.1


def test_moving_landmarks_that_were_put_under_the_transform_count_once(logic):
    transform = bend()
    node = transform_to_node(transform)
    other = markups("M", transform.points(FIXED))
    other.SetAndObserveTransformNodeID(node.GetID())
    found = landmark_errors(markups("F", FIXED), other, node)
    assert found.after.max() < 0.1 < found.before.min()
    shown = [0.0, 0, 0]
    other.GetNthControlPointPositionWorld(1, shown)
    assert np.linalg.norm(np.array(shown) - FIXED[1]) < 0.1, "the node itself is shown on the fixed landmark"


@pytest.mark.parametrize(("fixed", "moving", "sentence"), [
    (FIXED, FIXED[:2], "'F' have 4 points and 'M' 2"), (FIXED, [], "'M' hold no points"),
])
def test_landmarks_that_do_not_belong_together_are_named(logic, fixed, moving, sentence):
    with pytest.raises(VolumeError, match=sentence):
        check_landmarks(markups("F", fixed), markups("M", moving))
    with pytest.raises(VolumeError, match="one volume only"):
        check_landmarks(markups("F", FIXED), None)


def test_details_come_as_nodes_on_the_fixed_grid(logic):
    fixed, moving = add_head("US"), add_head("MR", seed=1)
    transform, warped = logic.register(fixed, moving, "fuse", details=True, device="cpu")
    scene = slicer.mrmlScene
    names = {scene.GetNthNode(index).GetName() for index in range(scene.GetNumberOfNodes())}
    assert {"MR to US [linear]", "MR to US [deformation]", "MR to US [jacobian]",
            "MR to US [segmentation of fixed]", "MR to US [segmentation of moving]"} <= names
    for name in ("deformation", "jacobian"):
        volume = scene.GetFirstNodeByName(f"MR to US [{name}]")
        assert volume.GetImageData().GetDimensions() == fixed.GetImageData().GetDimensions()
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        for node, matrix in zip((fixed, volume), matrices, strict=True):
            node.GetIJKToRASMatrix(matrix)
        assert np.allclose(*map(slicer.util.arrayFromVTKMatrix, matrices), atol=1e-4)
    for side in ("fixed", "moving"):
        node = scene.GetFirstNodeByName(f"MR to US [segmentation of {side}]")
        assert node.GetSegmentation().GetNthSegment(0).GetName() == "prostate"
        assert node.GetNodeReference("referenceImageGeometryRef") is fixed
    linear = scene.GetFirstNodeByName("MR to US [linear]")
    assert linear.IsLinear() and not transform.IsLinear()
    point = np.array([3.0, -5, 2])
    moved = [node.GetTransformFromParent().TransformPoint(point) for node in (linear, transform)]
    assert np.linalg.norm(np.subtract(*moved)) < 20


def test_without_details_only_transform_and_aligned_volume_are_made(logic):
    fixed, moving = add_head("US"), add_head("MR", seed=1)
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    logic.register(fixed, moving, "fuse", device="cpu")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before + 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_model_under_the_transform_moves_as_the_landmarks_do(logic):
    transform = bend()
    node = transform_to_node(transform)
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Target")
    points = vtk.vtkPoints()
    for point in transform.points(FIXED):
        points.InsertNextPoint(*point)
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    model.SetAndObservePolyData(data)
    model.SetAndObserveTransformNodeID(node.GetID())
    model.HardenTransform()
    shown = np.array([model.GetPolyData().GetPoint(index) for index in range(len(FIXED))])
    assert np.abs(shown - FIXED).max() < 0.1


def test_a_segmentation_under_the_transform_moves_as_the_landmarks_do(logic):
    from GANSynthesisLib.mrml.outputs import segmentation_to_node
    from GANSynthesisLib.volumes import Volume

    transform = bend()
    node = transform_to_node(transform)
    grid = Grid.centred((8, -4, 6), (40, 44, 42), (1.5, 1.5, 1.5))
    there = transform.points(FIXED[1:2])[0]
    ball = (np.linalg.norm(grid.points() - there, axis=-1) < 6).astype(np.uint8)
    segmentation = segmentation_to_node(Volume(ball, grid.ijk_to_ras, "", "Target", {1: "prostate"}))
    segmentation.SetAndObserveTransformNodeID(node.GetID())
    segmentation.HardenTransform()
    (segment_id,) = segmentation.GetSegmentation().GetSegmentIDs()
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    low = np.array(image.GetExtent()[::2])
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    at = np.argwhere(voxels.reshape(image.GetDimensions()[::-1])).mean(0)[::-1] + low
    center = (slicer.util.arrayFromVTKMatrix(matrix) @ np.append(at, 1))[:3]
    assert np.linalg.norm(center - FIXED[1]) < 1
