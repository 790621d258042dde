"""The panel in Testing/SlicerHost: real MRML nodes, real widgets, real (small, untrained) models."""

import logging
from pathlib import Path

import numpy as np
import pytest
import slicer
import torch
import vtk

from GANSynthesisLib import models as library
from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.models import save_model
from GANSynthesisLib.systems import build_system
from SlicerHost import pythonqt, scripted_module
from SlicerHost.host import open_panel, start_host
from SlicerHost.scene import start_scene

MODULE = Path(__file__).resolve().parents[2] / "GANSynthesis" / "GANSynthesis.py"
WINDOW = {"kind": "window", "lower": 0.0, "upper": 1000.0}
T1 = Port("source", "T1", intensity=WINDOW)
SMALL = {"context": "2D", "patch": [32, 32], "width": 8, "levels": 2}
MODELS = {
    "t1-t2": ("paired", "synthesize", SMALL, (T1,), (Port("target", "T2", intensity=WINDOW, needs=("source",)),)),
    "tissue": (
        "segmentor",
        "segment",
        {"context": "2D", "patch": [32, 32], "segmentor_width": 8, "labels": ["background", "white matter"]},
        (T1,),
        (Port("segmentation", "", label_names={1: "white matter"}, needs=("source",)),),
    ),
    "align": (
        "wgan_registration",
        "register",
        {"patch": [16, 16, 16], "spacing": [8.0], "width": 4, "critic_width": 4},
        (Port("fixed", "TRUS", intensity=WINDOW), Port("moving", "MR", intensity=WINDOW)),
        (Port("transform", "", "mm", needs=("fixed", "moving")), Port("warped", "MR", needs=("fixed", "moving"))),
    ),
    "patches": (
        "wgan",
        "generate",
        {"patch": [32, 32], "width": 8, "latent": 8},
        (),
        (Port("image", "T1", intensity=WINDOW),),
    ),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A host with an empty scene, no shipped models, and a folder for the user's models."""
    monkeypatch.setattr(library, "shipped_models_folder", lambda: tmp_path / "none shipped")
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path / "models"))
    start_host()
    start_scene()
    pythonqt.slot_errors.clear()
    return tmp_path


@pytest.fixture
def opened():
    """Opens the panel with the named models installed, and closes it after the test."""
    panels = []

    def open_with(*names: str):
        for name in names:
            add_model(name)
        panels.append(open_panel(MODULE))
        return panels[-1]

    yield open_with
    for panel in panels:
        panel.close()


def add_model(name: str, **changes) -> Card:
    """A small untrained model in the user's folder."""
    torch.manual_seed(0)
    system_name, task, settings, inputs, outputs = MODELS[name]
    system = build_system(system_name, settings)
    fields = {
        "name": name,
        "title": f"Small model {name}",
        "description": "Untrained: for tests.",
        "system": system_name,
        "task": task,
        "settings": settings,
        "inputs": inputs,
        "outputs": outputs,
        "spacing": (8.0, 8.0, 8.0) if task == "register" else None,
        "shape": system.settings.window(),
        "context": system.settings.context,
    }
    card = Card(**{**fields, **changes})
    state = {
        key: value
        for key, value in system.state_dict().items()
        if key.split(".")[0] in system.deployed() or "." not in key
    }
    save_model(library.user_models_folder() / f"{name}.safetensors", state, card)
    return card


def add_volume(name="Head", shape=(8, 36, 40)):
    """Volume node with an ellipsoid, oblique, with anisotropic voxels."""
    k, j, i = np.indices(shape, dtype=np.float32)
    center = (np.array(shape) - 1) / 2
    radius = np.sqrt(sum(((x - c) / (0.45 * n)) ** 2 for x, c, n in zip((k, j, i), center, shape, strict=True)))
    voxels = np.where(radius < 1, 500 + 300 * np.cos(5 * radius), 0).astype(np.float32)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * (2, 2.5, 6)
    matrix[:3, 3] = (-20, -70, 15)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name=name, nodeClassName="vtkMRMLScalarVolumeNode")


def choose_task(ui, title: str) -> None:
    ui.taskSelector.currentIndex = ui.taskSelector.findText(title)


def matrix_of(node) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def nodes_of(class_name: str) -> list:
    return slicer.util.getNodesByClass(class_name)


