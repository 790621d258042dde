"""Comparing a result with a reference: images in a mask, segmentations by structure, on different grids."""

import json
import math

import numpy as np
import pytest

from GANSynthesisLib.evaluation.comparison import compare, compare_images, compare_segmentations
from GANSynthesisLib.evaluation.measures import Comparison, Measure
from GANSynthesisLib.evaluation.metrics import masked_ssim
from GANSynthesisLib.jobs.evaluate import evaluate_job
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, resample

OBLIQUE = np.array([[1.6, -1.2, 0, -10], [1.2, 1.6, 0, 4], [0, 0, 3, 7], [0, 0, 0, 1.0]])  # spacing 2, 2, 3 mm


def image(shape=(12, 20, 24), matrix=OBLIQUE, unit="", name="reference") -> Volume:
    """A smooth image whose values depend on where a voxel is in space alone, 0 … 1000."""
    r, a, s = np.moveaxis(Grid(shape, matrix).points(), -1, 0)
    values = 500 + 200 * np.sin(r / 9) + 200 * np.cos(a / 11) + 100 * np.sin(s / 8)
    return Volume(values.astype(np.float32), matrix, unit, name)


def sphere(center, radius=10.0, shape=(32, 32, 32), matrix=None, names=None, value=1) -> Volume:
    matrix = np.eye(4) if matrix is None else matrix
    distance = np.linalg.norm(Grid(shape, matrix).points() - np.asarray(center), axis=-1)
    return Volume(value * (distance <= radius).astype(np.uint8), matrix, label_names=names or {value: "ball"})


def boxes(*places, names=None, shape=(8, 16, 16), matrix=OBLIQUE) -> Volume:
    """Label 1, 2, … in boxes (slices of k, j, i)."""
    voxels = np.zeros(shape, np.uint8)
    for label, place in enumerate(places, start=1):
        voxels[place] = label
    names = {label: f"part {label}" for label in range(1, len(places) + 1)} if names is None else names
    return Volume(voxels, matrix, label_names=names)


LEFT, RIGHT = np.s_[2:5, 4:10, 2:7], np.s_[2:5, 4:10, 9:14]


def remark(comparison: Comparison, words: str) -> bool:
    return any(words in each for each in comparison.remarks)


# --- images


def test_constant_offset_gives_its_size_as_error_and_a_perfect_correlation():
    reference = image()
    found = compare_images(reference.with_voxels(reference.voxels + 25, name="result"), reference)
    assert found.value("MAE") == pytest.approx(25, abs=1e-3) and found.value("RMSE") == pytest.approx(25, abs=1e-3)
    assert found.value("correlation") == pytest.approx(1, abs=1e-6)
    size = np.ptp(reference.voxels)
    assert found.value("PSNR") == pytest.approx(20 * math.log10(size / 25), abs=1e-3)
    assert remark(found, "the reference's range within the mask")
    assert found.value("voxels") == reference.voxels.size
    assert found.boxes["whole image"] == pytest.approx([25] * 5, abs=1e-3)
    assert found.slices[:, 0].tolist() == list(range(12)) and found.slices[:, 1] == pytest.approx(25, abs=1e-3)
    assert np.allclose(found.error_map.voxels, 25, atol=1e-3) and found.window == pytest.approx(25, abs=1e-3)
    assert found.error_map.grid.same_as(reference.grid) and found.error_map.name == "result minus reference"


