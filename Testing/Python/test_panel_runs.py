"""Runs from the panel: clicks, a real worker process, and nodes of a real scene."""

import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from panel_fixtures import (
    add_model,
    add_volume,
    apply_ui,
    handle_events,
    matrix_of,
    nodes_of,
    run,
    wait,
)

from GANSynthesisLib import jobs
from SlicerHost import pythonqt


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    """All runs here share a warm worker, which ends with them."""
    yield
    for name in ("apply", "short"):
        jobs.worker(name).stop()


def exchange_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"gansynthesis-{os.getpid()}-*"))


def start_long_run(panel):
    """A run of some hundred slices, as far as the worker works on it."""
    add_volume("Long", (400, 96, 96))
    panel.widget.enter()
    ui = apply_ui(panel)
    ui.inputSelector1.setCurrentNode(slicer.util.getNode("Long"))
    ui.applyButton.click()
    handle_events(60, lambda: 2 < ui.progressBar.value)
    assert panel.widget.tabs["apply"].running and ui.progressBar.value < 100
    return ui


def test_synthesis_makes_a_new_volume_on_the_inputs_grid_and_shows_it(opened):
    volume = add_volume("T1")
    before = slicer.util.arrayFromVolume(volume).copy()
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    run(panel)
    assert pythonqt.slot_errors == []
    made = [node for node in nodes_of("vtkMRMLScalarVolumeNode") if node is not volume]
    assert [node.GetName() for node in made] == ["T1 [synthetic T2]"]
    assert np.allclose(matrix_of(made[0]), matrix_of(volume), atol=1e-3)
    assert slicer.util.arrayFromVolume(made[0]).shape == before.shape
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before)
    assert view.GetBackgroundVolumeID() == made[0].GetID()
    assert ui.statusLabel.text == "Done: T1 [synthetic T2]."
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled and not ui.progressBar.visible
    assert ui.outputVolumeSelector.currentNode() is None, "the next run would overwrite this result"


def test_chosen_output_node_is_filled(opened):
    add_volume("T1")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    ui.outputVolumeSelector.setCurrentNode(chosen)
    run(panel)
    assert pythonqt.slot_errors == []
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 2
    assert slicer.util.arrayFromVolume(chosen).shape == (8, 36, 40)


def test_segmentation_makes_a_segmentation_node(opened):
    add_volume("T1")
    panel = opened("tissue")
    run(panel)
    assert pythonqt.slot_errors == []
    (segmentation,) = nodes_of("vtkMRMLSegmentationNode")
    assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == "white matter"


def test_registration_makes_a_transform_and_the_aligned_volume(opened):
    fixed, moving = add_volume("US"), add_volume("MR")
    panel = opened("align")
    ui = apply_ui(panel)
    ui.inputSelector2.setCurrentNode(moving)
    run(panel)
    assert pythonqt.slot_errors == []
    assert len(nodes_of("vtkMRMLTransformNode")) == 1
    (warped,) = [node for node in nodes_of("vtkMRMLScalarVolumeNode") if node not in (fixed, moving)]
    assert np.allclose(matrix_of(warped), matrix_of(fixed), atol=1e-3)


def test_landmarks_in_both_volumes_give_the_error_of_a_registration(opened):
    add_volume("US")
    moving = add_volume("MR")
    marks = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name) for name in ("F", "M")]
    for index, node in enumerate(marks):
        for point in ((0, 0, 0), (5, 5, 5))[: 2 - index]:
            node.AddControlPoint(vtk.vtkVector3d(*point))
    panel = opened("align")
    ui = apply_ui(panel)
    hidden = [pythonqt.native(widget).isHidden() for widget in (ui.fixedLandmarksSelector, ui.detailsCheckBox)]
    assert hidden == [False, True], "this model gives no details"
    ui.inputSelector2.setCurrentNode(moving)
    ui.fixedLandmarksSelector.setCurrentNode(marks[0])
    for second, sentence in ((None, "chosen for one volume only"), (marks[1], "'F' have 2 points and 'M' 1")):
        ui.movingLandmarksSelector.setCurrentNode(second)
        ui.applyButton.click()
        assert sentence in ui.statusLabel.text
        assert nodes_of("vtkMRMLTransformNode") == [], "nothing is run before the landmarks fit"
    pythonqt.slot_errors.clear()  # the two sentences, which Slicer shows in a message box
    marks[1].AddControlPoint(vtk.vtkVector3d(5, 5, 5))
    run(panel)
    assert pythonqt.slot_errors == []
    assert ui.statusLabel.text == "Done: MR to US [transform], MR to US [warped]."
    assert "<p>Landmark error " in ui.resultLabel.text and " mm (before: 0.0 mm).</p>" in ui.resultLabel.text