def test_only_tasks_that_an_installed_model_can_do_are_offered(opened):
    ui = opened("t1-t2", "align").widget.ui
    offered = [ui.taskSelector.itemText(index) for index in range(ui.taskSelector.count)]
    assert offered == ["Synthesize", "Register"]
    assert ui.modelSelector.currentText == "Small model t1-t2"
    choose_task(ui, "Register")
    assert [ui.modelSelector.itemText(index) for index in range(ui.modelSelector.count)] == ["Small model align"]


def test_card_of_the_chosen_model_is_shown_and_its_markup_is_not_obeyed(opened):
    add_model(
        "t1-t2", description="For <b>adults</b> & children", licence="CC BY 4.0", metrics={"masked_mae": 0.0712345}
    )
    text = opened().widget.ui.cardLabel.text
    for part in (
        "For &lt;b&gt;adults&lt;/b&gt; &amp; children",
        "CC BY 4.0",
        "masked mae: 0.07123",
        "not for diagnosis",
    ):
        assert part in text


@pytest.mark.parametrize(
    "name, task, labels, outputs",
    [
        ("t1-t2", "Synthesize", ["Input (T1):"], ["outputVolumeSelector"]),
        ("tissue", "Segment", ["Input (T1):"], ["outputSegmentationSelector"]),
        ("align", "Register", ["Fixed (TRUS):", "Moving (MR):"], ["outputTransformSelector", "outputVolumeSelector"]),
        ("patches", "Generate", [], ["countSpinBox"]),
    ],
)
def test_inputs_and_outputs_are_those_of_the_task(opened, name, task, labels, outputs):
    panel = opened(name)
    ui = panel.widget.ui
    panel.frame.show()
    assert ui.taskSelector.currentText == task
    shown = [label for label in (ui.inputLabel1, ui.inputLabel2, ui.inputLabel3, ui.inputLabel4) if label.visible]
    assert [label.text for label in shown] == labels
    every = ["outputTransformSelector", "outputVolumeSelector", "outputSegmentationSelector", "countSpinBox"]
    assert [each for each in every if getattr(ui, each).visible] == outputs


def test_apply_is_off_without_a_model_and_says_where_to_put_one(opened, place):
    ui = opened().widget.ui
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == ui.statusLabel.text
    assert "No model is installed" in ui.statusLabel.text and str(place / "models") in ui.statusLabel.text


def test_apply_is_off_until_a_volume_is_there(opened):
    ui = opened("t1-t2").widget.ui
    assert ui.applyButton.toolTip == "Select a volume for: Input (T1)."
    ui.inputSelector1.setCurrentNode(add_volume())
    assert ui.applyButton.enabled and ui.statusLabel.text == ""


def test_apply_is_off_for_an_empty_volume(opened):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    ui = opened("t1-t2").widget.ui
    assert ui.applyButton.toolTip == "The volume 'Nothing' is empty: select another one."


def test_apply_is_off_for_the_same_volume_twice(opened):
    volume = add_volume("MR")
    ui = opened("align").widget.ui
    ui.inputSelector2.setCurrentNode(volume)
    assert ui.applyButton.toolTip == (
        "'MR' is selected for both Fixed (TRUS) and Moving (MR): select two different volumes."
    )


def test_apply_is_off_where_the_output_is_an_input(opened):
    volume = add_volume("T1")
    ui = opened("t1-t2").widget.ui
    ui.outputVolumeSelector.setCurrentNode(volume)
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip.startswith("The output 'T1' is also an input")


def test_apply_is_off_for_more_inputs_than_the_panel_has(opened):
    sources = tuple(Port(f"source{index}", "MR", intensity=WINDOW) for index in range(5))
    target = Port("target", "T2", intensity=WINDOW, needs=tuple(port.name for port in sources))
    add_model("t1-t2", inputs=sources, outputs=(target,))
    assert "takes 5 inputs" in opened().widget.ui.applyButton.toolTip


def test_label_maps_are_neither_offered_nor_chosen_as_inputs(opened):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    panel = opened("t1-t2")
    assert panel.widget.ui.inputSelector1.nodeCount() == 0
    assert panel.widget._parameterNode.input1 is None


