"""Images from noise: what they can be asked for, and that a seed gives the same ones however they are made."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic_cases import head, write_conditions

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.asking import Wish, choices_of
from GANSynthesisLib.card import Port
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import generate
from GANSynthesisLib.inference.draws import between, drawn
from GANSynthesisLib.models import ModelError, load_model
from GANSynthesisLib.pictures import write_picture
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Volume, VolumeError

TINY = {
    "patch": "16,16", "width": 4, "critic_width": 4, "latent": 4, "batch": 4, "warmup": 0, "validation_fraction": 0,
    "intensity": "window:0:255",
}
MODELS = {
    "plain": ("dcgan", {}),
    "classes": ("acgan", {"architecture": "residual"}),
    "values": ("cgan", {"conditioning": "value", "value_unit": "mm"}),
    "masks": ("cgan", {"conditioning": "labels", "labels": "background,tissue,bright"}),
    "codes": ("infogan", {"categories": 3, "continuous": 2}),
    "patches": ("gan", {"context": "3D", "patch": "8,16,16"}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models of every kind of condition, trained for two steps."""
    root = tmp_path_factory.mktemp("generation")
    data = write_conditions(root / "cases", shape=(8, 20, 20)) / "cases.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)
        return {
            name: load_model(train(system, data, root / f"{name}.safetensors", settings={**TINY, **more}, steps=2))
            for name, (system, more) in MODELS.items()
        }


def voxels(result) -> np.ndarray:
    return np.stack([volume.voxels for volume in result.outputs.values()])


def mask_of(value: int = 1, shape=(1, 16, 16)) -> Volume:
    labels = np.zeros(shape, np.uint8)
    labels[:, 4:9, 4:9] = value
    return Volume(labels, np.diag([2.0, 2, 3, 1]), name="Mask")


@pytest.mark.parametrize("name", ["plain", "classes", "values", "codes", "patches"])
def test_a_seed_gives_the_same_images_whatever_their_number_and_the_batch(models, name):
    few, many = (voxels(generate(models[name], count, seed=5, at_once=at_once)) for count, at_once in ((3, 1), (5, 4)))
    assert np.allclose(few, many[:3], atol=1e-3)
    assert np.ptp(many, 0).max() > 1e-3, "images differ from each other"
    assert not np.allclose(few, voxels(generate(models[name], 3, seed=6)), atol=1e-3)


def test_classes_come_in_turn_or_as_asked(models):
    told = generate(models["classes"], 3).report["images"]
    assert [each["class"] for each in told.values()] == ["bright", "dark", "bright"]
    asked = generate(models["classes"], 2, class_name="dark", seed=1)
    assert {each["class"] for each in asked.report["images"].values()} == {"dark"}
    assert "dark" in asked.outputs["image_2"].name
    other = generate(models["classes"], 2, class_name="bright", seed=1)
    assert not np.allclose(voxels(asked), voxels(other), atol=1e-4), "the same noise, another class"


def test_values_are_drawn_from_the_range_of_the_training_cases(models):
    assert choices_of(models["values"].card).value_range == (0.0, 30.0)
    told = [each["value"] for each in generate(models["values"], 8).report["images"].values()]
    assert 0 <= min(told) < max(told) <= 30
    low, high = (voxels(generate(models["values"], value=value)) for value in (0, 30))
    assert not np.allclose(low, high, atol=1e-4)


def test_images_with_structures_lie_on_the_grid_of_the_mask(models):
    mask = mask_of()
    image = generate(models["masks"], mask=mask).outputs["image"]
    assert image.grid.same_as(mask.grid)
    larger = generate(models["masks"], mask=mask_of(shape=(1, 32, 32))).outputs["image"]
    assert larger.shape == (1, 16, 16) and np.allclose(larger.spacing, (4, 4, 3))
    assert np.allclose(larger.grid.centre_ras, mask_of(shape=(1, 32, 32)).grid.centre_ras)
    assert not np.allclose(image.voxels, generate(models["masks"], mask=mask_of(2)).outputs["image"].voxels, atol=1e-4)


def test_a_way_between_two_noise_vectors_begins_and_ends_at_them_and_keeps_their_length(models):
    able = choices_of(models["plain"].card)
    first, last = drawn(able, 64, Wish(), 2, 3)
    way = between(first, last, 5)
    assert torch.allclose(way[0].noise, first.noise, atol=1e-4)
    assert torch.allclose(way[-1].noise, last.noise, atol=1e-4)
    lengths = [float(each.noise.norm()) for each in way]
    assert min(lengths) > 0.95 * min(lengths[0], lengths[-1])
    ends = voxels(generate(models["plain"], 2, seed=3))
    made = voxels(generate(models["plain"], 5, seed=3, way="interpolate"))
    assert np.allclose(made[[0, -1]], ends, atol=1e-2)


