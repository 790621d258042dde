"""The classifier: it learns, its answer is written and told, and it is held against known classes."""

import csv
import json

import numpy as np
import pytest
import torch
from class_fixtures import CLASSES, picture, write_classes, write_picture
from synthetic_cases import head

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.classes import Classification
from GANSynthesisLib.evaluation.classification import score_classes
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.inference.classification import windows_of
from GANSynthesisLib.models import load_model
from GANSynthesisLib.networks.classification import ResidualClassifier
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.training.in_memory import image_cases, train_in_memory
from GANSynthesisLib.volumes import Volume

SMALL = {"patch": "16,16", "width": 4, "batch": 8, "warmup": 0, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classes")


@pytest.fixture(scope="module")
def model(folder):
    data = write_classes(folder / "training", {"ball": 16, "box": 8})
    settings = {**SMALL, "validation_fraction": 0.25, "validate_every": 40, "fit": "resize"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)
        return load_model(train("classifier", data, folder / "shapes.safetensors", settings=settings, steps=80,
                                device="cpu"))


@pytest.fixture(scope="module")
def known(folder):
    return write_classes(folder / "known", {"ball": 4, "box": 6}, size=30, first=100)


def volume(class_name: str, seed: int = 77) -> Volume:
    return Volume(picture(class_name, seed)[None].astype(np.float32), np.eye(4), name=class_name)


def test_training_gives_a_model_that_tells_the_classes_of_new_images(model):
    assert model.card.task == "classify" and model.card.settings["classes"] == list(CLASSES)
    assert model.card.settings["class_weights"] == pytest.approx([0.75, 1.5])
    assert model.card.metrics["validation"]["accuracy"] > 0.8
    assert (model.card.training["cases"], model.card.training["validation_cases"]) == (18, 6)
    for name in CLASSES:
        found = [apply_model(model, {"image": volume(name, seed)}, device="cpu") for seed in range(50, 55)]
        assert [each.outputs["class"].class_name for each in found].count(name) >= 4
        assert found[0].report["classes"]["class"] == found[0].outputs["class"].class_name
        assert sum(found[0].outputs["class"].probabilities.values()) == pytest.approx(1)


def test_the_class_is_printed_and_written(model, known, tmp_path, capsys):
    image = known / "box" / "100.png"
    for ending in ("json", "csv"):
        assert main(["apply", str(model.path), "--input", f"image={image}", "--device", "cpu",
                     "--output", f"class={tmp_path / 'c'}.{ending}"]) == 0
    assert "class: box (box " in capsys.readouterr().out
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["class"] == "box" and list(content["probabilities"]) == list(CLASSES)
    with (tmp_path / "c.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == list(CLASSES)
    assert float(rows[1]["probability"]) == pytest.approx(content["probabilities"]["box"], abs=1e-5)
    assert main(["apply", str(model.path), "--input", f"image={image}", "--output", "class=c.nii.gz"]) == 2
    assert "must end in one of .json, .csv" in capsys.readouterr().err


def test_a_batch_writes_the_class_of_every_image(model, tmp_path):
    from GANSynthesisLib.files import write_volume

    for name in CLASSES:
        write_volume(volume(name), tmp_path / "in" / f"{name}.nii.gz")
    assert main(["batch", str(model.path), "--input-folder", str(tmp_path / "in"), "--device", "cpu",
                 "--output-folder", str(tmp_path / "out")]) == 0
    said = {name: json.loads((tmp_path / "out" / f"{name}_class.json").read_text())["class"] for name in CLASSES}
    assert said == {name: name for name in CLASSES}


def test_evaluation_prints_a_confusion_matrix_with_intervals(model, known, tmp_path, capsys):
    output = tmp_path / "numbers.json"
    assert main(["evaluate", str(model.path), "--data", str(known), "--output", str(output), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "shapes on 10 images" in printed and "balanced accuracy" in printed and "by chance 0.500" in printed
    content = json.loads(output.read_text())["shapes"]
    right = sum(case["class"] == case["said"] for case in content["cases"].values())
    assert np.trace(content["confusion"]) == right and np.sum(content["confusion"]) == 10
    assert content["accuracy"]["value"] == pytest.approx(right / 10)


def test_images_seen_in_training_are_left_out_and_foreign_classes_refused(model, folder, known, tmp_path, capsys):
    assert main(["evaluate", str(model.path), "--data", str(folder / "training")]) == 2
    assert "took part in the training" in capsys.readouterr().err
    write_picture(picture("ball", 1), tmp_path / "cup" / "a.png")
    assert main(["evaluate", str(model.path), "--data", str(tmp_path)]) == 2
    assert "has images of the class 'cup', and the model knows ball, box" in capsys.readouterr().err
    assert main(["evaluate", str(model.path), "--data", str(known), "--residual"]) == 2
    assert "--residual has no meaning for models of the task classify" in capsys.readouterr().err


def test_slices_of_a_volume_are_looked_at_one_by_one(model):
    stack = np.concatenate([volume(name).voxels for name in ("ball", "box", "box")])
    found = apply_model(model, {"image": Volume(stack, np.eye(4))}, device="cpu").outputs["class"]
    assert found.class_name == "box" and found.probabilities["ball"] > 0.1


@pytest.mark.parametrize(("shape", "window", "count"), [
    ((1, 20, 30), (1, 32, 32), 1), ((5, 32, 32), (1, 32, 32), 5), ((1, 33, 64), (1, 32, 32), 4),
    ((9, 9, 9), (8, 8, 8), 8),
])
def test_windows_cover_an_image(shape, window, count):
    image = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    windows = windows_of(image, window)
    assert windows.shape == (count, *window)
    assert set(image.ravel()) <= set(windows.ravel()) <= {-1.0, *image.ravel()}


@pytest.mark.parametrize(("dimensions", "size"), [(2, (1, 1, 32, 20)), (3, (1, 1, 9, 16, 16))])
def test_an_image_is_described_alone_whatever_lies_beside_it(dimensions, size):
    network = ResidualClassifier(1, dimensions, 3, width=8).eval()
    image, other = torch.randn(size), torch.randn(size)
    features = network.features(image)
    assert features.shape == (1, 64) and network(image).shape == (1, 3)
    torch.testing.assert_close(network.features(torch.cat([other, image]))[1:], features, rtol=1e-4, atol=1e-5)


def test_rare_classes_weigh_more_in_the_loss():
    system = build_system("classifier", {**SMALL, "classes": "a,b", "class_weights": "1,3", "dropout": 0})
    image = torch.randn(2, 1, 1, 16, 16)
    scores = system.scores(image).log_softmax(1)
    expected = -(scores[0, 0] + 3 * scores[1, 1]) / 2
    loss = system.classifier_turn({"image": image, "class": torch.tensor([0, 1])})["classification"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_volumes_are_classified_in_3d():
    volumes = torch.stack([torch.from_numpy(head(seed, (8, 16, 16)).voxels)[None] / 500 - 1 for seed in range(8)])
    volumes[4:] = volumes[4:].flip(-3).mul(-1)
    system = build_system("classifier", {**SMALL, "context": "3D", "patch": "8,16,16", "classes": "a,b"})
    trained = train_in_memory(system, image_cases(volumes, [0] * 4 + [1] * 4), 40, 0, "cpu")
    assert trained.scores(volumes).argmax(1).tolist() == [0] * 4 + [1] * 4


def test_scores_are_counted_and_patients_drawn_as_a_whole():
    truth, said = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    scores = score_classes(truth, said, list("aabcde"), ("x", "y", "z"))
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores.accuracy.value == pytest.approx(4 / 6)
    assert scores.balanced_accuracy.value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert {name: round(each.value, 3) for name, each in scores.sensitivity.items()} == {"x": 0.667, "y": 1, "z": 0}
    assert {name: round(each.value, 3) for name, each in scores.specificity.items()} == {
        "x": round(2 / 3, 3), "y": 0.75, "z": 1}
    assert scores.accuracy.low < scores.accuracy.value < scores.accuracy.high
    one_patient = score_classes(truth, said, ["a"] * 6, ("x", "y", "z")).accuracy
    assert one_patient.low == one_patient.value == one_patient.high, "another draw is the same patient"
    with pytest.raises(ValueError, match="no images to score"):
        score_classes([], [], [], ("x", "y"))


def test_a_class_that_nothing_is_known_of_has_no_sensitivity():
    scores = score_classes([0, 0], [0, 1], ["a", "b"], ("x", "y"))
    assert list(scores.sensitivity) == ["x"] and list(scores.specificity) == ["y"]
    assert scores.balanced_accuracy.value == 0.5


def test_the_most_probable_class_is_named_first():
    found = Classification({"a": 0.2, "b": 0.7, "c": 0.1}, "image")
    assert str(found) == "b (b 70.0%, a 20.0%, c 10.0%)"