def test_damaged_model_files_are_named_where_no_model_is_left(opened, place):
    (place / "models").mkdir()
    (place / "models" / "broken.safetensors").write_bytes(b"not a model")
    assert "broken.safetensors" in opened().widget.ui.statusLabel.text


def test_synthesis_makes_a_new_volume_on_the_inputs_grid_and_shows_it(opened):
    volume = add_volume("T1")
    before = slicer.util.arrayFromVolume(volume).copy()
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    ui = opened("t1-t2").widget.ui
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    made = [node for node in nodes_of("vtkMRMLScalarVolumeNode") if node is not volume]
    assert [node.GetName() for node in made] == ["T1 [synthetic T2]"]
    assert np.allclose(matrix_of(made[0]), matrix_of(volume), atol=1e-3)
    assert slicer.util.arrayFromVolume(made[0]).shape == before.shape
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before)
    assert view.GetBackgroundVolumeID() == made[0].GetID()
    assert ui.statusLabel.text == "Done: T1 [synthetic T2]"
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled and not ui.progressBar.visible
    assert ui.outputVolumeSelector.currentNode() is None, "the next run would overwrite this result"


def test_chosen_output_node_is_filled(opened):
    add_volume("T1")
    ui = opened("t1-t2").widget.ui
    chosen = pythonqt.native(ui.outputVolumeSelector).addNode()
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 2
    assert slicer.util.arrayFromVolume(chosen).shape == (8, 36, 40)


def test_segmentation_makes_a_segmentation_node(opened):
    add_volume("T1")
    ui = opened("tissue").widget.ui
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    (segmentation,) = nodes_of("vtkMRMLSegmentationNode")
    assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == "white matter"


def test_registration_makes_a_transform_and_the_aligned_volume(opened):
    fixed, moving = add_volume("US"), add_volume("MR")
    ui = opened("align").widget.ui
    ui.inputSelector2.setCurrentNode(moving)
    ui.applyButton.click()
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
    ui = opened("align").widget.ui
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
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    assert ui.statusLabel.text.startswith("Done: MR to US [transform], MR to US [warped]. Landmark error ")
    assert ui.statusLabel.text.endswith(" mm (before: 0.0 mm).")


def test_generation_makes_as_many_images_as_asked(opened):
    ui = opened("patches").widget.ui
    assert ui.applyButton.enabled
    ui.countSpinBox.value = 3
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 3


def test_apply_turns_into_cancel_and_a_canceled_run_leaves_the_scene_as_it_was(opened, monkeypatch):
    from GANSynthesisLib import inference

    add_volume("T1")
    ui = opened("t1-t2").widget.ui
    seen = []

    def endless(model, inputs, *, progress, cancelled, **options):
        for step in range(1000):
            progress(step / 1000, f"step {step}")
            seen.append((ui.applyButton.text, ui.inputsCollapsibleButton.enabled, ui.progressBar.value))
            if step == 20:
                ui.applyButton.click()
            if cancelled():
                raise inference.Cancelled("cancelled")
        raise AssertionError("the run was not canceled")

    monkeypatch.setattr(inference, "apply_model", endless)
    count = slicer.mrmlScene.GetNumberOfNodes()
    ui.applyButton.click()
    assert pythonqt.slot_errors == []
    assert seen[20] == ("Cancel", False, 2)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert ui.statusLabel.text == "Canceled; the scene is as it was."
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled and ui.inputsCollapsibleButton.enabled


def test_closing_the_scene_during_a_run_cancels_it(opened, monkeypatch):
    from GANSynthesisLib import inference

    add_volume("T1")
    panel = opened("t1-t2")

    def close_scene(model, inputs, *, progress, cancelled, **options):
        slicer.mrmlScene.Clear()
        assert cancelled()
        raise inference.Cancelled("cancelled")

    monkeypatch.setattr(inference, "apply_model", close_scene)
    panel.widget.ui.applyButton.click()
    assert pythonqt.slot_errors == []
    assert nodes_of("vtkMRMLScalarVolumeNode") == []
    assert not panel.widget.ui.applyButton.enabled


