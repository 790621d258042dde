"""The measures of the SynthRAD2025 challenge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from GANSynthesisLib.evaluation.synthrad import HOUNSFIELD, masked_ms_ssim, synthrad_scores

z, y, x = np.indices((30, 101, 40))
CT = 300 * np.sin(z / 5) + 400 * np.cos(y / 9) * np.sin(x / 7) - 100
SYNTHETIC = CT + 80 * np.sin(y / 3) + 30
MASK = ((z - 15) / 13) ** 2 + ((y - 50) / 45) ** 2 + ((x - 20) / 17) ** 2 < 1


def test_ms_ssim_is_the_number_of_the_challenge():
    # By the formulas of the challenge's published code, written with scipy's uniform_filter and fftconvolve.
    assert masked_ms_ssim(SYNTHETIC, CT, MASK) == pytest.approx(0.9945366209840102, abs=1e-9)


def test_what_lies_outside_the_mask_does_not_count():
    elsewhere = np.where(MASK, SYNTHETIC, 2000)
    assert synthrad_scores(elsewhere, CT, MASK) == synthrad_scores(SYNTHETIC, CT, MASK)


def test_psnr_is_cut_off_at_the_range_and_mae_is_not():
    far = np.where(MASK, CT + 10000, CT)
    scores = synthrad_scores(far, CT, MASK)
    assert scores["MAE"] == pytest.approx(10000)
    squared = np.square(np.clip(CT + 10000, *HOUNSFIELD) - CT)[MASK].mean()
    assert scores["PSNR"] == pytest.approx(10 * math.log10(4095**2 / squared))


def test_a_perfect_image_has_the_best_scores():
    scores = synthrad_scores(CT, CT, MASK)
    assert (scores["MAE"], scores["PSNR"]) == (0, math.inf)
    assert scores["MS-SSIM"] == pytest.approx(1)


def test_blur_costs_similarity_and_another_range_is_taken():
    noise = np.random.default_rng(0).normal(0, 200, CT.shape)
    assert masked_ms_ssim(CT + noise, CT, MASK) < masked_ms_ssim(SYNTHETIC, CT, MASK)
    percent = synthrad_scores(CT / 40.95 + 25, CT / 40.95 + 25 + 1, MASK, (0, 100))
    assert percent["MAE"] == pytest.approx(1)
    assert percent["PSNR"] == pytest.approx(40)


def test_empty_masks_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="the mask is empty"):
        synthrad_scores(CT, CT, np.zeros_like(MASK))
    with pytest.raises(ValueError, match="cannot be compared"):
        synthrad_scores(CT, CT[1:], MASK)