def test_only_what_the_mask_holds_counts():
    reference = image()
    wrong = reference.voxels.copy()
    wrong[:, :, :12] += 100
    mask = np.zeros(reference.shape, bool)
    mask[3:9, :, 10:] = True
    found = compare_images(reference.with_voxels(wrong), reference, Volume(mask, OBLIQUE, name="region"))
    assert found.value("MAE", "region") == pytest.approx(100 * 2 / 14, abs=1e-3)
    assert found.value("voxels") == mask.sum()
    assert found.slices[:, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert not found.error_map.voxels[~mask].any() and found.error_map.voxels[mask].max() > 99
    assert set(np.unique(np.round(found.points[:, 1] - found.points[:, 0]))) == {0, 100}


def test_each_structure_of_a_mask_gets_its_own_error():
    reference = image((8, 16, 16))
    mask = boxes(LEFT, RIGHT)
    wrong = reference.voxels + np.where(mask.voxels == 2, 40, 10)
    found = compare_images(reference.with_voxels(wrong), reference, mask)
    assert found.value("MAE", "part 1") == pytest.approx(10, abs=1e-3)
    assert found.value("MAE", "part 2") == pytest.approx(40, abs=1e-3)
    assert found.value("MAE", "mask") == pytest.approx(25, abs=1e-3)
    assert list(found.boxes) == ["mask", "part 1", "part 2"]
    assert found.boxes["part 2"][2] == pytest.approx(40, abs=1e-3)


def test_body_leaves_the_background_out():
    reference = sphere((16, 16, 16))
    reference = Volume(reference.voxels * 800.0, name="head")
    wrong = reference.with_voxels(np.where(reference.voxels > 0, reference.voxels + 10, 500))
    found = compare_images(wrong, reference, "body")
    assert found.value("MAE", "body") == pytest.approx(10) and found.value("voxels") == (reference.voxels > 0).sum()


def test_result_on_another_grid_is_compared_where_both_images_are_and_that_is_said():
    reference = image()
    grid = Grid.centred(reference.grid.centre_ras, (30, 30, 30), (1.0, 1.5, 1.2))
    result = image(grid.shape, grid.ijk_to_ras, name="result")
    found = compare_images(result, reference)
    assert found.value("MAE") < 2.0, "the same image in space"
    assert remark(found, "resampled linearly") and remark(found, "% of the reference")
    covered = resample(result.with_voxels(np.ones(result.shape)), reference.grid, "nearest", fill=0).voxels > 0
    assert 0 < covered.sum() < covered.size and found.value("voxels") == covered.sum()
    assert not found.error_map.voxels[~covered].any()
    everywhere = Volume(np.ones(reference.shape, np.uint8), OBLIQUE)
    assert compare_images(result, reference, everywhere).value("voxels") == covered.sum(), "a mask adds nothing"


def test_similarity_measured_slab_by_slab_is_that_of_the_whole():
    reference = image((75, 14, 15))
    noisy = reference.with_voxels(reference.voxels + np.random.default_rng(0).normal(0, 60, reference.shape))
    mask = np.zeros(reference.shape, bool)
    mask[3:70, 4:12, 2:13] = True
    found = compare_images(noisy, reference, Volume(mask, OBLIQUE), data_range=1000)
    assert found.value("SSIM") == pytest.approx(masked_ssim(noisy.voxels, reference.voxels, mask, 1000), abs=1e-9)
    session = Session(steps=4)
    with pytest.raises(Cancelled):
        compare_images(noisy, reference, progress=session.progress, cancelled=session.cancelled)
    assert "similarity" in session.said[-1][1], "it stops between two slabs"


def test_hounsfield_units_have_the_range_of_ct_and_a_given_range_is_kept():
    reference = image(unit="HU")
    worse = reference.with_voxels(reference.voxels + 4.095)
    found = compare_images(worse, reference)
    assert found.value("PSNR") == pytest.approx(60, abs=0.01) and remark(found, "-1024 … 3071 HU, the range of CT")
    assert compare_images(worse, reference, data_range=409.5).value("PSNR") == pytest.approx(40, abs=0.01)
    assert [each.unit for each in found.measures if each.name in ("MAE", "RMSE")] == ["HU", "HU"]


def test_a_constant_reference_in_the_mask_has_no_psnr_and_the_reason_is_given():
    reference = image((8, 16, 16))
    flat = reference.voxels.copy()
    flat[LEFT] = 300
    flat[0, 0, 0] = 0
    reference = reference.with_voxels(flat)
    found = compare_images(reference.with_voxels(flat + 5), reference, boxes(LEFT))
    assert remark(found, "PSNR and SSIM are left out") and math.isnan(found.value("correlation"))
    assert found.value("MAE") == pytest.approx(5)
    with pytest.raises(KeyError):
        found.value("SSIM")


def test_scatter_has_at_most_2000_points_and_the_same_ones_every_time():
    reference = image()
    found = [compare_images(reference.with_voxels(reference.voxels * 2), reference) for _ in range(2)]
    assert found[0].points.shape == (2000, 2) and np.array_equal(found[0].points, found[1].points)
    assert np.allclose(found[0].points[:, 1], 2 * found[0].points[:, 0])
    assert (np.diff(found[0].points[:, 0]) >= 0).all()


def test_images_that_cannot_be_compared_are_refused_by_name():
    reference = image()
    far = np.eye(4)
    far[:3, 3] = 5000
    broken = reference.voxels.copy()
    broken[1, 2, 3] = np.nan
    empty = Volume(np.zeros(reference.shape, bool), OBLIQUE, name="nothing")
    for result, mask, words in (
        (image(matrix=far, name="far away"), None, "'far away' and the reference 'reference' do not overlap"),
        (reference.with_voxels(broken, name="broken"), None, "'broken' has 1 voxels that are NaN"),
        (reference, empty, "mask 'nothing' holds no voxel"),
    ):
        with pytest.raises(VolumeError, match=words):
            compare_images(result, reference, mask)


# --- segmentations


def test_shifted_sphere_has_the_dice_and_distance_of_its_shift():
    radius, shift = 10.0, 4
    found = compare_segmentations(sphere((14, 16, 16), radius), sphere((14 + shift, 16, 16), radius))
    lens = math.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12
    assert found.value("Dice", "ball") == pytest.approx(lens / (4 / 3 * math.pi * radius**3), abs=0.01)
    assert found.value("HD95", "ball") == pytest.approx(shift, abs=0.5)
    assert found.value("volume of result", "ball") == pytest.approx(4.19, abs=0.05)
    assert found.remarks == () and len(found.measures) == 4, "one structure needs no mean"


def test_structures_belong_together_by_name_whatever_their_label_value():
    result = boxes(RIGHT, LEFT, names={1: "Right ", 2: "left"})
    found = compare_segmentations(result, boxes(LEFT, RIGHT, names={1: "left", 2: "right"}))
    assert [found.value("Dice", name) for name in ("left", "right", "mean")] == [1, 1, 1]
    assert found.value("HD95", "mean") == 0 and found.remarks == ()


def test_without_a_common_name_structures_belong_together_by_value():
    found = compare_segmentations(boxes(LEFT, RIGHT, names={}), boxes(LEFT, RIGHT, names={1: "left", 2: "right"}))
    assert found.value("Dice", "right") == 1 and remark(found, "matched by label value")


def test_structure_that_one_side_lacks_scores_nothing_and_is_named():
    reference = boxes(LEFT, RIGHT, names={1: "left", 2: "right"})
    found = compare_segmentations(boxes(LEFT, np.s_[6:8, 2:4, 2:4], names={1: "left", 2: "stone"}), reference)
    assert found.value("Dice", "right") == 0 and found.value("HD95", "right") == math.inf
    assert found.value("volume of result", "right") == 0 and found.value("volume of reference", "stone") == 0
    assert remark(found, "Only in the reference: 'right'.") and remark(found, "Only in the result: 'stone'.")
    assert found.value("Dice", "mean") == 0.5, "of the reference's structures"


def test_structure_that_is_empty_on_one_side_is_named():
    names = {1: "left", 2: "right"}
    found = compare_segmentations(boxes(LEFT, RIGHT, names=names), boxes(LEFT, names=names))
    assert found.value("Dice", "right") == 0 and found.remarks == ("'right' is empty in the reference.",)


def test_structure_that_is_empty_on_both_sides_does_not_count():
    names = {1: "left", 2: "right"}
    found = compare_segmentations(boxes(LEFT, names=names), boxes(LEFT, names=names))
    assert math.isnan(found.value("Dice", "right")) and math.isnan(found.value("HD95", "right"))
    assert found.value("Dice", "mean") == 1 and remark(found, "'right' is empty on both sides")


def test_overlapping_structures_are_compared_layer_by_layer():
    whole = boxes(np.s_[1:7, 2:12, 2:14], names={1: "organ"})
    inner = boxes(LEFT, names={1: "tumor"})
    found = compare_segmentations([inner, whole], [whole, inner])
    assert found.value("Dice", "organ") == found.value("Dice", "tumor") == 1
    assert found.value("volume of reference", "organ") == pytest.approx(6 * 10 * 12 * 12 / 1000)


def test_labels_beyond_the_references_grid_count():
    reference = boxes(LEFT)
    cropped = Volume(reference.voxels[2:5, 4:10, 2:7], OBLIQUE @ shift_of(2, 4, 2), label_names=reference.label_names)
    larger = boxes(np.s_[1:5, 4:10, 2:12])
    for one, two in ((larger, cropped), (cropped, larger)):
        found = compare_segmentations(one, two)
        assert found.value("Dice") == pytest.approx(2 * 3 * 5 / (3 * 5 + 4 * 10))
        assert found.value("HD95") == pytest.approx(10, abs=0.5)
        assert found.remarks == (), "a part of the same lattice is not resampled"


def shift_of(i, j, k) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = i, j, k
    return matrix


def test_result_on_another_grid_is_taken_onto_the_references():
    grid = Grid.centred((16, 16, 16), (60, 60, 40), (0.6, 0.6, 0.9))
    found = compare_segmentations(sphere((16, 16, 16), 10, grid.shape, grid.ijk_to_ras), sphere((16, 16, 16), 10))
    assert found.value("Dice") > 0.95 and found.value("HD95") <= 1
    assert found.value("volume of result") == pytest.approx(4.19, rel=0.02)
    assert remark(found, "from the nearest voxel")


def test_segmentations_that_cannot_be_compared_are_refused():
    left = boxes(LEFT, names={1: "left"})
    far = Volume(left.voxels, OBLIQUE @ shift_of(3000, 3000, 3000), label_names={1: "left"})
    for result, reference, words in (
        (boxes(LEFT, RIGHT, names={1: "a", 2: "b"}), Volume(left.voxels * 5, OBLIQUE, label_names={5: "c"}),
         r"\('a', 'b'\) and the reference \('c'\) have no label in common"),
        (boxes(names={}), left, "result volume holds no labels"),
        (boxes(names={1: "left"}), boxes(names={1: "left"}), "Both segmentations are empty"),
        (far, left, "too far apart"),
        (left, boxes(names={}), "reference volume holds no labels"),
    ):  # fmt: skip
        with pytest.raises(VolumeError, match=words):
            compare_segmentations(result, reference)


def test_values_that_stand_for_several_structures_are_not_matched_by_value():
    ours = [boxes(LEFT, names={1: "a"}), boxes(RIGHT, names={1: "b"})]
    theirs = [boxes(RIGHT, names={1: "c"}), boxes(LEFT, names={1: "d"})]
    with pytest.raises(VolumeError, match="no label in common"):
        compare_segmentations(ours, theirs)
    assert compare_segmentations(ours[:1], theirs[1:]).value("Dice") == 1, "one on each side leaves no choice"


# --- in a worker


class Session:
    def __init__(self, steps: int = 1000):
        self.said, self.steps = [], steps

    def progress(self, fraction, text):
        self.said.append((fraction, text))

    def cancelled(self):
        return len(self.said) >= self.steps


def test_job_gives_the_numbers_and_the_error_map_through_strict_json(tmp_path):
    exchange = Exchange.create(tmp_path)
    reference = image(unit="HU")
    result = reference.with_voxels(reference.voxels + 12, name="result")
    mask = Volume(np.ones(reference.shape, np.uint8), OBLIQUE, name="all", label_names={1: "all"})
    arguments = {"folder": str(exchange.folder), "result": exchange.write(result), "mask": [exchange.write(mask)],
                 "reference": exchange.write(reference), "error_map": True}  # fmt: skip
    session = Session()
    answer = json.loads(json.dumps(evaluate_job(arguments, session), allow_nan=False))
    error_map = exchange.read(answer["error_map"])
    found = Comparison.from_json(answer["comparison"], error_map)
    expected = compare(result, reference, [mask])
    assert found.measures == expected.measures and found.remarks == expected.remarks
    assert np.array_equal(found.points, expected.points) and np.array_equal(found.slices, expected.slices)
    assert found.boxes == expected.boxes and found.window == expected.window
    assert np.allclose(error_map.voxels, 12, atol=1e-3) and error_map.unit == "HU"
    assert [fraction for fraction, _ in session.said] == sorted(fraction for fraction, _ in session.said)
    assert evaluate_job({**arguments, "error_map": False}, Session())["error_map"] is None


def test_numbers_that_json_lacks_survive_the_way():
    missing = Comparison("segmentations", (Measure("HD95", math.inf, "mm", "a"), Measure("Dice", math.nan, "", "b")))
    again = Comparison.from_json(json.loads(json.dumps(missing.as_json(), allow_nan=False)))
    assert again.value("HD95") == math.inf and math.isnan(again.value("Dice"))


@pytest.mark.parametrize("labels", [False, True])
def test_work_stops_where_it_is_told_to(labels):
    value = boxes(LEFT, RIGHT) if labels else image()
    session = Session(steps=1)
    with pytest.raises(Cancelled):
        compare(value, value, progress=session.progress, cancelled=session.cancelled)
    assert len(session.said) == 1
