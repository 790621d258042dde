"""Lesion patches: where they are cut, of which class they are, and that training takes them."""

import numpy as np
import pytest
from synthetic_cases import oblique

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.training.cases import DataError, find_cases
from GANSynthesisLib.training.lesions import PatchPlan, cut_patches, lesions_of, write_patches
from GANSynthesisLib.volumes import Volume, VolumeError

PLAN = PatchPlan(size=(16, 16, 16), copies=3)


def lesion_case(matrix=None) -> tuple[Volume, Volume]:
    """A bright ball of label 1, a larger one of label 2, and a speck of label 1."""
    k, j, i = np.indices((30, 36, 40))
    labels = np.zeros(k.shape, np.uint8)
    labels[(k - 9) ** 2 + (j - 10) ** 2 + (i - 12) ** 2 <= 16] = 1
    labels[(k - 20) ** 2 + (j - 24) ** 2 + (i - 28) ** 2 <= 36] = 2
    labels[2, 2, 38] = 1
    image = 100 + 50 * labels.astype(np.float32) + np.random.default_rng(0).normal(0, 2, k.shape)
    matrix = oblique((1.0, 1.0, 2.0)) if matrix is None else matrix
    return Volume(image, matrix, name="image"), Volume(labels, matrix, "", "labels", {1: "cyst", 2: "metastasis"})


def write_lesions(folder, matrix=None) -> None:
    image, labels = lesion_case(matrix)
    write_volume(image, folder / "image" / "sub-01.nrrd")
    write_volume(labels, folder / "labels" / "sub-01.seg.nrrd")


def centroid_ras(volume: Volume, mask) -> np.ndarray:
    return (volume.ijk_to_ras @ [*np.argwhere(mask).mean(0)[::-1], 1])[:3]


def test_every_connected_part_of_a_label_is_a_lesion():
    _, labels = lesion_case(np.diag([2.0, 2.0, 2.0, 1]))
    found = [(lesion.value, round(lesion.diameter_mm)) for lesion in lesions_of(labels)]
    assert found == [(1, 16), (1, 2), (2, 24)], "the largest of a value first; diameters in mm"
    fractions = labels.with_voxels(labels.voxels * 0.5)
    with pytest.raises(VolumeError, match="hold the value 0.5, which is no label"):
        list(lesions_of(fractions))


@pytest.mark.parametrize("matrix", [np.eye(4), oblique((1.0, 1.0, 2.0))], ids=["straight", "oblique"])
def test_a_patch_lies_where_its_lesion_is_and_shows_it_whole(matrix):
    image, labels = lesion_case(matrix)
    cut = list(cut_patches(image, labels, PLAN, np.random.default_rng(0)))
    assert [value for value, *_ in cut] == [1, 1, 1, 2, 2, 2], "the speck is too small"
    for value, patch, mask in cut:
        assert patch.shape == mask.shape == (16, 16, 16) and patch.grid.same_as(mask.grid)
        truth = centroid_ras(labels, labels.voxels == value)
        if value == 1:
            others = (labels.voxels == 1) & (np.indices(labels.shape)[2] < 30)  # without the speck
            truth = centroid_ras(labels, others)
        assert np.linalg.norm(centroid_ras(mask, mask.voxels == value) - truth) < max(patch.spacing)
        part = (mask.voxels == value).mean()
        assert 0.015 < part < 0.35
        inside, outside = patch.voxels[mask.voxels == value].mean(), patch.voxels[mask.voxels == 0].mean()
        assert inside - outside > 30 * value, "image and mask belong together"


def test_copies_are_shifted_and_the_first_is_not():
    image, labels = lesion_case()
    first, second, third, *_ = (patch for _, patch, _ in cut_patches(image, labels, PLAN, np.random.default_rng(0)))
    size = np.array(first.grid.size_mm)
    for other in (second, third):
        shift = first.grid.directions.T @ (other.grid.centre_ras - first.grid.centre_ras)
        assert 0 < abs(shift).max() and (abs(shift) <= 0.1 * size + 1e-6).all()
    again = [patch.voxels for _, patch, _ in cut_patches(image, labels, PLAN, np.random.default_rng(0))]
    np.testing.assert_array_equal(again[1], second.voxels)


