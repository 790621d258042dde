"""What nobody expects a user to do: the panel says what is wrong in one sentence, or goes on, and loses nothing."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from panel_fixtures import add_volume, apply_ui, handle_events, nodes_of, opened, place, run, wait
from synthetic_cases import write_cases
from test_mrml import add_bend

from GANSynthesisLib import jobs
from GANSynthesisLib import models as library
from GANSynthesisLib.mrml import read_provenance, volume_from_node
from GANSynthesisLib.volumes import VolumeError
from SlicerHost import pythonqt

__all__ = ["opened", "place"]


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    yield
    jobs.stop_all()


@pytest.fixture(autouse=True)
def nothing_raised(place):
    yield
    assert pythonqt.slot_errors == []


def add_region(center=(0, 0, 0), size=(0, 0, 0), degrees: float = 0.0):
    """A markups ROI, in a box that is turned about its center; not placed where it has no size."""
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    if all(size):
        region.SetCenter((0, 0, 0))
        region.SetSize(size)
    turn, node = vtk.vtkTransform(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn.Translate(*center)
    turn.RotateZ(degrees)
    node.SetMatrixTransformToParent(turn.GetMatrix())
    region.SetAndObserveTransformNodeID(node.GetID())
    return region


def volumes() -> list[str]:
    return [node.GetName() for node in nodes_of("vtkMRMLScalarVolumeNode")]


def refused(panel) -> str:
    """What a run that is refused says; Slicer shows the same in a message box."""
    before = volumes()
    run(panel)
    (error,) = pythonqt.slot_errors
    pythonqt.slot_errors.clear()
    assert volumes() == before and str(error) == apply_ui(panel).statusLabel.text
    return str(error)


def test_of_two_volumes_of_the_same_name_the_chosen_one_is_used(opened):
    add_volume("T1")
    second = add_volume("T1")
    panel = opened("t1-t2")
    apply_ui(panel).inputSelector1.setCurrentNode(second)
    for _ in range(2):
        run(panel)
    assert volumes() == ["T1", "T1", "T1 [synthetic T2]", "T1 [synthetic T2]_1"]
    made = slicer.mrmlScene.GetFirstNodeByName("T1 [synthetic T2]")
    assert read_provenance(made)["Inputs"]["source"]["id"] == second.GetID()


def test_a_region_that_misses_the_volume_or_is_not_placed_is_refused(opened):
    add_volume("Head")
    panel = opened("t1-t2")
    apply_ui(panel).regionSelector.setCurrentNode(add_region((1000, 0, 0), (10, 10, 10)))
    assert refused(panel) == "The region 'Box' lies outside the volume 'Head': move it into it."
    apply_ui(panel).regionSelector.setCurrentNode(add_region())
    assert refused(panel) == "The region 'Box' has not been placed: draw it in the slice views first."


def test_a_turned_region_gives_the_block_of_voxels_around_it(opened):
    center = volume_from_node(add_volume("Head")).grid.centre_ras
    panel = opened("t1-t2")
    apply_ui(panel).regionSelector.setCurrentNode(add_region(center, (30, 20, 20), degrees=30))
    run(panel)
    made = volume_from_node(slicer.mrmlScene.GetFirstNodeByName("Head [synthetic T2]")).grid
    np.testing.assert_allclose(made.centre_ras, center, atol=3.5)
    assert made.shape[0] == 4 and made.shape[1] < 36 / 2 and made.shape[2] < 40 / 2


def test_a_region_takes_the_memory_of_the_region_only(opened, monkeypatch):
    from GANSynthesisLib.memory import needed_bytes
    from GANSynthesisLib.mrml import guard

    whole = volume_from_node(add_volume("Head")).grid
    panel = opened("t1-t2")
    panel.frame.show()
    ui, card = apply_ui(panel), panel.widget.tabs["apply"].chooser.card
    monkeypatch.setattr(guard, "free_host_bytes", lambda: needed_bytes(card, [whole]) - 1)
    assert handle_events(10, lambda: "memory are needed" in ui.guardLabel.text)
    ui.regionSelector.setCurrentNode(add_region(whole.centre_ras, (20, 20, 20)))
    assert handle_events(10, lambda: "memory are needed" not in ui.guardLabel.text)


def test_a_region_of_nothing_but_background_is_told_before_the_model_runs(opened):
    volume = add_volume("Head")
    corner = (volume_from_node(volume).ijk_to_ras @ [1, 1, 1, 1])[:3]
    panel = opened("t1-t2")
    apply_ui(panel).regionSelector.setCurrentNode(add_region(corner, (4, 4, 8)))
    run(panel)
    assert "'Head' has the same value 0 in every voxel" in apply_ui(panel).statusLabel.text
    assert volumes() == ["Head"]


def test_values_per_voxel_of_a_color_image_are_refused(opened):
    add_volume("Gray")
    image, node = vtk.vtkImageData(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Colors")
    image.SetDimensions(4, 5, 6)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    panel = opened("t1-t2")
    apply_ui(panel).inputSelector1.setCurrentNode(node)
    assert refused(panel) == "Volume 'Colors' has 3 values per voxel: convert it to a scalar volume first."


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 36, 40), (8, 1, 40), (2, 3, 4)])
def test_very_small_volumes_keep_their_grid(opened, shape):
    voxels = np.random.default_rng(0).random(shape).astype(np.float32) * 500
    slicer.util.addVolumeFromArray(voxels, name="Tiny", nodeClassName="vtkMRMLScalarVolumeNode")
    panel = opened("t1-t2")
    run(panel)
    made = slicer.mrmlScene.GetFirstNodeByName("Tiny [synthetic T2]")
    assert slicer.util.arrayFromVolume(made).shape == shape


def test_an_input_under_a_non_linear_transform_gives_a_result_where_the_scene_shows_it(opened):
    volume = add_volume("Head", (12, 60, 60))
    volume.SetAndObserveTransformNodeID(add_bend().GetID())
    shown = volume_from_node(volume)
    panel = opened("t1-t2")
    run(panel)
    made = slicer.mrmlScene.GetFirstNodeByName("Head [synthetic T2]")
    assert made.GetParentTransformNode() is None and volume_from_node(made).grid.same_as(shown.grid)


def test_a_transform_that_moves_while_it_is_applied_to_the_voxels_is_told():
    from GANSynthesisLib.mrml.inputs import reading_volume

    volume, bend = add_volume("Head", (8, 200, 200)), add_bend()
    volume.SetAndObserveTransformNodeID(bend.GetID())
    reading = reading_volume(volume)
    next(reading)
    bend.GetTransformToParent().Modified()
    with pytest.raises(VolumeError, match="'Head' was changed or moved while it was being read: try again"):
        list(reading)


def test_voxels_that_change_while_they_are_copied_are_all_of_one_moment(monkeypatch):
    from GANSynthesisLib.mrml import contents
    from GANSynthesisLib.steps import run_through

    monkeypatch.setattr(contents, "_PART", 1000)
    image = add_volume("Live", (16, 20, 20)).GetImageData()
    copying = contents.copied_voxels(image)
    for _ in range(3):
        next(copying)
    slicer.util.arrayFromVolume(slicer.util.getNode("Live"))[:] = 7
    image.GetPointData().GetScalars().Modified()
    assert (run_through(copying) == 7).all()


def test_an_output_that_is_removed_during_the_run_is_made_anew(opened):
    add_volume("Head")
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    ui.outputVolumeSelector.setCurrentNode(chosen)
    ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(chosen)
    wait(panel)
    assert volumes() == ["Head", "Head [synthetic T2]"]


@pytest.mark.parametrize("how", ["cancel", "scene closed"])
def test_a_large_result_that_is_stopped_while_it_comes_in_leaves_nothing(opened, monkeypatch, how):
    from GANSynthesisLib.mrml import contents

    def without_end(voxels, image):
        while True:
            yield

    monkeypatch.setattr(contents, "_image_data", without_end)
    add_volume("Head")
    panel = opened("t1-t2")
    count, ui, tab = slicer.mrmlScene.GetNumberOfNodes(), apply_ui(panel), panel.widget.tabs["apply"]
    ui.applyButton.click()
    assert handle_events(60, lambda: tab._job.state == "writing")
    {"cancel": ui.applyButton.click, "scene closed": slicer.mrmlScene.Clear}[how]()
    wait(panel)
    assert not list(Path(tempfile.gettempdir()).glob(f"gansynthesis-{os.getpid()}-*"))
    if how == "cancel":
        assert slicer.mrmlScene.GetNumberOfNodes() == count
        assert ui.statusLabel.text == "Canceled; the scene is as it was."
    else:
        assert volumes() == []


def test_a_model_file_damaged_or_removed_since_it_was_listed_is_told(opened):
    add_volume("Head")
    panel = opened("t1-t2")
    path = library.user_models_folder() / "t1-t2.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    run(panel)
    assert "t1-t2.safetensors" in apply_ui(panel).statusLabel.text and volumes() == ["Head"]
    path.unlink()
    run(panel)
    assert "There is no model file" in apply_ui(panel).statusLabel.text and volumes() == ["Head"]
    panel.widget.enter()
    assert "No model is installed" in apply_ui(panel).applyButton.toolTip


def test_a_folder_for_temporary_files_that_cannot_be_used_is_told_and_the_next_run_works(opened, place, monkeypatch):
    add_volume("Head")
    panel = opened("t1-t2")
    with monkeypatch.context() as changed:
        changed.setattr(tempfile, "tempdir", str(place / "gone"))
        run(panel)
    assert "for temporary files cannot be used" in apply_ui(panel).statusLabel.text and volumes() == ["Head"]
    run(panel)
    assert apply_ui(panel).statusLabel.text.startswith("Done")


def test_names_and_folders_of_any_script_work(opened, place, monkeypatch):
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(place / "Modelle für Köpfe 頭"))
    add_volume("Kopf ä 頭")
    panel = opened("t1-t2")
    run(panel)
    assert volumes() == ["Kopf ä 頭", "Kopf ä 頭 [synthetic T2]"]
    panel.widget.tabs["apply"].results.save(str(place / "Bericht ä 頭.json"))
    assert "Kopf ä 頭 [synthetic T2]" in (place / "Bericht ä 頭.json").read_text(encoding="utf-8")


def test_a_scene_brings_its_choices_along_and_its_volumes_can_be_used_at_once(opened, place):
    add_volume("First")
    second, region = add_volume("Second"), add_region((0, 0, 0), (10, 10, 10))
    panel = opened("t1-t2", "tissue")
    ui = apply_ui(panel)
    ui.segmentButton.click()
    ui.inputSelector1.setCurrentNode(second)
    ui.regionSelector.setCurrentNode(region)
    ui.seedSpinBox.value, ui.deviceSelector.currentText = 7, "cpu"
    assert slicer.mrmlScene.WriteToMRB(str(place / "scene.mrb"))
    slicer.mrmlScene.Clear()
    ui.synthesizeButton.click()
    assert slicer.mrmlScene.ReadFromMRB(str(place / "scene.mrb"))
    assert panel.widget.tabs["apply"].chooser.task == "segment" and ui.segmentButton.checked
    assert ui.inputSelector1.currentNode().GetName() == "Second"
    assert ui.regionSelector.currentNode().GetName() == "Box"
    assert (ui.seedSpinBox.value, ui.deviceSelector.currentText) == (7, "cpu")
    assert ui.applyButton.enabled, ui.applyButton.toolTip


def test_an_image_that_is_read_after_its_node_was_chosen_can_be_applied(opened):
    panel = opened("t1-t2")
    panel.frame.show()
    ui = apply_ui(panel)
    ui.inputSelector1.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Later"))
    handle_events(0.1)
    assert not ui.applyButton.enabled and "'Later' is empty" in ui.applyButton.toolTip
    slicer.util.getNode("Later").SetAndObserveImageData(add_volume("Other").GetImageData())
    assert handle_events(5, lambda: ui.applyButton.enabled)


def test_a_result_or_an_input_that_is_removed_takes_its_buttons_along(opened):
    volume = add_volume("Head")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    run(panel)
    assert ui.differenceButton.enabled and ui.show3DButton.enabled
    slicer.mrmlScene.RemoveNode(volume)
    assert handle_events(5, lambda: not ui.differenceButton.enabled)
    assert "no longer in the scene" in ui.checkerboardButton.toolTip and ui.show3DButton.enabled
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByName("Head [synthetic T2]"))
    assert handle_events(5, lambda: not ui.show3DButton.enabled)
    assert "no longer in the scene" in ui.show3DButton.toolTip


@pytest.fixture
def train_tab(opened):
    panel = opened()
    panel.widget.ui.tabWidget.currentIndex = list(panel.widget.tabs).index("train")
    tab = panel.widget.tabs["train"]
    assert handle_events(120, lambda: tab.catalog.complete and not tab.catalog.asking)
    tab.ui.systemSelector.currentIndex = tab.ui.systemSelector.findData("paired")
    return tab


def test_another_folder_of_training_cases_makes_forget_what_was_wrong_with_the_last_one(train_tab, place):
    ui = train_tab.ui
    (place / "cases.csv").write_text("source,targt\n")
    ui.dataPathLineEdit.currentPath = str(place / "cases.csv")
    ui.checkButton.click()
    assert handle_events(60, lambda: not train_tab.check.stage)
    assert "has no files for the role 'source': add a subfolder or column of that name" in ui.statusLabel.text
    ui.dataPathLineEdit.currentPath = str(place / "nowhere")
    assert ui.statusLabel.text == f"There is no folder or manifest {place / 'nowhere'}."
    ui.dataPathLineEdit.currentPath = str(place)
    assert ui.statusLabel.text == "" and ui.startButton.enabled


def test_a_folder_of_models_that_cannot_be_written_is_told_before_a_training(train_tab, place, monkeypatch):
    (place / "file").write_text("no folder")
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(place / "file" / "models"))
    ui = train_tab.ui
    ui.dataPathLineEdit.currentPath = str(write_cases(place / "cases", 4, shape=(4, 24, 20)))
    ui.startButton.click()
    assert handle_events(60, lambda: not train_tab.check.stage)
    assert ui.statusLabel.text == (
        f"The folder of models {place / 'file' / 'models'} cannot be written (Not a directory): name another one in "
        "the environment variable GANSYNTHESIS_MODELS.")
    assert not train_tab.training