def test_a_sweep_has_a_row_for_each_category_and_each_continuous_code(models):
    result = generate(models["codes"], 3, way="sweep", seed=2)
    codes = [each["code"] for each in result.report["images"].values()]
    assert len(codes) == 3 * (3 + 2)
    assert [code[0] for code in codes[:9]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [code[1] for code in codes[9:12]] == [-1, 0, 1]
    assert [code[2] for code in codes[12:]] == [-1, 0, 1]
    images = voxels(result)
    assert not np.allclose(images[0], images[3], atol=1e-4), "the same noise, another category"


@pytest.mark.parametrize(("name", "options", "sentence"), [
    ("plain", {"count": 0}, "0 images were asked for: give a number from 1"),
    ("plain", {"class_name": "dark"}, "'plain' knows of no classes: leave the class 'dark' out"),
    ("classes", {"class_name": "gray"}, "no class 'gray'; it has: bright, dark"),
    ("values", {"value": 99.0}, "values from 0 to 30, and 99 was asked for"),
    ("plain", {"value": 1.0}, "cannot be asked for a value"),
    ("codes", {"code": (3,)}, "3 categories and 2 continuous codes: give a number from 0 to 2"),
    ("codes", {"code": (0, 2.0)}, "then numbers from -1 to 1"),
    ("plain", {"code": (0,)}, "has no code"),
    ("plain", {"way": "sweep"}, "no codes to sweep"),
    ("plain", {"way": "interpolate"}, "1 image is no way between two"),
    ("masks", {}, "makes images with given structures: give a mask"),
    ("plain", {"mask": mask_of()}, "takes no mask: leave 'Mask' out"),
    ("masks", {"mask": mask_of(7)}, "holds the value 7, and the model 'masks' knows 0 to 2: background, tissue"),
    ("masks", {"mask": mask_of(shape=(4, 16, 16))}, "has 4 slices"),
])
def test_what_a_model_cannot_make_is_refused_in_one_sentence(models, name, options, sentence):
    with pytest.raises((ModelError, VolumeError), match=sentence):
        generate(models[name], **options)


# The command line


def run(*words) -> int:
    return main([str(word) for word in words])


def test_files_carry_the_class_and_training_reads_their_manifest(models, tmp_path):
    folder = tmp_path / "made"
    assert run("generate", models["classes"].path, "--count", 4, "--seed", 1, "--output", folder, "--sheet",
               "--device", "cpu") == 0
    with (folder / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["class"]) for row in rows] == [
        (f"classes_{kind}_{number}.png", kind) for number, kind in enumerate(("bright", "dark") * 2, start=1)]
    assert (folder / "sheet.png").stat().st_size > 1000
    again = train("acgan", folder / "labels.csv", tmp_path / "again.safetensors", settings=TINY, steps=1)
    assert load_model(again).card.settings["classes"] == ["bright", "dark"]


def test_a_picture_read_again_is_the_image_that_was_made(models, tmp_path):
    intensity = {"kind": "window", "lower": 0.0, "upper": 255.0}
    seen = head(1, (1, 24, 20)).canonical()
    scaled = seen.with_voxels(np.rint(seen.voxels / seen.voxels.max() * 255))
    write_picture(scaled, Port("image", "MR", intensity=intensity), tmp_path / "a.png")
    assert np.array_equal(read_volume(tmp_path / "a.png").canonical().voxels, scaled.voxels)


def test_patches_and_masks_become_volumes(models, tmp_path):
    assert run("generate", models["patches"].path, "--count", 2, "--output", tmp_path / "3D", "--device", "cpu") == 0
    assert read_volume(tmp_path / "3D" / "patches_2.nrrd").shape == (8, 16, 16)
    mask = mask_of()
    sitk.WriteImage(sitk.GetImageFromArray(mask.voxels), str(tmp_path / "mask.nrrd"))
    assert run("generate", models["masks"].path, "--count", 1, "--mask", tmp_path / "mask.nrrd", "--format", "nii.gz",
               "--output", tmp_path / "2D", "--device", "cpu") == 0
    assert read_volume(tmp_path / "2D" / "masks_1.nii.gz").shape == (1, 16, 16)


@pytest.mark.parametrize(("name", "words", "sentence"), [
    ("plain", ("--count", 0), "0 images were asked for"),
    ("plain", ("--count", 1, "--class", "dark"), "knows of no classes"),
    ("classes", ("--count", 1, "--class", "gray"), "no class 'gray'; it has: bright, dark"),
    ("patches", ("--count", 1, "--format", "png"), "makes 3D patches, which a PNG cannot hold"),
])
def test_bad_words_are_refused_before_any_work(models, tmp_path, capsys, name, words, sentence):
    assert run("generate", models[name].path, *words, "--output", tmp_path / "new") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_not_written_to(models, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("mine")
    assert run("generate", models["plain"].path, "--count", 1, "--output", tmp_path) == 2
    assert "is not empty (it has labels.csv): give a new or an empty one" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
