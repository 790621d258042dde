"""How sure a model is: varied copies of its input, and what of that comes back beside the result."""

import itertools
import math

import numpy as np
import pytest
import slicer
import torch
from panel_fixtures import MODELS, add_model, add_volume, apply_ui, run
from synthetic_cases import head, oblique

from GANSynthesisLib import jobs
from GANSynthesisLib.__main__ import main
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.inference import Cancelled, apply_model
from GANSynthesisLib.models import ModelError, load_model, user_models_folder
from GANSynthesisLib.systems.paired import Paired
from GANSynthesisLib.systems.segmentor import Segmentor
from GANSynthesisLib.variation import Variation
from SlicerHost import pythonqt

VARIED = {"context": "2D", "patch": [32, 32], "augment": 1.0, "augment_intensity": 0.5}
IMAGES = {**VARIED, "width": 8, "levels": 2}
LABELS = {**VARIED, "segmentor_width": 8, "labels": ["background", "white matter"]}


@pytest.fixture
def sure(place, monkeypatch):
    """A model that makes images, one that makes labels and one that has not been trained with varied images."""
    add_model("t1-t2", settings=IMAGES)
    add_model("tissue", settings=LABELS)
    monkeypatch.setitem(MODELS, "unvaried", MODELS["t1-t2"])
    add_model("unvaried", settings={**IMAGES, "augment": 0.0})
    return load_model("t1-t2"), load_model("tissue")


def square() -> torch.Tensor:
    """(1, 2, 32, 40): a bright block off the center, smooth enough to be turned."""
    image = torch.full((1, 2, 32, 40), -1.0)
    image[:, :, 8:16, 10:26] = 0.5
    for _ in range(3):
        image = torch.nn.functional.avg_pool2d(image, 5, 1, 2, count_include_pad=False)
    return image


@pytest.mark.parametrize("mirrored, angle, scale", [*itertools.product((False, True), (0.0, 0.2), (1.0, 1.1))])
def test_an_answer_comes_back_to_the_place_of_the_image(mirrored, angle, scale):
    variation, image = Variation(mirrored, angle, scale), square()
    varied = variation.of(image, "source")
    assert torch.equal(varied, image) == (variation == Variation())
    assert (variation.back(varied) - image).abs().max() < (0.06 if angle or scale != 1 else 1e-6)


def test_a_quarter_turn_is_exact_and_goes_the_way_that_training_turns():
    image = torch.arange(16.0).view(1, 1, 4, 4) / 8 - 1
    turned = Variation(angle=math.pi / 2).of(image, "source")
    assert torch.allclose(turned, torch.rot90(image, 1, (2, 3)), atol=1e-5)


def test_variations_stay_within_what_training_draws():
    random = torch.Generator().manual_seed(0)
    drawn = [Variation.drawn(["a", "b"], 0.5, 0.5, random) for _ in range(200)]
    assert {each.mirrored for each in drawn} == {True, False}
    assert 0.3 < np.mean([each.angle == 0 for each in drawn]) < 0.7
    assert max(abs(each.angle) for each in drawn) <= math.radians(6)
    assert all(abs(math.log(gamma)) <= 0.15 and 0.9 <= level <= 1.1
               for each in drawn for gamma, level in each.contrasts.values())
    assert drawn[0].contrasts["a"] != drawn[0].contrasts["b"]
    assert Variation.drawn(["a"], 1, 0, random).contrasts == {}


def test_the_result_stays_as_it_is_and_its_uncertainty_lies_on_its_grid(sure):
    volume, (images, _) = head(3, matrix=oblique()), sure
    plain = apply_model(images, {"source": volume})
    both = apply_model(images, {"source": volume}, samples=3)
    assert list(both.outputs) == ["target", "target_uncertainty"]
    assert np.array_equal(both.outputs["target"].voxels, plain.outputs["target"].voxels)
    spread = both.outputs["target_uncertainty"]
    assert spread.grid.same_as(volume.grid) and spread.name == f"{volume.name} [uncertainty of synthetic T2]"
    assert spread.voxels.min() == 0 < spread.voxels.max()
    assert both.report["settings"]["samples"] == 3 and "samples" not in plain.report["settings"]
    again = apply_model(images, {"source": volume}, samples=3)
    other = apply_model(images, {"source": volume}, samples=3, seed=1)
    assert np.array_equal(again.outputs["target_uncertainty"].voxels, spread.voxels)
    assert not np.array_equal(other.outputs["target_uncertainty"].voxels, spread.voxels)


def test_a_model_that_always_answers_the_same_is_sure(sure, monkeypatch):
    monkeypatch.setattr(Paired, "apply", lambda system, inputs: {"target": torch.full_like(inputs["source"], 0.25)})
    spread = apply_model(sure[0], {"source": head(3)}, samples=2).outputs["target_uncertainty"]
    assert spread.voxels.max() < 1e-3


