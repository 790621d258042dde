"""Measures of images, labels and landmarks, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from GANSynthesisLib.evaluation import (
    center_of_mass,
    dice,
    hausdorff_95,
    landmark_errors_mm,
    masked_mae,
    masked_psnr,
    masked_ssim,
    structural_similarity,
)


def two_images():
    reference = np.zeros((1, 2, 3))
    image = np.array([[[1.0, -2.0, 3.0], [100.0, 100.0, 0.0]]])
    mask = np.array([[[True, True, True], [False, False, True]]])
    return image, reference, mask


def box(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_mean_absolute_error_counts_only_the_mask():
    assert masked_mae(*two_images()) == pytest.approx((1 + 2 + 3 + 0) / 4)


def test_psnr_is_relative_to_the_stated_range():
    # mean squared error (1 + 4 + 9 + 0) / 4 = 3.5; 10 log10(100 / 3.5) = 14.559 dB
    assert masked_psnr(*two_images(), data_range=10) == pytest.approx(14.5593, abs=1e-4)
    assert masked_psnr(*two_images(), data_range=100) == pytest.approx(34.5593, abs=1e-4)
    image, _, mask = two_images()
    assert masked_psnr(image, image, mask, 1) == math.inf


def test_ssim_of_constant_images_is_the_luminance_term():
    # (2 · 0.5 · 0.8 + 1e-4) / (0.25 + 0.64 + 1e-4) = 0.898888…
    a, b = np.full((6, 7, 8), 0.5), np.full((6, 7, 8), 0.8)
    assert masked_ssim(a, b, np.ones(a.shape, bool), 1) == pytest.approx(0.8001 / 0.8901)


def test_ssim_around_one_bright_voxel():
    # The window's weight of its own center is w = (1 / Σ exp(-n²/4.5))³. At the bright voxel the image has mean w and
    # variance w - w²; the reference is zero: (c1 / (w² + c1)) · (c2 / (w - w² + c2)).
    image = np.zeros((25, 25, 25))
    center = box(image.shape, (12,) * 3, (13,) * 3)
    image[12, 12, 12] = 1
    w = (1 / sum(math.exp(-(n**2) / 4.5) for n in range(-5, 6))) ** 3
    expected = 1e-4 / (w**2 + 1e-4) * 9e-4 / (w - w**2 + 9e-4)
    found = structural_similarity(image, np.zeros_like(image), 1)
    assert found[12, 12, 12] == pytest.approx(expected)
    assert found[12, 12, 18] == 1  # six voxels away: outside the window
    assert masked_ssim(image, np.zeros_like(image), center, 1) == pytest.approx(expected)


def test_ssim_does_not_depend_on_the_unit_but_on_the_stated_range():
    random = np.random.default_rng(0)
    a, b = random.random((2, 9, 12, 10))
    mask = a > 0.3
    assert masked_ssim(a, a, mask, 1) == pytest.approx(1)
    assert masked_ssim(a, b, mask, 1) == pytest.approx(masked_ssim(4095 * a, 4095 * b, mask, 4095))
    assert masked_ssim(a, b, mask, 1) < masked_ssim(a, b, mask, 10)


def test_ssim_sees_an_inverted_contrast():
    random = np.random.default_rng(0)
    a = random.random((9, 12, 10))
    assert masked_ssim(1 - a, a, np.ones(a.shape, bool), 1) < 0


def test_ssim_of_a_mask_equals_the_map_averaged_over_it():
    random = np.random.default_rng(1)
    a, b = random.random((2, 20, 22, 24))
    mask = box(a.shape, (3, 9, 8), (11, 12, 20))
    assert masked_ssim(a, b, mask, 1) == pytest.approx(structural_similarity(a, b, 1)[mask].mean())


def test_ssim_takes_a_single_slice():
    random = np.random.default_rng(0)
    a, b = random.random((2, 1, 12, 10))
    stacked = [np.repeat(each, 11, 0) for each in (a, b)]
    assert np.allclose(structural_similarity(a, b, 1)[0], structural_similarity(*stacked, 1)[5])


def test_dice_per_label():
    found = np.array([[[1, 1, 2, 0, 3, 3]]])
    reference = np.array([[[1, 2, 2, 2, 0, 0]]])
    overlaps = dice(found, reference, (1, 2, 3, 4))
    assert overlaps[1] == pytest.approx(2 * 1 / (2 + 1))
    assert overlaps[2] == pytest.approx(2 * 1 / (1 + 3))
    assert overlaps[3] == 0
    assert math.isnan(overlaps[4])


def test_hausdorff_of_shifted_boxes_is_the_shift_in_mm():
    # Boxes 4 × 4 × 4 shifted by 3 voxels along i: the faces that leave are 16 of the 56 surface voxels, more than 5 %.
    a, b = box((8, 8, 12), (2, 2, 2), (6, 6, 6)), box((8, 8, 12), (2, 2, 5), (6, 6, 9))
    assert hausdorff_95(a, b, (2.0, 1.0, 1.0)) == pytest.approx(6)
    assert hausdorff_95(b, a, (0.5, 1.0, 1.0)) == pytest.approx(1.5)
    assert hausdorff_95(a, a, (1, 1, 1)) == 0


def test_hausdorff_spacing_runs_along_i_j_k():
    a, b = box((9, 5, 5), (1, 1, 1), (2, 4, 4)), box((9, 5, 5), (5, 1, 1), (6, 4, 4))
    assert hausdorff_95(a, b, (1, 1, 3)) == pytest.approx(4 * 3)


def test_hausdorff_leaves_out_five_percent_of_outliers():
    # A lone voxel 40 mm away is 1 of 1 + 152 surface voxels of a box 6 × 6 × 6: less than 5 %.
    a = box((10, 10, 60), (2, 2, 2), (8, 8, 8))
    b = a.copy()
    b[5, 5, 47] = True
    assert hausdorff_95(b, a, (1, 1, 1)) == 0


def test_hausdorff_of_masks_that_touch_the_border_and_of_empty_ones():
    whole = np.ones((4, 4, 4), bool)
    assert hausdorff_95(whole, whole, (1, 1, 1)) == 0
    assert hausdorff_95(whole, ~whole, (1, 1, 1)) == math.inf
    assert math.isnan(hausdorff_95(~whole, ~whole, (1, 1, 1)))


def test_hausdorff_agrees_with_all_pairs_of_surface_voxels():
    random = np.random.default_rng(3)
    a, b = random.random((2, 7, 8, 9)) > 0.6
    spacing = np.array((0.7, 1.3, 2.9))

    def surface(mask):
        grown = np.pad(mask, 1)
        sides = [grown[1 + s[0]:8 + s[0], 1 + s[1]:9 + s[1], 1 + s[2]:10 + s[2]]
                 for s in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]
        return np.argwhere(mask & ~np.logical_and.reduce(sides))[:, ::-1] * spacing

    apart = np.linalg.norm(surface(a)[:, None] - surface(b)[None], axis=2)
    expected = max(np.percentile(apart.min(1), 95), np.percentile(apart.min(0), 95))
    assert hausdorff_95(a, b, spacing) == pytest.approx(expected, abs=1e-5)


def test_center_of_mass_is_weighted_and_in_ras_mm():
    weights = np.zeros((3, 4, 5))
    weights[2, 1, 0], weights[2, 1, 4] = 1, 3  # center at i = 3, j = 1, k = 2
    matrix = np.array([[-2.0, 0, 0, 10], [0, 0, 3, 20], [0, 4, 0, 30], [0, 0, 0, 1]])
    assert center_of_mass(weights, matrix) == pytest.approx([10 - 6, 20 + 6, 30 + 4])
    with pytest.raises(ValueError, match="empty"):
        center_of_mass(np.zeros((2, 2, 2)), matrix)


def test_landmark_errors_are_distances():
    assert landmark_errors_mm([[0, 0, 0], [1, 2, 3]], [[3, 4, 0], [1, 2, 1]]) == pytest.approx([5, 2])
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        landmark_errors_mm([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize("measure", [masked_mae, lambda *three: masked_ssim(*three, 1)])
def test_arrays_that_do_not_fit_are_refused(measure):
    image, reference, mask = two_images()
    with pytest.raises(ValueError, match="resample"):
        measure(image, reference[:, :1], mask)
    with pytest.raises(ValueError, match="mask is empty"):
        measure(image, reference, ~np.ones_like(mask))
    with pytest.raises(ValueError, match="range"):
        masked_psnr(image, reference, mask, 0)
