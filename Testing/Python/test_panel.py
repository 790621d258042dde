"""The panel in Testing/SlicerHost: what it offers, and what it says before anything runs."""

import sys

import pytest
import slicer
from panel_fixtures import (
    MODULE,
    WINDOW,
    add_model,
    add_volume,
    apply_ui,
    listed,
)
from PySide6 import QtWidgets

from GANSynthesisLib.card import Port
from GANSynthesisLib.models import list_models, load_model, shipped_models_folder
from GANSynthesisLib.presentation import card_summary, model_lines
from SlicerHost import pythonqt
from SlicerHost.host import open_panel

SHIPPED = shipped_models_folder()


def test_tasks_that_no_installed_model_can_do_are_off_and_say_why(opened):
    ui = apply_ui(opened("t1-t2", "align"))
    buttons = [ui.synthesizeButton, ui.segmentButton, ui.registerButton, ui.reconstructButton, ui.generateButton]
    assert [button.enabled for button in buttons] == [True, False, True, False, False]
    assert "No installed model does this" in ui.segmentButton.toolTip
    assert listed(ui) == ["Small model t1-t2"] and ui.modelList.currentRow == 0
    ui.registerButton.click()
    assert listed(ui) == ["Small model align"]
    assert [button.checked for button in buttons] == [False, False, True, False, False]


def test_search_finds_models_by_any_word_of_their_cards(opened):
    add_model("tissue", anatomy="brain", licence="CC-BY 4.0. Trained on a patient.")
    add_model("t1-t2", licence="not for distribution")
    panel = opened()
    ui = apply_ui(panel)
    assert ui.modelList.item(0).text() == "Small model t1-t2\nT1 → T2 · not for distribution · not measured"
    for words, found in (("T2 small", ["Small model t1-t2"]), ("flair", []), ("DISTRIBUTION", ["Small model t1-t2"])):
        ui.modelSearchBox.text = words
        assert listed(ui) == found
        assert ("clear the search" in ui.applyButton.toolTip) == (not found)
    ui.modelSearchBox.text = ""
    ui.segmentButton.click()
    assert ui.modelList.item(0).text() == "Small model tissue\nT1 → white matter · brain · CC-BY 4.0 · not measured"


def test_card_of_the_chosen_model_is_shown_and_its_markup_is_not_obeyed(opened):
    add_model(
        "t1-t2", description="For <b>adults</b> & children", licence="CC BY 4.0", metrics={"masked_mae": 0.0712345}
    )
    text = apply_ui(opened()).cardLabel.text
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
    ui = apply_ui(panel)
    panel.frame.show()
    assert [each for each in ("Synthesize", "Segment", "Register", "Generate")
            if getattr(ui, f"{each.lower()}Button").checked] == [task]
    shown = [label for label in (ui.inputLabel1, ui.inputLabel2, ui.inputLabel3, ui.inputLabel4) if label.visible]
    assert [label.text for label in shown] == labels
    every = ["outputTransformSelector", "outputVolumeSelector", "outputSegmentationSelector", "countSpinBox"]
    assert [each for each in every if getattr(ui, each).visible] == outputs


def test_unfolding_a_section_shows_only_what_the_task_needs(opened):
    panel = opened("t1-t2", "align")
    ui = apply_ui(panel)
    panel.frame.show()
    ui.inputsCollapsibleButton.collapsed = True
    ui.registerButton.click()
    ui.synthesizeButton.click()
    for section in (ui.inputsCollapsibleButton, ui.advancedCollapsibleButton):
        section.collapsed = False
    shown = [ui.inputSelector1, ui.regionSelector, ui.seedSpinBox]
    hidden = [ui.inputSelector2, ui.fixedLandmarksSelector, ui.optimizeSpinBox, ui.tileSpinBox]
    assert [widget.visible for widget in shown + hidden] == [True] * 3 + [False] * 4


def test_what_is_off_says_why(opened):
    panel = opened("t1-t2")
    panel.frame.show()
    for index in range(pythonqt.native(panel.widget.ui.tabWidget).count()):
        panel.widget.ui.tabWidget.currentIndex = index
        native = pythonqt.native(panel.frame)
        controls = native.findChildren(QtWidgets.QAbstractButton) + native.findChildren(QtWidgets.QComboBox)
        silent = [each.objectName() for each in controls if each.isVisible() and not each.isEnabled()
                  and not each.toolTip() and not each.parentWidget().toolTip()]
        assert silent == []


def test_apply_is_off_without_a_model_and_says_where_to_put_one(opened, place):
    ui = apply_ui(opened())
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == ui.statusLabel.text
    assert "No model is installed" in ui.statusLabel.text and str(place / "models") in ui.statusLabel.text