def test_a_spacing_keeps_sizes_and_none_scales_the_lesion_to_the_patch():
    image, labels = lesion_case(np.eye(4))

    def spans(plan):
        found = {}
        for value, patch, mask in cut_patches(image, labels, plan, np.random.default_rng(0)):
            found[value] = (patch.spacing[0], np.ptp(np.argwhere(mask.voxels == value), axis=0)[0] + 1)
        return found

    kept = spans(PatchPlan(size=(24, 24, 24), spacing=1.0, copies=1))
    assert kept == {1: (1.0, 9), 2: (1.0, 13)}
    scaled = spans(PatchPlan(size=(24, 24, 24), margin=0.5, copies=1))
    assert {value: span for value, (_, span) in scaled.items()} == {1: 16, 2: 16}, "two thirds of the patch"


def test_flat_patches_are_large_slices_of_the_lesion():
    image, labels = lesion_case(np.eye(4))
    plan = PatchPlan(size=(1, 16, 16), spacing=1.0, copies=4, jitter=0.0)
    masks = [mask for value, _, mask in cut_patches(image, labels, plan, np.random.default_rng(0)) if value == 2]
    areas = [int((mask.voxels == 2).sum()) for mask in masks]
    assert masks[0].shape == (1, 16, 16) and areas[0] == max(areas) == (labels.voxels[20] == 2).sum()
    assert min(areas) >= max(areas) / 2
    assert len({round(float(mask.ijk_to_ras[2, 3]), 3) for mask in masks}) == 4, "of different slices"


def test_patches_are_written_as_cases_of_a_class_and_a_patient(tmp_path, capsys):
    write_lesions(tmp_path / "cases")
    words = ["lesions", "--data", tmp_path / "cases", "--output", tmp_path / "patches", "--size", 8, 16, 16,
             "--copies", 2]
    assert main([str(word) for word in words]) == 0
    assert "wrote 4 patches to" in capsys.readouterr().out
    cases = find_cases(tmp_path / "patches", ("image", "labels", "class"))
    assert [case.class_name for case in cases] == ["cyst", "cyst", "metastasis", "metastasis"]
    assert {case.subject for case in cases} == {"sub-01"}
    assert read_volume(cases[0].files["image"]).shape == (8, 16, 16)
    assert 1 in read_volume(cases[0].files["labels"]).voxels
    assert main([str(word) for word in words]) == 2
    assert "is not empty: choose a new one" in capsys.readouterr().err


def test_the_class_of_a_case_is_that_of_its_patches(tmp_path):
    write_lesions(tmp_path)
    manifest = tmp_path / "cases.csv"
    manifest.write_text("image,labels,class,subject\nimage/sub-01.nrrd,labels/sub-01.seg.nrrd,benign,p7\n")
    assert write_patches(manifest, tmp_path / "patches", PLAN, say=lambda line: None) == {"benign": 6}
    assert {case.subject for case in find_cases(tmp_path / "patches", ("image",))} == {"p7"}


def test_labels_without_a_lesion_and_odd_plans_are_told(tmp_path):
    write_lesions(tmp_path)
    with pytest.raises(DataError, match="hold no lesion of 100 mm or more"):
        write_patches(tmp_path, tmp_path / "patches", PatchPlan(smallest_mm=100), say=lambda line: None)
    with pytest.raises(DataError, match="three numbers of voxels"):
        PatchPlan(size=(16, 4, 16))
    with pytest.raises(DataError, match="jitter is 0.9: give a number between 0 and 0.5"):
        PatchPlan(jitter=0.9)
