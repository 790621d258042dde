"""What tests of the panel share: the host, small untrained models, volumes, and waiting for a run."""

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
from SlicerHost import pythonqt
from SlicerHost.host import handle_events, open_panel, start_host
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


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A host with an empty scene, no shipped models, and a folder for the user's models."""
    monkeypatch.setattr(library, "shipped_models_folder", lambda: tmp_path / "none shipped")
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path / "models"))
    start_host()
    start_scene()
    pythonqt.slot_errors.clear()
    return tmp_path


@pytest.fixture
def opened(place):
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


def apply_ui(panel):
    """The widgets of the Apply tab."""
    return panel.widget.tabs["apply"].ui


def listed(ui) -> list[str]:
    """Titles of the models in the list."""
    return [ui.modelList.item(row).text().split("\n")[0] for row in range(ui.modelList.count)]


def run(panel, seconds: float = 60) -> None:
    """Click Apply and wait for the end of the run."""
    apply_ui(panel).applyButton.click()
    wait(panel, seconds)


def wait(panel, seconds: float = 60) -> None:
    tab = panel.widget.tabs["apply"]
    assert handle_events(seconds, lambda: not tab.running), "the run does not end"


def matrix_of(node) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def nodes_of(class_name: str) -> list:
    return slicer.util.getNodesByClass(class_name)
