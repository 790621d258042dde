"""Training data with classes and values: how they are found, checked, and reach a batch."""

import dataclasses

import numpy as np
import pytest
import torch
from class_fixtures import CLASSES, picture, write_classes, write_picture

from GANSynthesisLib.systems import build_system, system_class
from GANSynthesisLib.systems.classifier import ClassifierSettings
from GANSynthesisLib.systems.conditions import class_names
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.training.cases import DataError, find_cases, split_subjects
from GANSynthesisLib.training.conditions import check_enough, condition_numbers, learned_settings, of_classes
from GANSynthesisLib.training.inspection import inspect_cases
from GANSynthesisLib.training.loading import load_case
from GANSynthesisLib.training.patches import PatchSampler

SMALL = {"patch": "16,16", "width": 4, "batch": 4}


def learned(data, system="classifier", **settings):
    return learned_settings(system_class(system), system_class(system).Settings.parse({**SMALL, **settings}), data)


def loaded(data, **settings):
    chosen = learned(data, **settings)
    system = build_system("classifier", chosen.as_dict())
    return system, [load_case(case, system) for case in find_cases(data, system.roles)]


def test_a_folder_names_the_class_and_a_folder_within_the_patient(tmp_path):
    write_classes(tmp_path, {"ball": 1, "box": 1})
    write_picture(picture("box", 5), tmp_path / "box" / "anna" / "left.jpg")
    write_picture(picture("box", 6), tmp_path / "box" / "anna" / "right.jpg")
    cases = {case.name: case for case in find_cases(tmp_path, ("image", "class"))}
    assert {name: (case.class_name, case.subject) for name, case in cases.items()} == {
        "ball/000": ("ball", "ball/000"), "box/000": ("box", "box/000"),
        "box/anna/left": ("box", "anna"), "box/anna/right": ("box", "anna"),
    }


def test_a_manifest_gives_class_value_and_patient(tmp_path):
    write_classes(tmp_path / "files", {"ball": 2})
    manifest = tmp_path / "cases.csv"
    manifest.write_text("image,class,value,subject\nfiles/ball/000.png,benign,3.5,p1\nfiles/ball/001.png,,,p2\n")
    (case,) = find_cases(manifest, ("image", "class", "value"))
    assert (case.class_name, case.value, case.subject) == ("benign", 3.5, "p1")
    assert case.roles == {"image", "class", "value"}
    manifest.write_text("image,value\nfiles/ball/000.png,old\n")
    with pytest.raises(DataError, match="line 2 gives the value 'old', which is no number"):
        find_cases(manifest, ("image", "value"))


def test_masks_of_classified_images_lie_beside_them(tmp_path):
    write_classes(tmp_path / "image", {"ball": 1, "box": 1})
    write_classes(tmp_path / "labels", {"ball": 1, "box": 1})
    cases = find_cases(tmp_path, ("image", "labels", "class"))
    assert [(case.name, case.class_name, sorted(case.files)) for case in cases] == [
        ("ball/000", "ball", ["image", "labels"]), ("box/000", "box", ["image", "labels"]),
    ]


def test_settings_learn_classes_their_weights_and_the_range_of_values(tmp_path):
    write_classes(tmp_path, {"box": 6, "ball": 2})
    settings = learned(tmp_path)
    assert settings.classes == CLASSES
    assert settings.class_weights == pytest.approx((2.0, 2 / 3)), "rare and frequent classes count the same"
    manifest = tmp_path / "cases.csv"
    manifest.write_text("image,class,value\nbox/000.png,box,20\nbox/001.png,box,60\nball/000.png,ball,30\n")
    (first, *_) = find_cases(manifest, ("image", "value"))
    aged = dataclasses.replace(learned(manifest), value_range=(20, 60))
    numbers = [condition_numbers(case, aged) for case in find_cases(manifest, ("image",))]
    assert numbers == [{"class": 1, "value": -1}, {"class": 1, "value": 1}, {"class": 0, "value": -0.5}]


def test_named_classes_are_trained_on_alone_and_in_their_order(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2, "cup": 2})
    settings = learned(tmp_path, classes="box,ball")
    assert settings.classes == ("box", "ball")
    kept = of_classes(find_cases(tmp_path, ("image",)), settings, tmp_path)
    assert {case.class_name for case in kept} == {"box", "ball"}
    with pytest.raises(DataError, match="No case of .* is of the class 'star', .* there are: ball, box, cup"):
        of_classes(find_cases(tmp_path, ("image",)), ClassifierSettings(classes=("star", "box")), tmp_path)


@pytest.mark.parametrize(("counts", "sentence"), [
    ({"ball": 3}, "All images of .* are of the class 'ball': give images of two classes or more"),
    ({"ball": 3, "box": 1}, "The class 'box' of .* has a single image, 'box/000': give more"),
])
def test_too_little_to_tell_classes_apart_is_refused_before_any_file_is_read(tmp_path, counts, sentence):
    write_classes(tmp_path, counts)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"never read")
    with pytest.raises(DataError, match=sentence):
        inspect_cases("classifier", SMALL, tmp_path)


def test_a_single_image_is_no_training_data_for_a_generator(tmp_path):
    write_classes(tmp_path, {"ball": 1})
    with pytest.raises(DataError, match="has a single image, 'ball/000', which wgan would learn by heart"):
        inspect_cases("wgan", {"patch": "16,16"}, tmp_path)
    system = build_system("cyclegan", {})
    check_enough(find_cases(tmp_path, ("image",)), system, tmp_path)  # images of images are another matter


