"""The panel's Generate task: class and mask chosen, images named and marked as what they were to be."""

import numpy as np
import pytest
import slicer
from panel_fixtures import MODELS, WINDOW, apply_ui, handle_events, nodes_of, opened, place, run

from GANSynthesisLib.card import Port
from GANSynthesisLib.mrml.provenance import read_provenance
from SlicerHost import pythonqt

__all__ = ["opened", "place"]  # fixtures
IMAGE = Port("image", "US", intensity=WINDOW)
TINY = {"patch": [16, 16], "width": 4, "critic_width": 4, "latent": 4}
MADE = {
    "lesions": ("acgan", {**TINY, "classes": ["benign", "malignant"]}, (), IMAGE),
    "levels": ("cgan", {**TINY, "conditioning": ["value"], "value_range": [0, 40], "value_unit": "mm"}, (), IMAGE),
    "drawn": ("cgan", {**TINY, "conditioning": ["labels"], "labels": ["background", "lesion"]},
              (Port("labels", "mask"),), Port("image", "US", intensity=WINDOW, needs=("labels",))),
}


@pytest.fixture(autouse=True)
def conditional_models(monkeypatch):
    for name, (system, settings, inputs, image) in MADE.items():
        monkeypatch.setitem(MODELS, name, (system, "generate", settings, inputs, (image,)))


def hidden(widget) -> bool:
    return pythonqt.native(widget).isHidden()


def images() -> list:
    return [node for node in nodes_of("vtkMRMLScalarVolumeNode") if read_provenance(node)]


def test_a_class_can_be_chosen_of_models_that_know_classes_only(opened):
    panel = opened("lesions", "patches")
    ui = apply_ui(panel)
    ui.modelList.currentRow = 0
    assert [ui.classSelector.itemText(row) for row in range(ui.classSelector.count)] == [
        "All in turn", "benign", "malignant"]
    assert not hidden(ui.classSelector)
    ui.modelList.currentRow = 1
    assert hidden(ui.classSelector) and hidden(ui.classLabel)
    ui.outputsCollapsibleButton.collapsed = True
    ui.outputsCollapsibleButton.collapsed = False
    handle_events()
    assert hidden(ui.classSelector), "also after the section was folded"


def test_images_of_a_class_are_single_slices_with_its_name_and_provenance(opened):
    panel = opened("lesions")
    ui = apply_ui(panel)
    ui.countSpinBox.value = 2
    ui.classSelector.currentIndex = 2
    run(panel)
    assert pythonqt.slot_errors == []
    first, second = images()
    assert first.GetName() == "Small model lesions [synthetic US malignant 1]"
    assert slicer.util.arrayFromVolume(second).shape == (1, 16, 16)
    found = read_provenance(second)
    assert (found["Class"], found["Synthetic"], found["System"]) == ("malignant", "true", "acgan")
    assert "not for diagnosis" in second.GetDescription()


def test_without_a_choice_classes_come_in_turn_and_the_choice_is_kept_with_the_scene(opened):
    panel = opened("lesions")
    ui = apply_ui(panel)
    ui.countSpinBox.value = 3
    run(panel)
    assert [read_provenance(node)["Class"] for node in images()] == ["benign", "malignant", "benign"]
    ui.classSelector.currentIndex = 1
    assert panel.widget.tabs["apply"]._parameterNode.className == "benign"


def test_a_value_is_told_in_its_unit(opened):
    panel = opened("levels")
    run(panel)
    assert pythonqt.slot_errors == []
    (node,) = images()
    assert 0 <= float(read_provenance(node)["Value"]) <= 40
    assert node.GetName().endswith(" mm]")


def test_structures_of_a_label_map_become_an_image_on_its_grid(opened):
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, 4:9, 4:9] = 1
    node = slicer.util.addVolumeFromArray(mask, ijkToRAS=np.diag([2, 2, 5, 1.0]), name="Mask",
                                          nodeClassName="vtkMRMLLabelMapVolumeNode")
    panel = opened("drawn")
    ui = apply_ui(panel)
    ui.inputSelector1.setCurrentNode(node)
    run(panel)
    assert pythonqt.slot_errors == []
    (image,) = images()
    assert np.allclose(image.GetSpacing(), (2, 2, 5))
    assert read_provenance(image)["Inputs"]["labels"]["name"] == "Mask"


def test_the_console_refuses_what_a_model_cannot_be_asked_for(opened):
    panel = opened("lesions", "patches")
    logic = panel.widget.logic
    with pytest.raises(ValueError, match="'patches' knows of no classes: leave the class 'benign' out"):
        logic.generate("patches", class_name="benign", device="cpu")
    with pytest.raises(ValueError, match="no class 'cyst'; it has: benign, malignant"):
        logic.generate("lesions", class_name="cyst", device="cpu")
    with pytest.raises(ValueError, match="takes no mask"):
        logic.generate("lesions", 1, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "M"))
    (node,) = logic.generate("lesions", class_name="benign", device="cpu", seed=2)
    assert node.GetName() == "Small model lesions [synthetic US benign]"
    assert len(images()) == 1
