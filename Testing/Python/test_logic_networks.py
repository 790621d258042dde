"""The logic with the real inference on small networks with random weights: node in, node out, in place."""

import numpy as np
import pytest
import slicer
import torch

from GANSynthesisLib import models
from GANSynthesisLib.inference import Cancelled
from GANSynthesisLib.models import Card, Port, load_model, save_model
from GANSynthesisLib.mrml import read_provenance, volume_from_node
from GANSynthesisLib.systems import build_system
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

LABELS = ("background", "white matter", "lesion")
SMALL = {"context": "2D", "width": 4, "patch": (16, 16)}
PERCENTILE = {"kind": "percentile", "lower": 0.5, "upper": 99.5}
WINDOW = {"kind": "window", "lower": 0.0, "upper": 800.0}


def image_port(name, modality, **changes):
    return Port(name, modality, intensity=PERCENTILE, **changes)


def segmentation_port(role):
    return Port("segmentation", "", label_names=dict(enumerate(LABELS)), needs=(role,))


KINDS = {
    "translate": ("paired", {**SMALL, "levels": 2}, (image_port("source", "T1"),),
                  (Port("target", "T2", intensity=WINDOW, needs=("source",)),)),
    "segment": ("segmentor", {**SMALL, "labels": LABELS, "segmentor_width": 4}, (image_port("source", "T1"),),
                (segmentation_port("source"),)),
    "cycle": ("cyclegan", {**SMALL, "levels": 2, "labels": LABELS, "segmentor_width": 4, "segmentation_weight": 1.0},
              (image_port("source", "T1"), image_port("target", "T2", optional=True)),
              (Port("target", "T2", intensity=WINDOW, needs=("source",)), segmentation_port("target"))),
    "register": ("wgan_registration", {"patch": (16, 16, 16), "spacing": (4.0,), "width": 4, "critic_width": 4},
                 (image_port("fixed", "MR"), image_port("moving", "US")),
                 (Port("transform", "", "mm", needs=("fixed", "moving")),
                  Port("warped", "US", needs=("fixed", "moving")))),
    "generate": ("wgan", {"patch": (16, 16), "width": 4, "critic_width": 4, "latent": 4}, (),
                 (Port("image", "MR", intensity=WINDOW),)),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of small models of every kind, weights random but the same every time."""
    found = tmp_path_factory.mktemp("models")
    for name, (system_name, settings, inputs, outputs) in KINDS.items():
        torch.manual_seed(0)
        system = build_system(system_name, settings)
        state = {key: each for key, each in system.state_dict().items() if key.split(".")[0] in system.deployed()
                 or "." not in key}  # fmt: skip
        plain = {key: list(each) if isinstance(each, tuple) else each for key, each in
                 system.settings.as_dict().items()}  # fmt: skip
        spacing = (4.0, 4.0, 4.0) if name == "register" else None
        save_model(found / f"{name}.safetensors", state, Card(
            name=name, title=name.title(), description="", system=system_name, task=system.task, settings=plain,
            inputs=inputs, outputs=outputs, spacing=spacing, shape=system.settings.window(),
            context=system.settings.context, anatomy="brain"))  # fmt: skip
    return found


@pytest.fixture
def logic(folder, monkeypatch, tmp_path):
    start_host()
    import GANSynthesis

    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(folder))
    monkeypatch.setattr(models, "shipped_models_folder", lambda: tmp_path)
    start_scene()
    return GANSynthesis.GANSynthesisLogic()


def oblique() -> np.ndarray:
    a = np.deg2rad(25)
    turn = np.array([[np.cos(a), -np.sin(a), 0, 5], [np.sin(a), np.cos(a), 0, -9], [0, 0, -1, 3], [0, 0, 0, 1.0]])
    return turn @ np.diag([1.5, 1.2, 3, 1])


def add_head(name="Head", seed=0):
    k, j, i = np.indices((12, 24, 20))
    inside = ((k - 6) / 5) ** 2 + ((j - 12) / 10) ** 2 + ((i - 9) / 8) ** 2 < 1
    voxels = inside * (300 + 40 * np.random.default_rng(seed).standard_normal(inside.shape))
    return slicer.util.addVolumeFromArray(voxels.astype(np.int16), ijkToRAS=oblique(), name=name)


def node_names() -> set[str]:
    nodes = (slicer.mrmlScene.GetNthNode(index) for index in range(slicer.mrmlScene.GetNumberOfNodes()))
    return {each.GetName() for each in nodes if "DisplayNode" not in each.GetID() and "Storage" not in each.GetID()}


def test_volume_segmentation_and_transform_lie_on_the_inputs_grid(logic):
    head, moving = add_head(), add_head("US", seed=1)
    before = node_names()
    synthetic = logic.synthesize(head, "translate", device="cpu")
    tissues = logic.segment(head, "segment", device="cpu")
    transform, warped = logic.register(head, moving, "register", device="cpu")
    assert node_names() - before == {
        "Head [synthetic T2]", "Head [segmentation segment]", "US to Head [transform]", "US to Head [warped]",
    }  # fmt: skip
    grid = volume_from_node(head).grid
    assert volume_from_node(synthetic).grid.same_as(grid)
    assert volume_from_node(warped).grid.same_as(grid)
    array = slicer.util.arrayFromVolume(synthetic)
    assert 0 <= array.min() and array.max() <= 800
    segmentation = tissues.GetSegmentation()
    assert [segmentation.GetNthSegment(index).GetName() for index in range(2)] == list(LABELS[1:])
    assert transform.GetClassName() == "vtkMRMLGridTransformNode"
    assert "quality" in read_provenance(transform)["Quality"]


def test_provenance_names_the_models_and_the_inputs_hash(logic, folder):
    found = read_provenance(logic.synthesize(add_head(), "translate", device="cpu"))
    assert found["ModelHash"] == load_model(folder / "translate.safetensors").sha256
    assert len(found["InputHashes"]["source"]) == 64
    assert found["Settings"]["device"] == "cpu"


def test_moving_volume_is_shown_where_the_warped_volume_says(logic):
    fixed, moving = add_head(), add_head("US", seed=1)
    transform, warped = logic.register(fixed, moving, "register", device="cpu", applyTransform=True)
    shown, expected = volume_from_node(moving), volume_from_node(warped)

    def middle(volume):
        weights = (volume.voxels > 150).astype(float)
        return (volume.grid.points() * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()

    moved = np.zeros(3)
    moving.TransformPointToWorld((oblique() @ [9, 12, 6, 1])[:3], moved)
    assert np.linalg.norm(moved - (oblique() @ [9, 12, 6, 1])[:3]) > 0.2, "the random network moves nothing: no proof"
    assert np.linalg.norm(middle(shown) - middle(expected)) < 1.0


def test_models_are_chosen_by_name_file_or_entry_and_listed_by_task(logic, folder):
    assert {each.card.name for each in logic.models("segment")} == {"segment", "cycle"}
    head = add_head()
    first = logic.segment(head, "cycle", device="cpu")
    second = logic.segment(head, str(folder / "cycle.safetensors"), device="cpu")
    third = logic.segment(head, logic.models("segment")[0], device="cpu")
    assert len({each.GetID() for each in (first, second, third)}) == 3
    assert {each.GetNodeReference("referenceImageGeometryRef") for each in (first, second, third)} == {head}


def test_generated_images_are_repeatable(logic):
    first, second = logic.generate("generate", 2, seed=1, device="cpu"), logic.generate("generate", 2, seed=1)
    assert [each.GetName() for each in first] == ["Generate [synthetic MR 1]", "Generate [synthetic MR 2]"]
    np.testing.assert_array_equal(*(slicer.util.arrayFromVolume(each[1]) for each in (first, second)))


def test_cancelling_leaves_the_scene_as_it_was(logic):
    head = add_head()
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(Cancelled):
        logic.synthesize(head, "translate", device="cpu", cancelled=lambda: True)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
