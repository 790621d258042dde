"""The module's logic in a scene of the real MRML classes, with a quick stand-in for the networks."""

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from stand_in_networks import add_node, add_sequence, add_volume, all_cards, blob, oblique, put_under, rigid, spot_ras

from GANSynthesisLib import models
from GANSynthesisLib.card import ModelError
from GANSynthesisLib.mrml import read_provenance, volume_from_node
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, Volume
from SlicerHost.scene import start_scene

REPOSITORY = Path(__file__).resolve().parents[2]

pytest_plugins = ("logic_fixtures",)
pytestmark = pytest.mark.usefixtures("scene", "networks", "library")


# The module ----------------------------------------------------------------------------------------------------------


def test_importing_the_module_imports_nothing_heavy():
    code = (
        "import sys; sys.path[:0] = ['Testing', 'GANSynthesis', '.']\n"
        "from SlicerHost.host import start_host; start_host()\n"
        "import GANSynthesis\n"
        "heavy = {'torch', 'SimpleITK', 'monai', 'matplotlib', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["modules", "modules/GANSynthesis"])
def test_module_finds_the_library_beside_itself_and_one_level_up(module, place, tmp_path, monkeypatch):
    (tmp_path / "modules" / "GANSynthesisLib").mkdir(parents=True)
    (tmp_path / "modules" / "GANSynthesisLib" / "__init__.py").touch()
    (tmp_path / place).mkdir(exist_ok=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / place / "GANSynthesis.py"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    module._findLibrary()
    assert sys.path[0] == str(tmp_path / "modules")


def test_models_are_listed_by_task(logic):
    assert [each.card.name for each in logic.models("segment")] == ["tissues", "cycle"]
    assert len(logic.models()) == len(all_cards())


# Synthesis -----------------------------------------------------------------------------------------------------------


def test_synthetic_volume_is_one_new_node_in_the_inputs_place(logic, nothing_left):
    head = add_volume()
    nothing_left.begin()
    output = logic.synthesize(head, "t1-t2")
    assert nothing_left.came() == ["Head [synthetic T2]"]
    assert output.GetParentTransformNode() is None
    volume = volume_from_node(output)
    np.testing.assert_allclose(volume.ijk_to_ras, oblique(), atol=1e-9)
    np.testing.assert_allclose(volume.voxels, 2 * blob())
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(head), blob())
    assert output.GetDisplayNode().GetWindowLevelMax() == 3000


def test_model_may_be_a_name_or_a_model(logic, library, networks):
    logic.synthesize(add_volume(), library["t1-ct"], seed=7, device="cpu")
    assert (networks.calls[0].model.card.name, networks.calls[0].seed, networks.calls[0].device) == ("t1-ct", 7, "cpu")


def test_given_output_is_used_and_keeps_its_name(logic, nothing_left):
    head, mine = add_volume(), add_node("vtkMRMLScalarVolumeNode", "mine")
    nothing_left.begin()
    assert logic.synthesize(head, "t1-t2", mine) is mine
    assert mine.GetName() == "mine" and nothing_left.came() == []
    assert logic.synthesize(head, "t1-t2", mine) is mine


def test_input_under_a_transform_is_taken_where_the_scene_shows_it(logic):
    head, plain = add_volume(), add_volume()
    put_under(head, rigid(60))
    volume = volume_from_node(logic.synthesize(head, "t1-t2"))
    np.testing.assert_allclose(volume.ijk_to_ras, rigid(60) @ oblique(), atol=1e-9)
    bend = vtk.vtkThinPlateSplineTransform()
    bend.SetBasisToR()
    points = np.array([[0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 0, 40], [-30, -30, -30], [8, 2, 13]], float)
    moved = points + np.array([[0, 0, 0]] * 5 + [[2, -2, 1]])
    for where, setter in ((points, bend.SetSourceLandmarks), (moved, bend.SetTargetLandmarks)):
        landmarks = vtk.vtkPoints()
        for point in where:
            landmarks.InsertNextPoint(point)
        setter(landmarks)
    node = add_node("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(bend)
    plain.SetAndObserveTransformNodeID(node.GetID())
    output = logic.synthesize(plain, "t1-t2")
    shown = np.zeros(3)
    plain.TransformPointToWorld((oblique() @ [7, 9, 4, 1])[:3], shown)
    assert output.GetParentTransformNode() is None
    assert np.linalg.norm(spot_ras(volume_from_node(output)) - shown) < 0.5


def test_several_inputs_go_to_the_roles_they_are_named_for(logic, networks):
    t1, flair = add_volume(name="a T1"), add_volume(2 * blob(), name="a FLAIR")
    output = logic.synthesize(t1, "two-t2", inputs={"flair": flair})
    assert {role: each.name for role, each in networks.calls[0].inputs.items()} == {
        "source": "a T1", "flair": "a FLAIR"}
    assert logic.synthesize(flair, "two-t2", inputs={"source": t1}).GetName().startswith("a T1 [synthetic T2]")
    assert read_provenance(output)["InputHashes"] == {"source": "hash of source", "flair": "hash of flair"}


def test_every_output_says_where_it_comes_from(logic):
    head, moving = add_volume(), add_volume(name="US")
    outputs = [
        logic.synthesize(head, "t1-t2"), logic.segment(head, "tissues"), *logic.register(head, moving, "align"),
        *logic.generate("noise", 1),
    ]
    for output in outputs:
        found = read_provenance(output)
        assert found.keys() >= {"Model", "ModelHash", "System", "Task", "Inputs", "InputHashes", "Version", "Date",
                                "Settings", "Warnings", "Synthetic", "Notice"}
        assert found["Synthetic"] == "true" and "not for diagnosis" in found["Notice"]
        assert found["ModelHash"] == f"{found['Model']}-hash"
        assert "not for diagnosis" in output.GetDescription()
    found = read_provenance(outputs[0])
    assert found["Inputs"] == {"source": {"name": "Head", "id": head.GetID()}}
    assert found["Warnings"] == ["rather blurred"] and found["Settings"] == {"tile": None, "device": "cpu"}


def test_output_lies_in_the_folder_of_the_input(logic, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    head = add_volume()
    hierarchy.CreateItem(study, head)
    output = logic.synthesize(head, "t1-t2")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(output)) == study


# Sequences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("played", [False, True])
def test_sequence_gives_a_sequence_that_plays_in_step(logic, nothing_left, played):
    cine = add_sequence()
    browser = None
    if played:
        browser = add_node("vtkMRMLSequenceBrowserNode", "player")
        browser.SetAndObserveMasterSequenceNodeID(cine.GetID())
    texts = []
    nothing_left.begin()
    output = logic.synthesize(cine, "t1-t2", progress=lambda fraction, text: texts.append((fraction, text)))
    name = "Cine (synthetic T2)"
    assert nothing_left.came() == sorted([name, name] + ([] if played else [f"{name} browser"]))
    assert [output.GetNthIndexValue(item) for item in range(3)] == ["0", "10", "20"]
    assert (output.GetIndexName(), output.GetIndexUnit()) == ("phase", "%")
    for item in range(3):
        np.testing.assert_allclose(volume_from_node(output, item).voxels, 2 * (item + 1) * blob())
    player = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(output)
    assert player is browser or not played
    player.SetSelectedItemNumber(2)
    shown = player.GetProxyNode(output)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(shown), 6 * blob())
    assert shown.GetDisplayNode().GetWindowLevelMax() == 3000
    assert [round(fraction, 3) for fraction, _ in texts] == [0.167, 0.5, 0.833]
    assert texts[1][1].startswith("item 2 of 3")
    assert read_provenance(output)["InputHashes"] == {"source": ["hash of source"] * 3}
    assert read_provenance(shown)["Model"] == "t1-t2"


def test_sequence_of_segmentations(logic):
    output = logic.segment(add_sequence(2), "tissues")
    assert output.GetNthDataNode(1).GetClassName() == "vtkMRMLSegmentationNode"
    player = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(output)
    shown = player.GetProxyNode(output).GetSegmentation()
    assert [shown.GetNthSegment(index).GetName() for index in range(2)] == ["brain", "lesion"]


def test_sequences_survive_saving_and_reading_the_scene(logic, scene, tmp_path):
    cine = add_sequence(2, "Cine [a]")
    logic.synthesize(cine, "t1-t2")
    logic.segment(cine, "tissues")
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = start_scene()
    assert again.ReadFromMRB(str(tmp_path / "scene.mrb"))
    expected = {
        "Cine (a) (synthetic T2)": ("vtkMRMLScalarVolumeNode", "t1-t2"),
        "Cine (a) (segmentation tissues)": ("vtkMRMLSegmentationNode", "tissues"),
    }
    for name, (class_name, model) in expected.items():
        node = again.GetFirstNodeByName(name)
        assert node.GetNthDataNode(1).GetClassName() == class_name
        assert read_provenance(node)["Model"] == model


def test_moving_sequence_gives_sequences_of_transforms_and_volumes(logic):
    transform, warped = logic.register(add_volume(), add_sequence(2), "align")
    assert transform.GetNthDataNode(1).GetClassName() == "vtkMRMLLinearTransformNode"
    np.testing.assert_allclose(volume_from_node(warped, 1).voxels, 2 * blob(), atol=1)


# Segmentation --------------------------------------------------------------------------------------------------------


def test_segmentation_names_its_segments_and_its_reference(logic, nothing_left):
    head = add_volume()
    nothing_left.begin()
    output = logic.segment(head, "tissues")
    assert nothing_left.came() == ["Head [segmentation tissues]"]
    segmentation = output.GetSegmentation()
    assert [segmentation.GetNthSegment(index).GetName() for index in range(2)] == ["brain", "lesion"]
    assert output.GetNodeReference(output.GetReferenceImageGeometryReferenceRole()) is head
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(output, segmentation.GetNthSegmentID(0))
    np.testing.assert_array_equal(array > 0, blob() > 500)


def test_segmentor_trained_through_translation_takes_the_target_modality(logic, networks):
    logic.segment(add_volume(name="a T2"), "cycle")
    assert networks.calls[0].outputs == ("segmentation",)
    assert list(networks.calls[0].inputs) == ["target"]


# Registration --------------------------------------------------------------------------------------------------------


def bent(fixed: Volume) -> SpatialTransform:
    grid = Grid.centred(fixed.grid.centre_ras, (12, 12, 12), (3.0, 3.0, 3.0))
    field = np.zeros((3, 12, 12, 12), np.float32)
    field[0], field[1] = 3, np.linspace(-2, 2, 12)[:, None, None]
    matrix = np.eye(4)
    matrix[:3, 3] = (2, -1, 4)
    return SpatialTransform(matrix, field, grid)


@pytest.mark.parametrize("displaced", [False, True])
def test_moving_volume_under_the_transform_lies_on_the_fixed_one(logic, networks, displaced):
    fixed, moving = add_volume(name="MR"), add_volume(blob((5, 9, 8)), rigid(5) @ oblique(), name="US")
    moved = put_under(add_node("vtkMRMLScalarVolumeNode", "x"), rigid(5))
    fixed.SetAndObserveTransformNodeID(moved.GetID())  # the fixed volume's world geometry counts
    networks.transform = bent(volume_from_node(fixed))
    if not displaced:
        networks.transform = SpatialTransform(networks.transform.matrix)
    transform, warped = logic.register(fixed, moving, "align", applyTransform=True)
    expected = "vtkMRMLGridTransformNode" if displaced else "vtkMRMLLinearTransformNode"
    assert transform.GetClassName() == expected
    assert (transform.GetName(), warped.GetName()) == ("US to MR [transform]", "US to MR [warped]")
    assert moving.GetParentTransformNode() is transform
    point = volume_from_node(fixed).grid.centre_ras
    shown = np.zeros(3)
    moving.TransformPointToWorld(networks.transform.points([point])[0], shown)
    assert np.linalg.norm(shown - point) < 0.05
    fixed_grid = volume_from_node(fixed).grid
    assert volume_from_node(warped).grid.same_as(fixed_grid)
    difference = spot_ras(volume_from_node(warped)) - spot_ras(volume_from_node(moving))
    assert np.linalg.norm(difference) < 0.5


def test_moving_volume_stays_where_it_is_unless_asked(logic):
    moving = add_volume(name="US")
    logic.register(add_volume(), moving, "align")
    assert moving.GetParentTransformNode() is None


def test_linear_output_node_that_cannot_hold_the_field_is_left_alone_and_the_result_kept(logic, networks):
    fixed, moving, mine = add_volume(), add_volume(name="US"), add_node("vtkMRMLLinearTransformNode", "mine")
    networks.transform = bent(volume_from_node(fixed))
    transform, _ = logic.register(fixed, moving, "align", mine)
    assert transform is not mine and transform.GetClassName() == "vtkMRMLGridTransformNode"
    assert any("'mine' can only hold a linear transform" in text for text in read_provenance(transform)["Warnings"])


# Generation and training ---------------------------------------------------------------------------------------------


def test_generated_images_are_numbered_and_repeatable(logic):
    first, second = logic.generate("noise", 2, seed=3), logic.generate("noise", 2, seed=3)
    assert [each.GetName() for each in first] == ["Noise [synthetic MR 1]", "Noise [synthetic MR 2]"]
    np.testing.assert_array_equal(*(slicer.util.arrayFromVolume(each[1]) for each in (first, second)))


def test_training_writes_into_the_users_folder_and_never_replaces_a_model(logic, monkeypatch, tmp_path):
    asked = {}

    def train(system, data, output, **options):
        asked.update(options, system=system, data=data)
        output.write_bytes(b"weights")
        return output

    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path / "models"))
    monkeypatch.setitem(sys.modules, "GANSynthesisLib.training", types.SimpleNamespace(train=train))
    monkeypatch.setattr(models, "load_model", lambda path: path)
    path = logic.train("paired", tmp_path, steps=5, settings={"width": 8})
    assert path == tmp_path / "models" / "paired.safetensors"
    assert (asked["system"], asked["data"], asked["steps"]) == ("paired", tmp_path, 5)
    assert asked["settings"] == {"width": 8}
    with pytest.raises(ModelError, match="exists: choose another output"):
        logic.train("paired", tmp_path)
    assert logic.train("paired", tmp_path, resume=True) == path