def test_unusable_volume_gives_one_clear_sentence_and_the_panel_goes_on(opened, caplog):
    volume = add_volume("Broken")
    slicer.util.arrayFromVolume(volume)[2, 3, 4] = np.nan
    ui = opened("t1-t2").widget.ui
    with caplog.at_level(logging.ERROR):
        ui.applyButton.click()
    assert "Broken" in ui.statusLabel.text
    shown = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(shown) == 1 and ui.statusLabel.text in shown[0]
    assert len(nodes_of("vtkMRMLScalarVolumeNode")) == 1
    assert ui.applyButton.enabled and ui.applyButton.text == "Apply"


def test_without_torch_the_user_is_sent_to_the_pytorch_extension(opened, monkeypatch):
    from GANSynthesisLib import requirements

    add_volume("T1")
    ui = opened("t1-t2").widget.ui
    find = requirements.importlib.util.find_spec
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    ui.applyButton.click()
    assert ui.statusLabel.text.startswith('PyTorch is needed: install the extension "PyTorch"')


def test_requirements_are_ensured_when_apply_is_clicked_and_not_before(opened, monkeypatch):
    monkeypatch.setattr(scripted_module, "installed", [])
    add_volume("T1")
    ui = opened("t1-t2").widget.ui
    assert scripted_module.installed == []
    ui.applyButton.click()
    ((names, keywords),) = scripted_module.installed
    assert "safetensors>=0.4" in names and keywords["requester"] == "GANSynthesis"


def test_choices_are_kept_in_the_scene(opened):
    volume = add_volume("MR")
    first = opened("t1-t2", "align")
    add_volume("US")
    choose_task(first.widget.ui, "Register")
    first.widget.ui.inputSelector2.setCurrentNode(volume)
    first.widget.ui.deviceSelector.currentText = "cpu"
    first.widget.exit()
    again = open_panel(MODULE)
    ui = again.widget.ui
    assert (ui.taskSelector.currentText, ui.deviceSelector.currentText) == ("Register", "cpu")
    assert ui.inputSelector2.currentNode() is volume
    again.close()


def test_panel_is_ready_again_after_the_scene_was_closed(opened):
    add_volume("T1")
    panel = opened("t1-t2")
    slicer.mrmlScene.Clear()
    ui = panel.widget.ui
    assert ui.inputSelector1.currentNode() is None and not ui.applyButton.enabled
    ui.inputSelector1.setCurrentNode(add_volume("Next"))
    assert ui.applyButton.enabled


def test_leaving_the_module_stops_following_the_scene_and_entering_resumes(opened):
    panel = opened("t1-t2")
    panel.widget.exit()
    add_volume("T1")
    panel.widget.enter()
    assert panel.widget.ui.inputSelector1.currentNode().GetName() == "T1"
    assert panel.widget.ui.applyButton.enabled, panel.widget.ui.applyButton.toolTip


def test_self_test_of_the_module_passes(opened):
    panel = opened("t1-t2", "tissue")
    result = panel.python.GANSynthesisTest().run()
    assert result.wasSuccessful(), [text for _, text in result.failures + result.errors]


def test_picture_of_the_panel_shows_its_widgets(opened, place):
    add_volume("Patient 12 T1")
    add_model(
        "t1-t2",
        title="Brain T1 to T2",
        description="Makes a T2-weighted volume from a skull-stripped T1-weighted one of 1 mm.",
        metrics={"masked_mae": 0.0712, "masked_ssim": 0.912},
        licence="CC BY 4.0",
        anatomy="brain",
    )
    panel = opened()
    panel.grab(place / "panel.png")
    picture = pythonqt.native(panel.frame).grab().toImage()
    colors = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert (place / "panel.png").stat().st_size > 5000 and len(colors) > 20


def test_scores_are_those_of_tests_beside_their_peer_where_there_are_any():
    from GANSynthesisLib.presentation import _scores

    test = {"gland Dice": {"model": 0.8063, "peer": 0.8266, "unit": "", "note": "m; peer: gland centers; 12 pairs"}}
    metrics = {"validation": {"mae": 0.05}, "test": test, "quality": {"spearman": 0.4, "scores": [1, 2]}}
    assert _scores(metrics) == ["gland Dice: 0.806 (gland centers: 0.827)"]
    assert _scores({"validation": {"mae": 0.05}}) == ["validation mae: 0.05"]
