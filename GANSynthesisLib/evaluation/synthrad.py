"""The image measures of the SynthRAD2025 challenge (Thummerer 2025), exactly as its organizers compute them.

Outside the mask both images hold the lowest value of the range. MAE is taken over the mask; for PSNR the images are
cut off at the range, and squared errors are averaged over the mask; masked MS-SSIM is described below. The range is
stated, never taken from the images: -1024 … 3071 HU for CT.
"""

from __future__ import annotations

import math

import numpy as np

from GANSynthesisLib.evaluation.metrics import checked_pair, masked_mae, masked_psnr

HOUNSFIELD = (-1024.0, 3071.0)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales; Wang 2003, section 3.2
WINDOW = 7  # voxels of the uniform window along each axis
SMALLEST = 97  # voxels along each axis that five scales need; smaller images are continued by their border
K1, K2 = 0.01, 0.03


def synthrad_scores(image, reference, mask, limits: tuple[float, float] = HOUNSFIELD) -> dict[str, float]:
    """`MAE` (unit of the images), `PSNR` (dB) and `MS-SSIM` (0 … 1) over a mask.

    image, reference: (K, J, I) in one unit; mask: bool (K, J, I); limits: lowest and highest possible value. Raises
    ValueError where shapes differ, the mask is empty or the limits are no range.
    """
    image, reference, mask = checked_pair(image, reference, mask)
    size = limits[1] - limits[0]
    cut, cut_reference = np.clip(image, *limits), np.clip(reference, *limits)
    return {
        "MAE": masked_mae(image, reference, mask), "PSNR": masked_psnr(cut, cut_reference, mask, size),
        "MS-SSIM": masked_ms_ssim(image, reference, mask, limits),
    }


def masked_ms_ssim(image, reference, mask, limits: tuple[float, float] = HOUNSFIELD) -> float:
    """Masked multi-scale structural similarity (Wang 2003), 0 … 1, as SynthRAD2025 has it.

    Unlike Wang's: uniform windows of 7³ voxels and sample covariance; luminance counts at every scale, not only at
    the coarsest; each factor, raised to the weight of its scale, is averaged over the mask before the scales are
    multiplied; voxels within 3 of the border are left out. Arguments as of `synthrad_scores`.
    """
    image, reference, mask = checked_pair(image, reference, mask)
    low, high = limits
    images = [np.where(mask, np.clip(each, low, high), low) - low for each in (image, reference)]
    missing = [max(SMALLEST - size, 0) for size in mask.shape]
    margins = [(total // 2, total - total // 2) for total in missing]
    ours, theirs, inside = (np.pad(each, margins, mode="edge") for each in (*images, mask))
    result = 1.0
    for weight in SCALE_WEIGHTS:
        similarity = _weighted_similarity(ours, theirs, high - low, weight)
        inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 3
        kept = similarity[inner][inside[inner]]
        if not kept.size:  # a mask so thin that no voxel of it is left at this scale
            return math.nan
        result *= float(np.clip(kept.mean(), 0, 1))
        ours, theirs, inside = _halved(ours), _halved(theirs), inside[::2, ::2, ::2]
    return result


def _weighted_similarity(ours: np.ndarray, theirs: np.ndarray, size: float, weight: float) -> np.ndarray:
    """(K, J, I) luminance · contrast · structure, each to the power of `weight`."""
    c1, c2 = (K1 * size) ** 2, (K2 * size) ** 2
    sample = WINDOW**3 / (WINDOW**3 - 1)
    mean, other = _window_mean(ours), _window_mean(theirs)
    variance = sample * (_window_mean(ours * ours) - mean * mean)
    other_variance = sample * (_window_mean(theirs * theirs) - other * other)
    covariance = sample * (_window_mean(ours * theirs) - mean * other)
    deviations = np.sqrt(np.clip(variance, 0, None)) * np.sqrt(np.clip(other_variance, 0, None))
    luminance = (2 * mean * other + c1) / (mean * mean + other * other + c1)
    contrast = (2 * deviations + c2) / (variance + other_variance + c2)
    structure = (covariance + c2 / 2) / (deviations + c2 / 2)
    result = np.clip(luminance, 0, None) ** weight
    result *= np.clip(contrast, 0, None) ** weight
    result *= np.clip(structure, 0, None) ** weight
    return result


def _window_mean(array: np.ndarray) -> np.ndarray:
    """Mean of the 7³ voxels around each one; the border is mirrored."""
    for axis in range(3):
        margin = [(WINDOW // 2 + 1, WINDOW // 2) if a == axis else (0, 0) for a in range(3)]
        summed = np.cumsum(np.pad(array, margin, mode="symmetric"), axis=axis)
        upper, lower = (np.take(summed, np.arange(array.shape[axis]) + at, axis) for at in (WINDOW, 0))
        array = (upper - lower) / WINDOW
    return array


def _halved(array: np.ndarray) -> np.ndarray:
    """Every second voxel of the means over each voxel and its lower neighbors, zero beyond the border."""
    for axis in range(3):
        padded = np.pad(array, [(1, 0) if a == axis else (0, 0) for a in range(3)])
        later, earlier = (np.take(padded, range(at, array.shape[axis] + at, 2), axis) for at in (1, 0))
        array = (later + earlier) / 2
    return array
