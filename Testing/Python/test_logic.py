"""The module's logic in a scene of the real MRML classes, with a quick stand-in for the networks."""

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

import GANSynthesisLib
from GANSynthesisLib import models
from GANSynthesisLib.card import Card, ModelError, Port
from GANSynthesisLib.models import Model
from GANSynthesisLib.mrml import fill_volume, read_provenance, volume_from_node
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, resample
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

REPOSITORY = Path(__file__).resolve().parents[2]


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

    def apply_model(self, model, inputs, *, outputs, device, precision, tile, seed, progress, cancelled):
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


@pytest.fixture(scope="module")
def module():
    start_host()
    import GANSynthesis

    return GANSynthesis


@pytest.fixture(autouse=True)
def scene(module):
    return start_scene()


@pytest.fixture
def logic(module):
    return module.GANSynthesisLogic()


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    made = Networks()
    monkeypatch.setattr(GANSynthesisLib, "inference", made, raising=False)
    return made


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """All cards as installed models, without files."""
    found = {name: Model(each, Path(f"{name}.safetensors"), f"{name}-hash") for name, each in all_cards().items()}

    def load(name):
        if name not in found:
            raise ModelError(f"There is no model called '{name}'.")
        return found[name]

    for place in (models, sys.modules["GANSynthesisLib.mrml.requests"]):
        monkeypatch.setattr(place, "list_models", lambda: list(found.values()))
        monkeypatch.setattr(place, "load_model", load)
    return found


@pytest.fixture
def nothing_left(scene):
    """Call it to learn which nodes came since the test began, display and storage nodes of outputs aside."""
    before = set()

    def begin():
        before.update(ids(scene))

    def came():
        return sorted(scene.GetNodeByID(each).GetName() or "" for each in ids(scene) - before if not _helper(each))

    return types.SimpleNamespace(begin=begin, came=came)


def _helper(node_id: str) -> bool:
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


# What goes wrong -----------------------------------------------------------------------------------------------------


def wrong_requests(logic) -> dict:
    head, other = add_volume(), add_volume(name="Other")
    holes = blob()
    holes[0, 0, 0] = np.nan
    flat = add_volume(np.full((3, 4, 5), 7.0), name="flat")
    photo = add_volume(np.zeros((3, 4, 5, 3)), name="photo", kind="vtkMRMLVectorVolumeNode")
    mask = add_volume(blob().astype(np.uint8), name="mask", kind="vtkMRMLLabelMapVolumeNode")
    empty = add_node("vtkMRMLScalarVolumeNode", "empty")
    under = add_volume(name="under")
    above = put_under(under, np.eye(4), "above")
    bspline = add_node("vtkMRMLBSplineTransformNode", "spline")
    synthesize, register = logic.synthesize, logic.register
    return {
        "no input": (lambda: synthesize(None, "t1-t2"), "No volume is chosen as source"),
        "no moving": (lambda: register(head, None, "align"), "No volume is chosen as moving"),
        "empty": (lambda: synthesize(empty, "t1-t2"), "'empty' is empty"),
        "nan": (lambda: synthesize(add_volume(holes, name="holes"), "t1-t2"), "'holes' has 1 voxels that are NaN"),
        "vector": (lambda: synthesize(photo, "t1-t2"), "'photo' is a vtkMRMLVectorVolumeNode with several values"),
        "labels": (lambda: synthesize(mask, "t1-t2"), "'mask' is a label map: choose an image as source"),
        "constant": (lambda: synthesize(flat, "t1-t2"), "'flat' has the same value 7"),
        "empty sequence": (lambda: synthesize(add_node("vtkMRMLSequenceNode", "none"), "t1-t2"), "'none' is empty"),
        "lengths": (lambda: synthesize(add_sequence(2, "two"), "two-t2", inputs={"flair": add_sequence(3, "three")}),
                    "different numbers of items ('two' 2, 'three' 3)"),
        "no model": (lambda: synthesize(head, None), "No model is chosen: choose a model that synthesizes"),
        "unknown model": (lambda: synthesize(head, "nonsense"), "There is no model called 'nonsense'"),
        "wrong task": (lambda: synthesize(head, "tissues"),
                       "Model 'tissues' segments: choose a model that synthesizes (t1-t2, t1-ct, two-t2, cycle)"),
        "missing role": (lambda: synthesize(head, "two-t2"), "also needs the input 'flair' (FLAIR)"),
        "unknown role": (lambda: synthesize(head, "t1-t2", inputs={"t9": other}), "no input 't9' (it has: source)"),
        "too many": (lambda: synthesize(head, "t1-t2", inputs={"source": other}), "leave out one role"),
        "twice": (lambda: synthesize(head, "two-t2", inputs={"flair": head}), "'Head' is both source and flair"),
        "same pair": (lambda: register(head, head, "align"), "'Head' is both fixed and moving"),
        "unknown output": (lambda: synthesize(head, "t1-t2", output="t3"), "no such output 't3': choose one"),
        "output is input": (lambda: synthesize(head, "t1-t2", head), "'Head' is the input source and is not overwrit"),
        "output class": (lambda: synthesize(head, "t1-t2", mask), "'mask' is a vtkMRMLLabelMapVolumeNode and cannot"),
        "segment class": (lambda: logic.segment(head, "tissues", other), "'Other' is a vtkMRMLScalarVolumeNode and"),
        "transform class": (lambda: register(head, other, "align", bspline), "'spline' is a vtkMRMLBSplineTransform"),
        "output above": (lambda: register(head, under, "align", above), "'above' moves the input moving"),
        "for a sequence": (lambda: synthesize(add_sequence(), "t1-t2", other), "choose a vtkMRMLSequenceNode"),
        "cannot be moved": (lambda: register(head, under, "align", applyTransform=True),
                            "'under' is under the transform 'above': harden that first"),
    }


WRONG = [
    "no input", "no moving", "empty", "nan", "vector", "labels", "constant", "empty sequence", "lengths", "no model",
    "unknown model", "wrong task", "missing role", "unknown role", "too many", "twice", "same pair", "unknown output",
    "output is input", "output class", "segment class", "transform class", "output above", "for a sequence",
    "cannot be moved",
]  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_request_gets_one_sentence_before_any_work(logic, networks, kind):
    requests = wrong_requests(logic)
    assert set(requests) == set(WRONG)
    call, sentence = requests[kind]
    with pytest.raises((VolumeError, ModelError)) as caught:
        call()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert networks.calls == []


def test_scene_is_as_before_when_the_work_fails_or_is_cancelled(logic, networks, scene):
    head, cine, mine = add_volume(), add_sequence(), add_node("vtkMRMLScalarVolumeNode", "mine")
    before = ids(scene)
    with pytest.raises(Cancelled):
        logic.synthesize(head, "t1-t2", mine, cancelled=lambda: True)
    networks.calls.clear()
    networks.failure = 2  # the second item of the sequence
    with pytest.raises(RuntimeError):
        logic.synthesize(cine, "t1-t2")
    with pytest.raises(RuntimeError):
        logic.register(head, add_volume(name="US"), "align")
    added = ids(scene) - before
    assert {scene.GetNodeByID(each).GetName() for each in added if not _helper(each)} == {"US"}
    assert mine.GetImageData() is None


def test_scene_is_as_before_when_writing_fails_half_way(logic, networks, scene, monkeypatch):
    fixed, moving = add_volume(), add_volume(name="US")
    before = ids(scene)
    monkeypatch.setattr("GANSynthesisLib.mrml.requests.volume_to_node", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        logic.register(fixed, moving, "align")
    assert ids(scene) == before