def test_generation_makes_as_many_images_as_asked(opened):
    panel = opened("patches")
    ui = apply_ui(panel)
    assert ui.applyButton.enabled
    ui.countSpinBox.value = 3
    run(panel)
    assert pythonqt.slot_errors == []
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 3


def test_unusable_volume_gives_one_clear_sentence_and_the_panel_goes_on(opened, caplog):
    volume = add_volume("Broken")
    slicer.util.arrayFromVolume(volume)[2, 3, 4] = np.nan
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    with caplog.at_level(logging.ERROR):
        run(panel)
    assert "Broken" in ui.statusLabel.text
    shown = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(shown) == 1 and ui.statusLabel.text in shown[0]
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 1
    assert ui.applyButton.enabled and ui.applyButton.text == "Apply"


def test_apply_turns_into_cancel_and_a_canceled_run_leaves_the_scene_as_it_was(opened):
    panel = opened("t1-t2")
    ui = start_long_run(panel)
    count, pid = slicer.mrmlScene.GetNumberOfNodes(), jobs.worker("apply").pid
    assert (ui.applyButton.text, ui.inputsCollapsibleButton.enabled) == ("Cancel", False)
    assert not pythonqt.native(ui.progressBar).isHidden()
    begin = time.monotonic()
    ui.applyButton.click()
    assert ui.statusLabel.text == "Canceling…"
    wait(panel)
    assert time.monotonic() - begin < 1.5
    assert pythonqt.slot_errors == [] and slicer.mrmlScene.GetNumberOfNodes() == count
    assert ui.statusLabel.text == "Canceled; the scene is as it was."
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled and ui.inputsCollapsibleButton.enabled
    assert jobs.worker("apply").pid == pid and exchange_folders() == []


def test_closing_the_scene_during_a_run_ends_it(opened):
    panel = opened("t1-t2")
    ui = start_long_run(panel)
    slicer.mrmlScene.Clear()
    assert not panel.widget.tabs["apply"].running and exchange_folders() == []
    handle_events(1)
    assert pythonqt.slot_errors == [] and nodes_of("vtkMRMLScalarVolumeNode") == []
    assert not ui.applyButton.enabled and ui.applyButton.text == "Apply"
    add_volume("Next")
    panel.widget.enter()
    run(panel)
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_killed_from_outside_leaves_the_scene_as_it_was_and_the_next_run_works(opened):
    panel = opened("t1-t2")
    ui = start_long_run(panel)
    count = slicer.mrmlScene.GetNumberOfNodes()
    os.kill(jobs.worker("apply").pid, signal.SIGKILL)
    wait(panel)
    assert ui.statusLabel.text.startswith("The worker process was ended by the system")
    assert slicer.mrmlScene.GetNumberOfNodes() == count and exchange_folders() == []
    ui.inputSelector1.setCurrentNode(add_volume("Small"))
    run(panel)
    assert ui.statusLabel.text == "Done: Small [synthetic T2]."


def test_an_input_removed_during_a_run_does_no_harm(opened):
    panel = opened("t1-t2")
    start_long_run(panel)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Long"))
    wait(panel)
    assert pythonqt.slot_errors == []
    assert [node.GetName() for node in nodes_of("vtkMRMLScalarVolumeNode")] == ["Long [synthetic T2]"]


def test_a_region_restricts_the_run_and_the_result(opened):
    volume = add_volume("T1", (10, 30, 40))
    matrix = np.diag([2.0, 2.5, 6.0, 1])
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    ui.regionSelector.setCurrentNode(region)
    ui.applyButton.click()
    assert "The region 'Box' has not been placed" in ui.statusLabel.text
    pythonqt.slot_errors.clear()
    # Voxels 5…14, 4…11 and 2…5: from 9 to 29, 8.75 to 28.75 and 9 to 33 mm.
    region.SetCenter(19, 18.75, 21)
    region.SetSize(20, 20, 24)
    run(panel)
    assert pythonqt.slot_errors == []
    made = slicer.util.getNode("T1 [[]synthetic T2]")
    assert slicer.util.arrayFromVolume(made).shape == (4, 8, 10)
    assert np.allclose(matrix_of(made)[:3, 3], (10, 10, 12))
    region.SetCenter(500, 0, 0)
    ui.applyButton.click()
    assert "lies outside the volume 'T1'" in ui.statusLabel.text


