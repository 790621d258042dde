"""What the module's logic refuses, each with its sentence, and that nothing is left when something fails."""

import numpy as np
import pytest
from stand_in_networks import (
    Cancelled,
    add_node,
    add_sequence,
    add_volume,
    belongs_to_output,
    blob,
    ids,
    put_under,
)

from GANSynthesisLib.card import ModelError
from GANSynthesisLib.volumes import VolumeError

pytest_plugins = ("logic_fixtures",)
pytestmark = pytest.mark.usefixtures("scene", "networks", "library")


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
    assert {scene.GetNodeByID(each).GetName() for each in added if not belongs_to_output(each)} == {"US"}
    assert mine.GetImageData() is None


def test_scene_is_as_before_when_writing_fails_half_way(logic, networks, scene, monkeypatch):
    fixed, moving = add_volume(), add_volume(name="US")
    before = ids(scene)
    monkeypatch.setattr("GANSynthesisLib.mrml.requests.volume_to_node", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        logic.register(fixed, moving, "align")
    assert ids(scene) == before
