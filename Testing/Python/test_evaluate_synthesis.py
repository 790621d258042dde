"""`evaluate` for models that translate or segment: their measures, who is left out, and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic_cases import LABELS, SMALL, head, other_contrast, shifted, write_cases

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.evaluation.residual import registration_residual_mm
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.models import load_model
from GANSynthesisLib.training import train

SHAPE = (8, 24, 24)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"), 3, labels=True, shape=SHAPE)


@pytest.fixture(scope="module")
def models(data, tmp_path_factory):
    """Two translators and a segmentor, trained for a few steps."""
    folder = tmp_path_factory.mktemp("models")
    image = {"context": "2D", "patch": "24,24"}
    for name, system, settings in (
        ("first", "paired", SMALL | image), ("second", "paired", SMALL | image | {"l1_weight": 2}),
        ("parts", "segmentor", image | {"width": 4, "warmup": 0, "validation_fraction": 0, "learning_rate": 1e-2,
                                        "segmentor_width": 8, "labels": LABELS}),
    ):
        train(system, data, folder / f"{name}.safetensors", settings=settings, steps=30)
    return folder


def evaluate(*words) -> int:
    return main(["evaluate", *map(str, words)])


def test_translators_are_held_side_by_side(data, models, tmp_path, capsys):
    page, output = tmp_path / "page", tmp_path / "numbers.json"
    assert evaluate(models / "first.safetensors", models / "second.safetensors", "--data", data, "--all", "--residual",
                    "--segmentor", models / "parts.safetensors", "--page", page, "--output", output) == 0
    said = capsys.readouterr().out
    assert "MAE %" in said and "95 % bootstrap" in said and "residual mm" in said
    found = json.loads(output.read_text())
    assert set(found) == {"first", "second"}
    assert set(found["first"]["cases"]) == {"sub-00", "sub-01", "sub-02"}
    assert 0 < found["first"]["summary"]["MAE"] < 100
    assert 0 <= found["first"]["summary"]["Dice"] <= 1
    text = (page / "index.html").read_text()
    assert "sub-02" in text and "first" in text and "not for diagnosis" in text
    assert len(list(page.glob("case_*.png"))) == 3


def test_numbers_are_those_of_the_images(data, models, tmp_path, capsys):
    """A model's own result, given as the reference, is met exactly."""
    from GANSynthesisLib.inference import apply_model

    model = load_model(models / "first.safetensors")
    for path in sorted((data / "source").glob("*.nii.gz")):
        source = read_volume(path)
        write_volume(source, tmp_path / "source" / path.name)
        made = apply_model(model, {"source": source}).outputs["target"]
        write_volume(made, tmp_path / "target" / path.name)
    output = tmp_path / "numbers.json"
    assert evaluate(model.path, "--data", tmp_path, "--all", "--output", output) == 0
    summary = json.loads(output.read_text())["first"]["summary"]
    assert summary["MAE"] == pytest.approx(0, abs=1e-3)
    assert summary["MS-SSIM"] == pytest.approx(1, abs=1e-4)


def test_the_mask_of_a_case_says_where_to_look(data, models, tmp_path, capsys):
    for role in ("source", "target"):
        (tmp_path / role).symlink_to(data / role)
    for path in sorted((data / "source").glob("*.nii.gz")):
        source = read_volume(path)
        write_volume(source.with_voxels((source.voxels > 450).astype(np.uint8)), tmp_path / "mask" / path.name)
    errors = []
    for folder in (data, tmp_path):
        output = tmp_path / "numbers.json"
        assert evaluate(models / "first.safetensors", "--data", folder, "--all", "--output", output) == 0
        errors.append(json.loads(output.read_text())["first"]["summary"]["MAE"])
    assert errors[0] != pytest.approx(errors[1], rel=1e-3)


def test_segmentors_are_held_against_labels(data, models, tmp_path, capsys):
    output = tmp_path / "numbers.json"
    assert evaluate(models / "parts.safetensors", "--data", data, "--all", "--output", output) == 0
    assert json.loads(output.read_text())["parts"]["summary"]["Dice"] > 0.4
    assert "HD95 mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("first",), "took part in the training of 'first'"),
        (("first", "parts", "--all"), "have different tasks or inputs"),
        (("first", "first", "--all"), "must have different names"),
        (("first", "--all", "--segmentor", "second"), "does not segment"),
        (("parts", "--all", "--segmentor", "parts"), "leave --segmentor out"),
        (("first", "--all", "--calibrate"), "--calibrate has no meaning"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(words, sentence, data, models, capsys):
    files = [models / f"{word}.safetensors" if not word.startswith("--") else word for word in words]
    assert evaluate(*files, "--data", data) == 2
    assert sentence in capsys.readouterr().err


def test_a_moved_translation_has_a_residual():
    source = head(0, (24, 40, 40), np.diag([2.0, 2, 2, 1]))
    mask = source.voxels > 0
    assert registration_residual_mm(other_contrast(source), source, mask) < 0.3
    moved = registration_residual_mm(other_contrast(shifted(source, (3.0, -4, 0))), source, mask)
    assert moved == pytest.approx(5, abs=1)
    assert np.isnan(registration_residual_mm(head(0, (1, 24, 24)), head(0, (1, 24, 24)), mask[:1]))