def test_one_sample_against_the_result_is_half_their_difference(sure, monkeypatch):
    """Of a network that adds what it was never told of: the second answer is 0.2 above the first."""
    answers = iter((0.1, 0.3))
    monkeypatch.setattr(
        Paired, "apply", lambda system, inputs: {"target": torch.full_like(inputs["source"], next(answers))})
    monkeypatch.setattr("GANSynthesisLib.inference.ladder.MOST_SLICES", 10000)
    volume = head(3)
    spread = apply_model(sure[0], {"source": volume}, samples=1).outputs["target_uncertainty"]
    expected = np.where(volume.voxels > 0, 0.1 * 500, 0)  # of [−1, 1], which stands for 0 to 1000; nothing outside
    assert np.allclose(spread.voxels, expected, atol=1e-3)


def test_labels_are_as_uncertain_as_their_probabilities(sure, monkeypatch):
    def answer(share):
        return lambda system, inputs: {"segmentation": torch.cat(
            [torch.full_like(inputs["source"], 1 - share), torch.full_like(inputs["source"], share)], 1)}

    for share, expected in ((0.5, 1.0), (0.0, 0.0), (0.9, 0.469)):
        monkeypatch.setattr(Segmentor, "apply", answer(share))
        spread = apply_model(sure[1], {"source": head(3)}, samples=1).outputs["segmentation_uncertainty"]
        assert np.allclose(spread.voxels, expected, atol=1e-3) and spread.label_names == {}


def test_it_is_stopped_between_samples(sure):
    said = []

    def progress(fraction, text):
        said.append((fraction, text))

    with pytest.raises(Cancelled):
        apply_model(sure[0], {"source": head(3)}, samples=4, progress=progress,
                    cancelled=lambda: bool(said) and "sample 2" in said[-1][1])
    assert 0.2 <= said[-1][0] < 0.7 and not any("sample 3" in text for _, text in said)


@pytest.mark.parametrize("name, samples, problem", (
    ("t1-t2", 65, "samples is 65: give a number from 0 to 64"),
    ("t1-t2", -1, "samples is -1"),
    ("unvaried", 4, "'unvaried' cannot tell how sure it is"),
))
def test_what_cannot_tell_is_refused(sure, name, samples, problem):
    with pytest.raises(ModelError, match=problem):
        apply_model(load_model(name), {"source": head(3)}, samples=samples)


def test_the_panel_offers_it_where_the_model_can_tell_and_adds_the_volume(sure, opened):
    volume, panel = add_volume("T1"), opened()
    ui = apply_ui(panel)
    panel.frame.show()
    ui.advancedCollapsibleButton.collapsed = False
    rows = [ui.modelList.item(row).text() for row in range(ui.modelList.count)]
    shown = []
    for row in range(len(rows)):
        ui.modelList.currentRow = row
        shown.append(ui.samplesSpinBox.visible)
    assert shown == ["unvaried" not in panel.widget.tabs["apply"].chooser._listed[row] for row in range(len(rows))]
    ui.modelList.currentRow = panel.widget.tabs["apply"].chooser._listed.index("t1-t2")
    ui.samplesSpinBox.value = 2
    try:
        run(panel)
    finally:
        jobs.worker("apply").stop()
    assert pythonqt.slot_errors == []
    node = slicer.mrmlScene.GetFirstNodeByName
    made, spread = node("T1 [synthetic T2]"), node("T1 [uncertainty of synthetic T2]")
    assert spread.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    assert slicer.util.arrayFromVolume(spread).max() > 0
    assert spread.GetAttribute("GANSynthesis.Notice") == made.GetAttribute("GANSynthesis.Notice") != ""
    assert "uncertainty of synthetic T2" in ui.resultLabel.text


def test_the_command_line_writes_it(sure, tmp_path, capsys):
    write_volume(head(3), tmp_path / "T1.nii.gz")
    words = ["apply", str(user_models_folder() / "t1-t2.safetensors"), "--input", f"source={tmp_path / 'T1.nii.gz'}"]
    output = ["--output", f"target={tmp_path / 'T2.nii.gz'}"]
    spread = f"target_uncertainty={tmp_path / 'spread.nii.gz'}"
    assert main([*words, *output, spread, "--samples", "2"]) == 0
    assert read_volume(tmp_path / "spread.nii.gz").voxels.max() > 0 and (tmp_path / "T2.nii.gz").is_file()
    capsys.readouterr()
    for wrong, problem in (
        ([*output, "--samples", "2"], "add target_uncertainty=FILE to --output"),
        ([*output, spread], "add --samples 8"),
        (["--output", "other_uncertainty=u.nii.gz", "--samples", "2"], "has no output 'other_uncertainty'"),
    ):
        assert main([*words, *wrong]) == 2
        assert problem in capsys.readouterr().err
