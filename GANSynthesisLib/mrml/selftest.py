"""What the module's self-test checks, in Slicer and in Testing/SlicerHost, on volumes and a model that it makes."""

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import slicer

from GANSynthesisLib import presentation
from GANSynthesisLib.mrml.inputs import volume_from_node
from GANSynthesisLib.mrml.phantom import add_head

TINY = {"context": "2D", "patch": "32,32", "width": 4, "levels": 2, "batch": 2, "validation_fraction": 0,
        "learning_rate": 5e-3, "warmup": 5,
        "adversarial_weight": 0, "modality": "bright", "target_modality": "dark"}


def check_models(logic, say) -> None:
    """Apply every installed model that takes one volume to an oblique, anisotropic one, on the CPU.

    logic: the module's. say: called with what is being done. Raises `AssertionError` where a synthetic volume is not
    on its input's grid, a result lacks its provenance, a segmentation has no segments, or the input was changed.
    """
    head = add_head()
    before = volume_from_node(head)
    for task, apply in (("synthesize", logic.synthesize), ("segment", logic.segment)):
        for model in logic.models(task):
            if len(presentation.input_ports(model.card, task)) != 1:
                continue
            say(f"Applying {model.card.title}")
            made = apply(head, model, device="cpu")
            name = model.card.name
            assert made.GetAttribute("GANSynthesis.ModelHash") == model.sha256, f"{name}: no provenance"
            if task == "segment":
                assert made.GetSegmentation().GetNumberOfSegments() > 0, f"{name}: no segments"
            else:
                assert volume_from_node(made).grid.same_as(before.grid), f"{name}: not on the input's grid"
    assert (volume_from_node(head).voxels == before.voxels).all(), "the input was changed"


@contextmanager
def folder_of_models():
    """An empty folder that stands for the user's folder of models."""
    before = os.environ.get("GANSYNTHESIS_MODELS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GANSYNTHESIS_MODELS"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["GANSYNTHESIS_MODELS"]
            if before is not None:
                os.environ["GANSYNTHESIS_MODELS"] = before


def check_training(logic, folder: Path, say) -> None:
    """Train a tiny model on four pairs of volumes made here, through the logic; apply it, and check what it learned.

    The model, named "tiny", is left in `folder`. Raises `AssertionError`.
    """
    from GANSynthesisLib.files import write_volume

    say("Training a tiny model")
    head = volume_from_node(add_head("Example"))
    for number in range(4):
        bright = head.with_voxels(head.voxels * (1 - 0.1 * number))
        dark = bright.with_voxels(np.where(bright.voxels > 0, 650 - bright.voxels, 0))
        for role, volume in (("source", bright), ("target", dark)):
            (folder / "cases" / role).mkdir(parents=True, exist_ok=True)
            write_volume(volume, folder / "cases" / role / f"{number}.nii.gz")
    output = folder / "tiny.safetensors"
    model = logic.train("paired", folder / "cases", output, settings=TINY, steps=150, device="cpu")
    assert "tiny" in [each.card.name for each in logic.models()], "the model is not listed"
    example = slicer.util.getNode("Example")
    made = logic.synthesize(example, model, device="cpu")
    result = volume_from_node(made)
    assert result.grid.same_as(head.grid), "not on the input's grid"
    body = head.voxels > 0
    likeness = np.corrcoef(result.voxels[body], head.voxels[body])[0, 1]
    assert likeness < -0.5, f"the tiny model has not learned to turn bright into dark (correlation {likeness:.2f})"


def check_panel(panel, say) -> None:
    """Click through the Apply tab with the model "tiny": a run, a canceled run, and an input that cannot be used."""
    tab = panel.tabs["apply"]
    ui = tab.ui
    say("Clicking Apply")
    panel.enter()
    ui.synthesizeButton.click()
    ui.modelSearchBox.text = "tiny"
    assert tab.chooser.name == "tiny", "the model is not offered"
    head = add_head("Clicked")
    ui.inputSelector1.setCurrentNode(head)
    assert ui.applyButton.enabled, ui.applyButton.toolTip
    ui.applyButton.click()
    _wait(tab)
    made = slicer.mrmlScene.GetFirstNodeByName("Clicked [synthetic dark]")
    assert made is not None, ui.statusLabel.text
    assert volume_from_node(made).grid.same_as(volume_from_node(head).grid), "not on the input's grid"

    say("Clicking Cancel")
    before = slicer.mrmlScene.GetNumberOfNodes()
    ui.applyButton.click()
    ui.applyButton.click()
    _wait(tab)
    assert slicer.mrmlScene.GetNumberOfNodes() == before, "a canceled run left something in the scene"
    assert ui.applyButton.enabled, ui.applyButton.toolTip

    say("Choosing an empty volume")
    ui.inputSelector1.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"))
    assert not ui.applyButton.enabled and "Empty" in ui.applyButton.toolTip, ui.applyButton.toolTip
    ui.modelSearchBox.text = ""


def _wait(tab, seconds: float = 120) -> None:
    """Let Slicer go on until the tab's run has ended."""
    until = time.monotonic() + seconds
    while tab.running:
        assert time.monotonic() < until, f"the run does not end: {tab.ui.statusLabel.text}"
        slicer.app.processEvents()
        time.sleep(0.01)