def test_apply_is_off_until_a_volume_is_there(opened):
    ui = apply_ui(opened("t1-t2"))
    assert ui.applyButton.toolTip == "Select a volume for: Input (T1)."
    ui.inputSelector1.setCurrentNode(add_volume())
    assert ui.applyButton.enabled and ui.statusLabel.text == ""


def test_apply_is_off_for_an_empty_volume(opened):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    ui = apply_ui(opened("t1-t2"))
    assert ui.applyButton.toolTip == "The volume 'Nothing' is empty: select another one."


def test_apply_is_off_for_the_same_volume_twice(opened):
    volume = add_volume("MR")
    ui = apply_ui(opened("align"))
    ui.inputSelector2.setCurrentNode(volume)
    assert ui.applyButton.toolTip == (
        "'MR' is selected for both Fixed (TRUS) and Moving (MR): select two different volumes."
    )


def test_apply_is_off_where_the_output_is_an_input(opened):
    volume = add_volume("T1")
    ui = apply_ui(opened("t1-t2"))
    ui.outputVolumeSelector.setCurrentNode(volume)
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip.startswith("The output 'T1' is also an input")


def test_apply_is_off_for_more_inputs_than_the_panel_has(opened):
    sources = tuple(Port(f"source{index}", "MR", intensity=WINDOW) for index in range(5))
    target = Port("target", "T2", intensity=WINDOW, needs=tuple(port.name for port in sources))
    add_model("t1-t2", inputs=sources, outputs=(target,))
    assert "takes 5 inputs" in apply_ui(opened()).applyButton.toolTip


def test_label_maps_are_neither_offered_nor_chosen_as_inputs(opened):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    panel = opened("t1-t2")
    assert apply_ui(panel).inputSelector1.nodeCount() == 0
    assert apply_ui(panel).inputSelector1.currentNode() is None


def test_damaged_model_files_are_named_where_no_model_is_left(opened, place):
    (place / "models").mkdir()
    (place / "models" / "broken.safetensors").write_bytes(b"not a model")
    assert "broken.safetensors" in apply_ui(opened()).statusLabel.text


def test_choices_are_kept_in_the_scene(opened):
    volume = add_volume("MR")
    first = opened("t1-t2", "align")
    add_volume("US")
    apply_ui(first).registerButton.click()
    apply_ui(first).inputSelector2.setCurrentNode(volume)
    apply_ui(first).deviceSelector.currentText = "cpu"
    first.widget.exit()
    again = open_panel(MODULE)
    ui = apply_ui(again)
    assert ui.registerButton.checked and ui.deviceSelector.currentText == "cpu"
    assert ui.inputSelector2.currentNode() is volume
    again.close()


def test_panel_is_ready_again_after_the_scene_was_closed(opened):
    add_volume("T1")
    panel = opened("t1-t2")
    slicer.mrmlScene.Clear()
    ui = apply_ui(panel)
    assert ui.inputSelector1.currentNode() is None and not ui.applyButton.enabled
    ui.inputSelector1.setCurrentNode(add_volume("Next"))
    assert ui.applyButton.enabled


def test_entering_the_module_chooses_the_first_volume(opened):
    panel = opened("t1-t2")
    panel.widget.exit()
    add_volume("T1")
    panel.widget.enter()
    assert apply_ui(panel).inputSelector1.currentNode().GetName() == "T1"
    assert apply_ui(panel).applyButton.enabled, apply_ui(panel).applyButton.toolTip


def test_self_test_of_the_module_passes(opened):
    opened("t1-t2", "tissue")
    result = sys.modules["GANSynthesis"].GANSynthesisTest().run()
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
    panel.frame.show()
    picture = pythonqt.native(panel.frame).grab().toImage()
    colors = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert len(colors) > 20


def test_scores_are_those_of_tests_beside_their_peer_where_there_are_any():
    from GANSynthesisLib.presentation import _scores

    test = {"gland Dice": {"model": 0.8063, "peer": 0.8266, "unit": "", "note": "m; peer: gland centers; 12 pairs"}}
    metrics = {"validation": {"mae": 0.05}, "test": test, "quality": {"spearman": 0.4, "scores": [1, 2]}}
    assert _scores(metrics) == ["gland Dice: 0.806 (gland centers: 0.827)"]
    assert _scores({"validation": {"mae": 0.05}}) == ["validation mae: 0.05"]


@pytest.mark.parametrize("name", [model.card.name for model in list_models() if model.path.is_relative_to(SHIPPED)])
def test_the_card_of_every_shipped_model_can_be_read(name):
    card = load_model(name).card
    for task in card.tasks:
        assert card.title in model_lines(card, task)
        assert "None" not in card_summary(card, task)