def test_results_can_be_compared_subtracted_and_saved(opened, place):
    volume = add_volume("T1")
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    panel = opened("t1-t2")
    ui = apply_ui(panel)
    run(panel)
    made = slicer.util.getNode("T1 [[]synthetic T2]")
    assert "T1 [synthetic T2]" in ui.resultLabel.text
    assert "every voxel in its place on the grid of &#x27;T1&#x27;" in ui.resultLabel.text
    ui.fadeSlider.value = 30
    assert view.GetBackgroundVolumeID() == volume.GetID() and view.GetForegroundVolumeID() == made.GetID()
    assert view.GetForegroundOpacity() == pytest.approx(0.3)
    for button in (ui.checkerboardButton, ui.differenceButton):
        button.click()
        assert not ui.show3DButton.enabled and "has been made" in ui.show3DButton.toolTip
        assert ui.statusLabel.text.startswith("Making the ")
        handle_events(60, lambda: ui.show3DButton.enabled)
        assert ui.statusLabel.text == ""
    assert pythonqt.slot_errors == []
    board, less = (slicer.util.getNode(f"*[[]{words}*") for words in ("checkerboard", "difference"))
    for node in (board, less):
        assert np.allclose(matrix_of(node), matrix_of(volume), atol=1e-3)
    scaled = [np.clip((array - low) / (high - low), 0, 1) for array in map(slicer.util.arrayFromVolume, (volume, made))
              for low, high in [np.percentile(array, (1, 99))]]
    assert np.allclose(slicer.util.arrayFromVolume(less), scaled[1] - scaled[0], atol=1e-4)
    values = slicer.util.arrayFromVolume(board)
    from_one, from_other = (np.isclose(values, each, atol=1e-4) for each in scaled)
    assert (from_one | from_other).all() and 0.3 < from_one.mean() < 0.9 and not from_one.all()
    panel.widget.tabs["apply"].results.save(str(place / "report.json"))
    assert '"Model": "t1-t2"' in (place / "report.json").read_text()


def test_a_segmentation_is_shown_in_3d_with_the_surfaces_that_slicer_would_make(opened):
    add_volume("T1")
    panel = opened("tissue")
    ui = apply_ui(panel)
    run(panel)
    (made,) = nodes_of("vtkMRMLSegmentationNode")
    mine, slicers = made.GetSegmentation(), slicer.vtkSegmentation()
    slicers.DeepCopy(mine)
    slicers.CreateRepresentation("Closed surface")
    ui.show3DButton.click()
    assert ui.statusLabel.text == "Making the surfaces…" and not ui.checkerboardButton.enabled
    handle_events(60, lambda: ui.show3DButton.enabled)
    assert pythonqt.slot_errors == [] and made.GetDisplayNode().GetVisibility3D()
    for segment_id in mine.GetSegmentIDs():
        own, theirs = (each.GetSegment(segment_id).GetRepresentation("Closed surface") for each in (mine, slicers))
        assert own.GetNumberOfCells() == theirs.GetNumberOfCells() > 0
        assert np.allclose(own.GetBounds(), theirs.GetBounds(), atol=1e-3)


def test_what_is_being_made_of_a_result_goes_with_the_scene(opened):
    add_volume("T1")
    panel = opened("t1-t2")
    run(panel)
    before = len(nodes_of("vtkMRMLScalarVolumeNode"))
    apply_ui(panel).checkerboardButton.click()
    panel.widget.onSceneStartClose(None, None)
    handle_events(20, lambda: jobs.worker("short").state == "idle")
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == before and pythonqt.slot_errors == []
    assert not exchange_folders()


def test_warnings_of_the_guard_stay_on_the_result(opened):
    add_model("t1-t2", spacing=(1.0, 1.0, 1.0))
    add_volume("Thick")
    panel = opened()
    ui = apply_ui(panel)
    handle_events(0.6)
    assert ui.guardLabel.text == "", "a panel that nobody sees looks at nothing"
    panel.frame.show()
    handle_events(10, lambda: "Thick" in ui.guardLabel.text)
    assert "voxels of 2 x 2.5 x 6 mm" in ui.guardLabel.text and "You can go on" in ui.guardLabel.text
    run(panel)
    made = slicer.util.getNode("Thick [[]synthetic T2]")
    assert "voxels of 2 x 2.5 x 6 mm" in made.GetAttribute("GANSynthesis.Warnings")
    assert "voxels of 2 x 2.5 x 6 mm" in ui.resultLabel.text
