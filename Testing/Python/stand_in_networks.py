"""A stand-in for the networks, cards for it, and makers of nodes, for the tests of the module's logic."""

import types

import numpy as np
import slicer

from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.mrml import fill_volume
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume, resample


class Cancelled(Exception):
    pass


def card(name, task, inputs, outputs, **changes) -> Card:
    content = {
        "name": name, "title": name.title(), "description": "", "system": "paired", "task": task, "settings": {},
        "inputs": inputs, "outputs": outputs, "spacing": None, "shape": (1, 8, 8), "context": "2D", "anatomy": "brain",
    }
    return Card(**{**content, **changes})


def all_cards() -> dict[str, Card]:
    source, flair = Port("source", "T1"), Port("flair", "FLAIR")
    window = {"kind": "window", "lower": 0, "upper": 3000}
    labels = {0: "background", 1: "brain", 2: "lesion"}
    target = Port("target", "T2", intensity=window, needs=("source",))
    made = (
        card("t1-t2", "synthesize", (source,), (target,)),
        card("t1-ct", "synthesize", (source,), (Port("target", "CT", "HU", needs=("source",)),)),
        card("two-t2", "synthesize", (source, flair), (Port("target", "T2", needs=("source", "flair")),)),
        card("tissues", "segment", (source,), (Port("segmentation", "", label_names=labels, needs=("source",)),)),
        card("cycle", "synthesize", (source, Port("target", "T2", optional=True)),
             (target, Port("segmentation", "", label_names=labels, needs=("target",)))),
        card("align", "register", (Port("fixed", "MR"), Port("moving", "US")),
             (Port("transform", "", needs=("fixed", "moving")), Port("warped", "US", needs=("fixed", "moving")))),
        card("noise", "generate", (), (Port("image", "MR", intensity=window),), title="Noise"),
    )
    return {each.name: each for each in made}


class Networks:
    """Stand-in for `GANSynthesisLib.inference`: arithmetic in place of networks."""

    Cancelled = Cancelled

    def __init__(self):
        self.calls = []
        self.transform = SpatialTransform(np.eye(4))
        self.failure = None

    def apply_model(self, model, inputs, *, outputs, device, precision, tile, seed, progress, cancelled, samples=0):
        self.calls.append(types.SimpleNamespace(model=model, inputs=inputs, outputs=outputs, device=device, seed=seed))
        if progress:
            progress(0.5, "working")
        if cancelled and cancelled():
            raise Cancelled
        if self.failure and len(self.calls) >= self.failure:
            raise RuntimeError("out of memory")
        return types.SimpleNamespace(
            outputs={name: self._output(model.card.output(name), inputs) for name in outputs},
            report={
                "model": model.card.name, "device": "cpu", "settings": {"tile": None}, "warnings": ["rather blurred"],
                "inputs": {role: {"name": each.name, "hash": f"hash of {role}"} for role, each in inputs.items()},
            },
        )

    def _output(self, port, inputs):
        if port.name == "transform":
            return self.transform
        if port.name == "warped":
            return resample(inputs["moving"], inputs["fixed"].grid, transform=self.transform)
        volume = next(iter(inputs.values()))
        if port.is_segmentation:
            return volume.with_voxels((volume.voxels > 500).astype(np.uint8), label_names=port.label_names, unit="")
        return volume.with_voxels(volume.voxels.astype(np.float32) * 2, unit=port.unit)

    def generate(self, model, count, *, seed, device, progress, cancelled):
        names = ["image"] if count == 1 else [f"image_{number + 1}" for number in range(count)]
        rng = np.random.default_rng(seed)
        images = {name: Volume(rng.random((1, 8, 8), np.float32), name=name) for name in names}
        return types.SimpleNamespace(outputs=images, report={"model": model.card.name, "inputs": {}, "warnings": []})


def belongs_to_output(node_id: str) -> bool:
    return "DisplayNode" in node_id or "StorageNode" in node_id


def ids(scene) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def rigid(angle) -> np.ndarray:
    a = np.deg2rad(angle)
    return np.array([[np.cos(a), -np.sin(a), 0, 5], [np.sin(a), np.cos(a), 0, -9], [0, 0, 1, 3], [0, 0, 0, 1.0]])


def oblique() -> np.ndarray:
    return rigid(20) @ np.diag([1.2, 1.0, 2.5, 1])


def blob(center=(4, 9, 7), shape=(10, 18, 16)) -> np.ndarray:
    k, j, i = np.indices(shape)
    distance = (k - center[0]) ** 2 + (j - center[1]) ** 2 + (i - center[2]) ** 2
    return (1000 * np.exp(-distance / 8)).astype(np.float32)


def add_volume(voxels=None, matrix=None, name="Head", kind="vtkMRMLScalarVolumeNode"):
    voxels = blob() if voxels is None else voxels
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=oblique() if matrix is None else matrix, name=name,
                                          nodeClassName=kind)  # fmt: skip


def add_node(class_name, name):
    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def put_under(node, matrix, name="Moved"):
    transform = add_node("vtkMRMLLinearTransformNode", name)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def add_sequence(count=3, name="Cine"):
    node = add_node("vtkMRMLSequenceNode", name)
    node.SetIndexName("phase")
    node.SetIndexUnit("%")
    for item in range(count):
        data = slicer.vtkMRMLScalarVolumeNode()
        fill_volume(data, Volume((item + 1) * blob(), oblique()))
        node.SetDataNodeAtValue(data, str(10 * item))
    return node


def spot_ras(volume: Volume) -> np.ndarray:
    weights = np.clip(volume.voxels.astype(float) - 0.4 * volume.voxels.max(), 0, None)
    return (volume.grid.points() * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
