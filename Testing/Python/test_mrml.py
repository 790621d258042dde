"""Nodes to volumes and back, in a scene of the real MRML classes."""

import numpy as np
import pytest
import slicer
import vtk

from GANSynthesisLib import mrml
from GANSynthesisLib.mrml.outputs import whole_or_nothing
from GANSynthesisLib.mrml.terminology import color_of, term_of
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, Volume, VolumeError
from SlicerHost.scene import start_scene


@pytest.fixture(autouse=True)
def scene():
    return start_scene()


def turned(degrees=25.0, spacing=(1.0, 1.5, 3.0), origin=(12.0, -30.0, 7.0)) -> np.ndarray:
    """Oblique, anisotropic, left-handed ijk-to-RAS matrix."""
    a = np.deg2rad(degrees)
    axes = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, -1]])
    matrix = np.eye(4)
    matrix[:3, :3] = axes @ np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]) * spacing
    matrix[:3, 3] = origin
    return matrix


def blob(shape=(12, 20, 24), center=(5, 11, 8)) -> np.ndarray:
    """Image (K, J, I) with one bright spot at the voxel (k, j, i)."""
    k, j, i = np.indices(shape)
    distance = (k - center[0]) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2
    return (1000 * np.exp(-distance / 8)).astype(np.float32)


def add_volume(voxels, matrix=None, name="MR", node_class="vtkMRMLScalarVolumeNode"):
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.eye(4) if matrix is None else matrix, name=name,
                                          nodeClassName=node_class)
    return node


