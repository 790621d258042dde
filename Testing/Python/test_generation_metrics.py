"""Distances between sets of images: right on distributions whose distance is known, and told by `evaluate`."""

import json

import numpy as np
import pytest
import torch
from class_fixtures import write_classes

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.evaluation.encoders import load_encoder
from GANSynthesisLib.evaluation.evaluate_generation import likeness_to_training
from GANSynthesisLib.evaluation.generation import (
    frechet_distance,
    halves_distance,
    kernel_distance,
    manifolds,
)
from GANSynthesisLib.models import ModelError, load_model
from GANSynthesisLib.networks.features import VGG_CONVOLUTIONS, vgg_layers
from GANSynthesisLib.training import train

SHIFTED = np.array([1.0, 0, 0, 0])


def normal(count: int, seed: int, shift=0.0, scale=1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 4)) * scale + shift


def test_frechet_distance_of_gaussians_is_the_closed_form():
    real = normal(20000, 0)
    assert frechet_distance(real, normal(20000, 1)) == pytest.approx(0, abs=0.01)
    assert frechet_distance(real, normal(20000, 1, shift=SHIFTED)) == pytest.approx(1, abs=0.05)
    # Σ (1 − 2)² over four axes
    assert frechet_distance(real, normal(20000, 1, scale=2.0)) == pytest.approx(4, abs=0.1)


def test_kernel_distance_is_unbiased_and_grows_with_the_difference():
    real = normal(400, 0)
    same, low, high = kernel_distance(real, normal(400, 1))
    assert low < 0 < high and abs(same) < halves_distance(real)
    near, far = (kernel_distance(real, normal(400, 1, shift=shift * SHIFTED))[0] for shift in (0.5, 1.5))
    assert halves_distance(real) < near < far
    assert kernel_distance(real, normal(400, 1)) == kernel_distance(real, normal(400, 1)), "the same by its seed"


def test_kernel_distance_is_the_formula_on_two_small_sets():
    # One subset of two rows each: k(x, y) = (x·y / 1 + 1)³.
    real, made = np.array([[0.0], [0.0], [0.0], [0.0]]), np.array([[1.0], [1.0], [1.0], [1.0]])
    assert kernel_distance(real, made, subsets=1)[0] == pytest.approx(1 + 8 - 2)


def test_precision_falls_with_bad_images_and_recall_with_few_kinds():
    real, same = normal(300, 0), normal(300, 1)
    good = manifolds(real, same)
    assert good.precision > 0.85 and good.recall > 0.85 and good.coverage > 0.8
    assert good.density == pytest.approx(1, abs=0.15)
    one_kind = manifolds(real, normal(300, 1, scale=0.1))
    assert one_kind.precision == 1 and one_kind.recall < 0.2 and one_kind.coverage < 0.2
    wrong = manifolds(real, normal(300, 1, shift=9.0))
    assert wrong.precision == 0 and wrong.density == 0


def test_too_few_images_and_features_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="3 images are too few to compare: give at least 4"):
        kernel_distance(normal(3, 0), normal(9, 1))
    with pytest.raises(ValueError, match="not all finite"):
        frechet_distance(normal(5, 0), np.full((5, 4), np.nan))


def test_copies_of_training_images_are_found():
    images = torch.rand(20, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    copies = likeness_to_training(images[:8] + 0.001, images)
    assert copies["copied"] == 1 and copies["nearest"] < 0.01
    new = torch.rand(8, 1, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = likeness_to_training(new, images)
    assert found["copied"] == 0 and found["nearest"] == pytest.approx(1, abs=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of images, a classifier and generators of them, all barely trained."""
    folder = tmp_path_factory.mktemp("generation")
    data = write_classes(folder / "data", {"ball": 12, "box": 12})
    small = {"patch": "16,16", "width": 4, "batch": 4, "validation_fraction": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)
        for name, settings in {"classifier": small, "acgan": {**small, "latent": 4, "critic_width": 4},
                               "dcgan": {**small, "latent": 4, "critic_width": 4}}.items():
            train(name, data, folder / f"{name}.safetensors", settings=settings, steps=4, device="cpu")
    return folder


def evaluate(trained, *words) -> int:
    return main(["evaluate", *(str(trained / f"{word}.safetensors") if word.isalpha() else word for word in words[:1]),
                 "--data", str(trained / "data"), *map(str, words[1:])])


@pytest.mark.parametrize("name", ["acgan", "dcgan"])
def test_generators_are_held_against_real_images(trained, name, tmp_path, capsys):
    output = tmp_path / "numbers.json"
    assert evaluate(trained, name, "--encoder", trained / "classifier.safetensors", "--count", 24, "--all", "--output",
                    output, "--device", "cpu") == 0
    printed = capsys.readouterr().out
    found = json.loads(output.read_text())[name]
    assert "24 made images of each model against real ones" in printed
    assert (found["real_images"], found["made_images"]) == (24, 24)
    assert found["kernel_distance"] > 3 * found["halves_distance"], "hardly trained: nothing like the real ones"
    assert found["frechet_distance"] > 0 and found["nearest"] > 0.5
    assert set(found["class_ms_ssim"]) == ({"ball", "box"} if name == "acgan" else set())


def test_what_cannot_be_evaluated_is_told_in_one_sentence(trained, tmp_path, capsys):
    assert evaluate(trained, "dcgan") == 2
    assert "add --encoder CLASSIFIER" in capsys.readouterr().err
    assert evaluate(trained, "dcgan", "--encoder", trained / "acgan.safetensors") == 2
    assert "does not classify, so it describes no images" in capsys.readouterr().err
    assert evaluate(trained, "dcgan", "--encoder", tmp_path / "none.pth") == 2
    assert "There is no file" in capsys.readouterr().err
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    assert evaluate(trained, "dcgan", "--encoder", tmp_path / "bad.pth") == 2
    assert "does not hold the weights of VGG16 or VGG19" in capsys.readouterr().err
    assert evaluate(trained, "dcgan", "--encoder", trained / "classifier.safetensors", "--count", 3) == 2
    assert "3 images are too few" in capsys.readouterr().err


def test_vgg_weights_of_a_file_describe_images_of_any_size(tmp_path):
    torch.manual_seed(0)
    layers = vgg_layers(VGG_CONVOLUTIONS["VGG16"])
    torch.save({f"features.{name}": value for name, value in layers.state_dict().items()}, tmp_path / "vgg.pth")
    encode = load_encoder(tmp_path / "vgg.pth")
    images = torch.rand(3, 1, 2, 40, 32) * 2 - 1
    features = encode(images)
    assert features.shape == (3, 256 + 512 + 512)
    np.testing.assert_allclose(encode(images[1:2]), features[1:2], rtol=1e-4, atol=1e-6)


def test_a_classifier_describes_images_of_another_size(trained):
    encode = load_encoder(load_model(str(trained / "classifier.safetensors")))
    assert encode(torch.zeros(2, 1, 1, 30, 30)).shape == (2, 32)
    with pytest.raises(ModelError, match="does not classify"):
        load_encoder(str(trained / "dcgan.safetensors"))