def test_an_empty_class_folder_and_images_without_a_class_are_told(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2})
    (tmp_path / "cup").mkdir()
    with pytest.raises(DataError, match="The folder 'cup' in .* should hold the images of a class and has none"):
        find_cases(tmp_path, ("image", "class"))
    (tmp_path / "cup").rmdir()
    write_picture(picture("ball", 9), tmp_path / "loose.png")
    rows = {row.name: row.problem for row in inspect_cases("classifier", SMALL, tmp_path)}
    assert rows.pop("loose").startswith("It is of no class: move it into the folder of its class")
    assert set(rows.values()) == {""}
    flat = tmp_path / "flat"
    write_picture(picture("ball", 9), flat / "loose.png")
    with pytest.raises(DataError, match="does not say of which class an image is: put the images of each"):
        find_cases(flat, ("image", "class"))


def test_color_and_damaged_images_are_named_and_sixteen_bits_are_taken(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2})
    write_picture(np.stack([picture("ball", 3)] * 3, -1), tmp_path / "ball" / "color.png")
    (tmp_path / "box" / "broken.png").write_bytes(b"no picture")
    write_picture(picture("box", 4).astype(np.uint16) * 200, tmp_path / "box" / "deep.png")
    rows = {row.name: row.problem for row in inspect_cases("classifier", SMALL, tmp_path)}
    assert rows["ball/color"] == "'color.png' is a color image: convert it to a single gray-value channel."
    assert rows["box/broken"] == "The file 'broken.png' of image cannot be read: replace it by an undamaged one."
    assert rows["box/deep"] == ""
    system = build_system("classifier", {**SMALL, "classes": CLASSES})
    deep = {case.name: case for case in find_cases(tmp_path, ("image", "class"))}["box/deep"]
    image = load_case(deep, system).tensors["image"]
    assert -1 <= image.min() < -0.7 and 0.7 < image.max() <= 1


def test_a_whole_image_of_any_size_is_scaled_into_the_patch_in_its_proportions(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2}, size=40)
    write_picture(np.tile(picture("box", 1, 40), (1, 2)), tmp_path / "box" / "wide.png")
    system, cases = loaded(tmp_path)
    shapes = {case.name: tuple(case.tensors["image"].shape) for case in cases}
    assert shapes.pop("box/wide") == (1, 1, 8, 16)
    assert set(shapes.values()) == {(1, 1, 16, 16)}
    wide = next(case for case in cases if case.name == "box/wide")
    (batch,) = PatchSampler([wide], system, 0).validation_batches("cpu")
    assert batch["image"].shape == (1, 1, 1, 16, 16)
    assert (batch["image"][0, 0, 0, [0, 1, 2, 3, 12, 13, 14, 15]] == -1).all(), "above and below it is background"
    rows = {row.name: row.remark for row in inspect_cases("classifier", SMALL, tmp_path)}
    assert rows["box/wide"] == "", "half of the patch is filled"
    write_picture(np.tile(picture("box", 1, 40), (1, 4)), tmp_path / "box" / "wide.png")
    rows = {row.name: row.remark for row in inspect_cases("classifier", SMALL, tmp_path)}
    assert "fills 25% of it along an axis, the rest is background: crop the image, or set fit=crop" in rows["box/wide"]


def test_a_voxel_size_cannot_be_kept_where_images_are_scaled(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2})
    with pytest.raises(SettingsError, match="set fit=crop, or leave spacing at 0"):
        inspect_cases("classifier", {**SMALL, "spacing": 2}, tmp_path)
    assert inspect_cases("classifier", {**SMALL, "spacing": 2, "fit": "crop"}, tmp_path)


def test_cropped_patches_keep_the_size_of_voxels(tmp_path):
    write_classes(tmp_path, {"ball": 2, "box": 2}, size=40)
    system, cases = loaded(tmp_path, fit="crop")
    assert {tuple(case.tensors["image"].shape) for case in cases} == {(1, 1, 40, 40)}
    assert PatchSampler(cases, system, 0).batch("cpu")["image"].shape == (4, 1, 1, 16, 16)


def test_a_batch_has_the_class_of_each_of_its_images(tmp_path):
    write_classes(tmp_path, {"ball": 3, "box": 3})
    system, cases = loaded(tmp_path, augment="0", augment_intensity="0")
    known = [(case.tensors["image"], case.conditions["class"]) for case in cases]
    sampler = PatchSampler(cases, system, 0)
    seen = set()
    for _ in range(6):
        batch = sampler.batch("cpu")
        assert batch["class"].dtype == torch.int64 and batch["class"].shape == (4,)
        for image, number in zip(batch["image"], batch["class"].tolist(), strict=True):
            (truth,) = {kind for tensor, kind in known if torch.equal(tensor, image)}
            assert number == truth
            seen.add(number)
    sampler.close()
    assert seen == {0, 1}


def test_every_class_is_on_both_sides_of_a_split(tmp_path):
    write_classes(tmp_path, {"ball": 40, "box": 5})
    cases = find_cases(tmp_path, ("image", "class"))
    for seed in range(5):
        training, held_out = split_subjects(cases, 0.2, seed)
        assert [sum(case.class_name == name for case in held_out) for name in CLASSES] == [8, 1]
        assert len(training) + len(held_out) == len(cases)


def test_settings_name_each_class_once_and_at_least_two():
    with pytest.raises(SettingsError, match="name two classes or more"):
        class_names(ClassifierSettings())
    with pytest.raises(SettingsError, match="name every class once"):
        ClassifierSettings(classes=("a", "a"))
    with pytest.raises(SettingsError, match="give a lower and a higher number"):
        ClassifierSettings(value_range=(2.0, 1.0))
    with pytest.raises(SettingsError, match="class_weights has 3 numbers for 2 classes"):
        build_system("classifier", {"classes": "a,b", "class_weights": "1,1,1"})