def add_linear(matrix, name="Linear"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def add_bend(name="Bend", amount=6.0):
    """A thin-plate-spline transform that shifts the middle of the field of view and holds its corners."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.array(np.meshgrid((-60, 80), (-80, 60), (-60, 80))).reshape(3, -1).T:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner)
    source.InsertNextPoint(12, -20, 0)
    target.InsertNextPoint(12 + amount, -20 - amount, amount / 2)
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformToParent(spline)
    return node


def add_sequence(arrays, name="Cine", step=1.5, matrix=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName("time")
    node.SetIndexUnit("s")
    for item, array in enumerate(arrays):
        data = slicer.vtkMRMLScalarVolumeNode()
        mrml.outputs.fill_volume(data, Volume(array, np.eye(4) if matrix is None else matrix))
        node.SetDataNodeAtValue(data, str(item * step))
    return node


def brightest_ras(volume: Volume) -> np.ndarray:
    """Intensity-weighted middle of the bright voxels in RAS mm."""
    weights = np.clip(volume.voxels.astype(float) - 200, 0, None)
    return (volume.grid.points() * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()


def world_point(node, ras) -> np.ndarray:
    result = np.zeros(3)
    node.TransformPointToWorld(ras, result)
    return result


# In ------------------------------------------------------------------------------------------------------------------


def test_voxels_and_oblique_geometry_arrive_unchanged():
    array = blob()
    volume = mrml.volume_from_node(add_volume(array, turned(), "oblique"))
    assert volume.name == "oblique"
    np.testing.assert_array_equal(volume.voxels, array)
    np.testing.assert_allclose(volume.ijk_to_ras, turned(), atol=1e-9)


def test_volume_is_a_copy_that_the_node_does_not_change():
    node = add_volume(blob())
    volume = mrml.volume_from_node(node)
    slicer.util.arrayFromVolume(node)[:] = 7
    assert volume.voxels.max() > 900


def test_linear_parent_transforms_are_multiplied_in_and_voxels_stay():
    node = add_volume(blob(), turned())
    upper, lower = add_linear(turned(10, (1, 1, 1), (5, 6, 7))), add_linear(turned(-40, (1, 1, 1), (-50, 0, 3)))
    lower.SetAndObserveTransformNodeID(upper.GetID())
    node.SetAndObserveTransformNodeID(lower.GetID())
    volume = mrml.volume_from_node(node)
    np.testing.assert_array_equal(volume.voxels, blob())
    for ijk in ((0, 0, 0), (23, 19, 11), (8, 11, 5)):
        local = (turned() @ [*ijk, 1])[:3]
        np.testing.assert_allclose((volume.ijk_to_ras @ [*ijk, 1])[:3], world_point(node, local), atol=1e-6)


def test_nonlinear_parent_transform_puts_the_image_where_the_scene_shows_it():
    node = add_volume(blob(), turned())
    bend = add_bend()
    node.SetAndObserveTransformNodeID(bend.GetID())
    volume = mrml.volume_from_node(node)
    local = (turned() @ [8, 11, 5, 1])[:3]
    shown = world_point(node, local)
    assert np.linalg.norm(shown - local) > 2
    assert np.linalg.norm(brightest_ras(volume) - shown) < 0.5
    assert volume.grid.is_regular()
    np.testing.assert_allclose(volume.spacing, (1, 1.5, 3))
    for corner in ((0, 0, 0), (23, 19, 11), (23, 0, 11)):
        shown = world_point(node, (turned() @ [*corner, 1])[:3])
        index = (np.linalg.inv(volume.ijk_to_ras) @ [*shown, 1])[:3]
        assert (index > -0.6).all() and (index < np.array(volume.shape[::-1]) - 0.4).all()


def test_shearing_parent_transform_gives_a_regular_grid_in_place():
    shear = np.eye(4)
    shear[0, 2] = 0.3
    node = add_volume(blob(), np.diag([1, 1.5, 3, 1]))
    node.SetAndObserveTransformNodeID(add_linear(shear).GetID())
    volume = mrml.volume_from_node(node)
    assert volume.grid.is_regular()
    assert np.linalg.norm(brightest_ras(volume) - (shear @ np.diag([1, 1.5, 3, 1]) @ [8, 11, 5, 1])[:3]) < 0.5


def test_transform_that_spreads_a_volume_beyond_use_is_refused():
    node = add_volume(blob(), turned())
    node.SetAndObserveTransformNodeID(add_bend(amount=2000).GetID())
    with pytest.raises(VolumeError, match="'MR' is spread beyond use"):
        mrml.volume_from_node(node)


def test_hounsfield_units_travel_both_ways():
    node = mrml.volume_to_node(Volume(blob(), name="CT", unit="HU"))
    assert mrml.volume_from_node(node).unit == "HU"
    assert node.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
    mrml.volume_to_node(Volume(blob(), name="MR"), node)
    assert mrml.volume_from_node(node).unit == ""


def bad_nodes():
    nan, infinite = blob(), blob()
    nan[0, 0, 0], infinite[0, 0, 0] = np.nan, np.inf
    add = slicer.mrmlScene.AddNewNodeByClass
    empty_image = add("vtkMRMLScalarVolumeNode", "no voxels")
    empty_image.SetAndObserveImageData(vtk.vtkImageData())
    return {
        "none": (None, "No volume is chosen as source"),
        "model": (add("vtkMRMLModelNode", "skin"), "'skin' is a vtkMRMLModelNode, not a volume"),
        "text": ("MRHead", "'MRHead' is a str, not a volume"),
        "empty": (add("vtkMRMLScalarVolumeNode", "empty one"), "'empty one' is empty: load an image"),
        "empty image": (empty_image, "'no voxels' is empty: load an image"),
        "nan": (add_volume(nan, name="holes"), "'holes' has 1 voxels that are NaN or infinite"),
        "infinite": (add_volume(infinite, name="burst"), "'burst' has 1 voxels that are NaN or infinite"),
        "constant": (add_volume(np.full((3, 4, 5), 7.0), name="flat"), "'flat' has the same value 7 in every voxel"),
        "vector": (add_volume(np.zeros((3, 4, 5, 3)), name="photo", node_class="vtkMRMLVectorVolumeNode"),
                   "'photo' is a vtkMRMLVectorVolumeNode with several values per voxel"),
        "tensor": (add("vtkMRMLDiffusionTensorVolumeNode", "dti"), "'dti' is a vtkMRMLDiffusionTensorVolumeNode with"),
        "labels": (add_volume(blob().astype(np.uint8), name="mask", node_class="vtkMRMLLabelMapVolumeNode"),
                   "'mask' is a label map: choose an image as source"),
        "no extent": (add_volume(blob(), np.diag([1, 1, 0, 1]), name="plane"), "'plane' has no extent in space"),
    }


@pytest.mark.parametrize("kind", ["none", "model", "text", "empty", "empty image", "nan", "infinite", "constant",
                                  "vector", "tensor", "labels", "no extent"])
def test_unusable_node_gets_one_sentence_that_names_it(kind):
    node, sentence = bad_nodes()[kind]
    with pytest.raises(VolumeError) as caught:
        mrml.volume_from_node(node, role="source")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", ")."))


def test_sequence_items_and_proxies_are_read_one_by_one():
    sequence = add_sequence([blob(), 2 * blob()], matrix=turned())
    second = mrml.volume_from_node(sequence, 1)
    np.testing.assert_allclose(second.voxels, 2 * blob())
    np.testing.assert_allclose(second.ijk_to_ras, turned(), atol=1e-9)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    np.testing.assert_allclose(mrml.volume_from_node(browser.GetProxyNode(sequence)).voxels, blob())
    with pytest.raises(VolumeError, match="'Cine' has 2 items: there is no item 2"):
        mrml.volume_from_node(sequence, 2)
    with pytest.raises(VolumeError, match="say which of its 2 items"):
        mrml.volume_from_node(sequence)


def test_transform_above_a_sequence_proxy_moves_every_item():
    sequence = add_sequence([blob(), 2 * blob()], matrix=turned())
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    move = turned(15, (1, 1, 1))
    browser.GetProxyNode(sequence).SetAndObserveTransformNodeID(add_linear(move).GetID())
    np.testing.assert_allclose(mrml.volume_from_node(sequence, 1).ijk_to_ras, move @ turned(), atol=1e-9)


# Out -----------------------------------------------------------------------------------------------------------------


def test_volume_node_holds_the_volume_and_shows_the_cards_range():
    window = {"kind": "window", "lower": -50.0, "upper": 450.0}
    node = mrml.volume_to_node(Volume(blob(), turned(), name="out"), intensity=window)
    back = mrml.volume_from_node(node)
    np.testing.assert_array_equal(back.voxels, blob())
    np.testing.assert_allclose(back.ijk_to_ras, turned(), atol=1e-9)
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-50, 450)


def test_ct_output_gets_the_preset_of_its_anatomy():
    node = mrml.volume_to_node(Volume(blob(), name="CT", unit="HU"), anatomy="Brain, adult")
    logic = slicer.modules.volumes.logic()
    assert logic.GetAppliedVolumeDisplayPresetId(node.GetDisplayNode()) == "CT_BRAIN"


def test_new_nodes_never_take_a_name_that_is_in_use_and_given_nodes_keep_theirs():
    first = mrml.volume_to_node(Volume(blob(), name="out"))
    second = mrml.volume_to_node(Volume(blob(), name="out"))
    assert first.GetName() == "out" and second.GetName() != "out"
    mine = add_volume(blob(), name="mine")
    mine.SetAndObserveTransformNodeID(add_linear(turned()).GetID())
    assert mrml.volume_to_node(Volume(2 * blob(), turned(), name="out"), mine) is mine
    assert mine.GetName() == "mine"
    np.testing.assert_allclose(mrml.volume_from_node(mine).ijk_to_ras, turned(), atol=1e-9)


def test_new_node_lies_in_the_folder_of_its_input():
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
    node = add_volume(blob())
    hierarchy.CreateItem(folder, node)
    outputs = [
        mrml.volume_to_node(Volume(blob(), name="image"), like=node),
        mrml.segmentation_to_node(Volume(np.ones((3, 4, 5), np.uint8), name="labels"), like=node),
        mrml.transform_to_node(SpatialTransform(np.eye(4)), name="map", like=node),
    ]
    assert [hierarchy.GetItemParent(hierarchy.GetItemByDataNode(each)) for each in outputs] == [folder] * 3


def test_segmentation_has_names_codes_colors_and_the_inputs_geometry():
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3], labels[4] = 1, 3
    names = {0: "background", 1: "Gray_Matter", 2: "CSF", 3: "odd thing"}
    reference = add_volume(blob((6, 5, 4), (2, 2, 2)), turned())
    node = mrml.segmentation_to_node(Volume(labels, turned(), name="tissues", label_names=names), like=reference)
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    assert [each.GetName() for each in segments] == ["Gray_Matter", "CSF", "odd thing"]
    assert "SCT^389081007^Gray Matter" in segments[0].GetTerminology()
    assert "SCT^65216001^Cerebrospinal Fluid" in segments[1].GetTerminology()
    np.testing.assert_allclose(segments[0].GetColor(), color_of("gray matter", 1))
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(segments[1].GetTerminology(), entry)
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is reference
    for value, segment in zip((1, 2, 3), segmentation.GetSegmentIDs(), strict=True):
        array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment)
        np.testing.assert_array_equal(array == value, labels == value)
    image = node.GetBinaryLabelmapInternalRepresentation(segmentation.GetNthSegmentID(0))
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), turned(), atol=1e-9)


def test_segment_colors_differ_and_unknown_names_have_no_term():
    assert term_of("odd thing") is None
    assert term_of("white-matter").type == ("389080008", "White Matter")
    assert len({color_of("odd thing", label) for label in range(1, 8)}) == 7


def fixed_to_moving(displaced: bool) -> SpatialTransform:
    """A rotation with shift and, if asked, a smooth displacement of some millimeters."""
    matrix = turned(8, (1, 1, 1), (4.0, -3.0, 2.0)) @ np.diag([1, 1, -1, 1])
    if not displaced:
        return SpatialTransform(matrix)
    grid = Grid((16, 18, 20), turned(20, (2.0, 2.0, 2.5), (-15, -20, 10)))
    k, j, i = np.indices(grid.shape)
    field = np.stack([3 * np.sin(j / 6), 2 * np.cos(k / 5), -2 * np.sin(i / 7)]).astype(np.float32)
    return SpatialTransform(matrix, field, grid)


@pytest.mark.parametrize("displaced", [False, True])
def test_moving_volume_under_the_transform_is_shown_on_the_fixed_one(displaced):
    transform = fixed_to_moving(displaced)
    node = mrml.transform_to_node(transform, name="map")
    expected = "vtkMRMLGridTransformNode" if displaced else "vtkMRMLLinearTransformNode"
    assert node.GetClassName() == expected
    moving = add_volume(blob(), name="moving")
    moving.SetAndObserveTransformNodeID(node.GetID())
    grid = fixed_to_moving(True).grid
    rng = np.random.default_rng(0)
    index = np.column_stack([rng.uniform(1, size - 2, 20) for size in grid.shape[::-1]])
    fixed = index @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    shown = np.array([world_point(moving, point) for point in transform.points(fixed)])
    assert np.abs(shown - fixed).max() < 0.05
    from_world = np.zeros(3)
    for point, target in zip(fixed, transform.points(fixed), strict=True):
        moving.TransformPointFromWorld(point, from_world)
        assert np.abs(from_world - target).max() < 0.05


def test_given_grid_transform_node_takes_a_linear_map_and_a_linear_node_refuses_a_field():
    given = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "mine")
    grid = fixed_to_moving(True).grid
    transform = fixed_to_moving(False)
    assert mrml.transform_to_node(transform, given, grid=grid) is given
    moved = given.GetTransformFromParent().TransformPoint(grid.centre_ras)
    np.testing.assert_allclose(moved, transform.points([grid.centre_ras])[0], atol=1e-3)
    linear = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "flat")
    with pytest.raises(VolumeError, match="'flat' is a linear transform"):
        mrml.transform_to_node(fixed_to_moving(True), linear)


def test_nothing_is_left_when_writing_fails():
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(RuntimeError), whole_or_nothing(slicer.mrmlScene):
        mrml.volume_to_node(Volume(blob(), name="half"))
        raise RuntimeError("power cut")
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_provenance_and_outputs_survive_saving_and_reading_the_scene(tmp_path):
    labels = (blob() > 500).astype(np.uint8)
    nodes = {
        "image": mrml.volume_to_node(Volume(blob(), turned(), name="Head [image]", unit="HU")),
        "labels": mrml.segmentation_to_node(Volume(labels, turned(), name="Head [labels]", label_names={1: "brain"})),
        "linear": mrml.transform_to_node(fixed_to_moving(False), name="Head [linear]"),
        "field": mrml.transform_to_node(fixed_to_moving(True), name="Head [field]"),
    }
    attributes = {
        "GANSynthesis.Model": "a-model", "GANSynthesis.ModelHash": "0123456789abcdef", "GANSynthesis.Version": "0.1",
        "GANSynthesis.Inputs": '{"source": {"name": "Müller; \\"x\\": <1>", "id": "vtkMRMLScalarVolumeNode1"}}',
        "GANSynthesis.Settings": '{"a": "100 % & more\\nlines"}', "GANSynthesis.Date": "2026-01-01T00:00:00+00:00",
        "GANSynthesis.Notice": mrml.NOTICE, "GANSynthesis.Synthetic": "true",
    }
    for node in nodes.values():
        mrml.write_provenance(node, attributes)
    descriptions = {name: node.GetDescription() for name, node in nodes.items()}
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    scene = start_scene()
    assert scene.ReadFromMRB(path)
    for name, description in descriptions.items():
        node = scene.GetFirstNodeByName(f"Head [{name}]")
        assert {key: node.GetAttribute(key) for key in attributes} == attributes
        assert mrml.read_provenance(node)["Inputs"]["source"]["name"] == 'Müller; "x": <1>'
        assert node.GetDescription() == description and "not for diagnosis" in description
    volume = mrml.volume_from_node(scene.GetFirstNodeByName("Head [image]"))
    assert volume.unit == "HU"
    # Slicer's reader makes left-handed volumes right-handed: the same voxels, stored in another order.
    assert volume.grid.canonical().same_as(Grid(volume.shape, turned()).canonical())
    np.testing.assert_allclose(brightest_ras(volume), (turned() @ [8, 11, 5, 1])[:3], atol=0.01)
    segment = scene.GetFirstNodeByName("Head [labels]").GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "brain" and "12738006" in segment.GetTerminology()
    for name, displaced in (("linear", False), ("field", True)):
        transform = fixed_to_moving(displaced)
        point = fixed_to_moving(True).grid.centre_ras
        moved = scene.GetFirstNodeByName(f"Head [{name}]").GetTransformFromParent().TransformPoint(point)
        np.testing.assert_allclose(moved, transform.points([point])[0], atol=0.05)
