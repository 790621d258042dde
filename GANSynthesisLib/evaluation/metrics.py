"""Measures of images inside a mask, of overlap and surface distance of labels, and of landmark errors.

Images are real arrays (K, J, I) on one grid, in the same unit; masks are bool of that shape. Every measure raises
ValueError where shapes differ or a mask is empty, and never compares background that nobody asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

WINDOW_SIGMA = 1.5  # voxels; Wang 2004
WINDOW_RADIUS = 5  # voxels: a window of 11, as Wang's
STABILIZERS = (0.01, 0.03)  # K1 and K2 of Wang 2004


# --- images ---------------------------------------------------------------------------------------------------------


def masked_mae(image, reference, mask) -> float:
    """Mean absolute error over the mask, in the unit of the images; 0 is perfect."""
    image, reference, mask = checked_pair(image, reference, mask)
    return float(np.abs(image[mask] - reference[mask]).mean())


def masked_rmse(image, reference, mask) -> float:
    """Root mean squared error over the mask, in the unit of the images; 0 is perfect."""
    image, reference, mask = checked_pair(image, reference, mask)
    return math.sqrt(float(np.square(image[mask] - reference[mask]).mean()))


def masked_correlation(image, reference, mask) -> float:
    """Pearson's correlation of the values in the mask, -1 … 1; NaN where either image is constant there."""
    image, reference, mask = checked_pair(image, reference, mask)
    values, expected = image[mask] - image[mask].mean(), reference[mask] - reference[mask].mean()
    scale = math.sqrt(float(values @ values) * float(expected @ expected))
    return float(values @ expected) / scale if scale else math.nan


def masked_psnr(image, reference, mask, data_range: float) -> float:
    """Peak signal-to-noise ratio over the mask in dB: 10 log10(range² / mean squared error); infinite when equal.

    data_range: highest minus lowest possible value, in the unit of the images (4095 for -1024 … 3071 HU). It is
    stated, never taken from the images, so that numbers can be compared.
    """
    image, reference, mask = checked_pair(image, reference, mask)
    squared = float(np.square(image[mask] - reference[mask]).mean())
    return math.inf if squared == 0 else 10 * math.log10(_checked_range(data_range) ** 2 / squared)


def masked_ssim(image, reference, mask, data_range: float) -> float:
    """Structural similarity (Wang 2004) averaged over the mask: at most 1, which is perfect.

    The map is computed on the images as they are, so voxels within 5 of the mask's border also see what lies outside:
    give both images the same background. data_range as of `masked_psnr`.
    """
    image, reference, mask = checked_pair(image, reference, mask)
    box = _box(mask, WINDOW_RADIUS)
    return float(structural_similarity(image[box], reference[box], data_range)[mask[box]].mean())


def structural_similarity(image, reference, data_range: float) -> np.ndarray:
    """Map (K, J, I) of the structural similarity index, float64 in [-1, 1].

    Wang et al. 2004, IEEE TIP 13(4), in three dimensions: Gaussian window with a sigma of 1.5 voxels cut at 5 voxels,
    K1 0.01, K2 0.03; the border of the image is mirrored. An axis with one voxel counts as two-dimensional.
    """
    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    _same_shape(image, reference)
    c1, c2 = ((k * _checked_range(data_range)) ** 2 for k in STABILIZERS)
    mean, mean_reference = _window_mean(image), _window_mean(reference)
    variance = _window_mean(image * image) - mean**2
    variance_reference = _window_mean(reference * reference) - mean_reference**2
    covariance = _window_mean(image * reference) - mean * mean_reference
    luminance = (2 * mean * mean_reference + c1) / (mean**2 + mean_reference**2 + c1)
    return luminance * (2 * covariance + c2) / (variance + variance_reference + c2)


def _window_mean(array: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean around every voxel, one axis after the other."""
    offsets = np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    weights /= weights.sum()
    for axis, size in enumerate(array.shape):
        if size == 1:
            continue
        margin = [(WINDOW_RADIUS, WINDOW_RADIUS) if a == axis else (0, 0) for a in range(array.ndim)]
        padded, total = np.pad(array, margin, mode="symmetric"), np.zeros_like(array)
        for start, weight in enumerate(weights):
            here = [slice(start, start + size) if a == axis else slice(None) for a in range(array.ndim)]
            total += weight * padded[tuple(here)]
        array = total
    return array


# --- labels ---------------------------------------------------------------------------------------------------------


def dice(found, reference, labels: Iterable[int] = (1,)) -> dict[int, float]:
    """Label value -> overlap 2 |A ∩ B| / (|A| + |B|), 0 … 1 (Dice 1945); NaN for a label that neither array has.

    found, reference: label values (K, J, I), or bool, where True is label 1.
    """
    found, reference = np.asarray(found), np.asarray(reference)
    _same_shape(found, reference)
    overlaps = {}
    for label in labels:
        a, b = found == label, reference == label
        total = np.count_nonzero(a) + np.count_nonzero(b)
        overlaps[int(label)] = 2 * np.count_nonzero(a & b) / total if total else math.nan
    return overlaps


def hausdorff_95(found, reference, spacing) -> float:
    """95th percentile Hausdorff distance in mm: the larger of the two directed ones (Metrics Reloaded, 2024).

    A directed distance is the 95th percentile, over the surface voxels of one mask, of the distance to the nearest
    surface voxel of the other; a surface voxel has one of its six neighbors outside the mask, or outside the image.
    found, reference: bool (K, J, I) on orthogonal axes; spacing: mm along i, j, k. NaN where both masks are empty,
    infinite where one is.
    """
    found, reference = np.asarray(found, bool), np.asarray(reference, bool)
    _same_shape(found, reference)
    if not (found.any() and reference.any()):
        return math.nan if found.any() == reference.any() else math.inf
    box = _box(found | reference, 0)
    surfaces = [_surface(np.pad(mask[box], 1)) for mask in (found, reference)]
    pairs = ((surfaces[0], surfaces[1]), (surfaces[1], surfaces[0]))
    return float(max(np.percentile(_distance_mm(to, spacing)[of], 95) for of, to in pairs))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of `mask`, which is false at the border of the array, that have a neighbor outside it."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        for step in (1, -1):
            inside &= np.roll(mask, step, axis)
    return mask & ~inside


def _distance_mm(surface: np.ndarray, spacing) -> np.ndarray:
    """(K, J, I) distance in mm to the nearest voxel of `surface` (Maurer 2003)."""
    image = sitk.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing([float(step) for step in spacing])
    # Every voxel of a surface borders on the outside, so the distance is zero on all of it.
    return np.abs(sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True)))


# --- landmarks ------------------------------------------------------------------------------------------------------


def center_of_mass(weights, ijk_to_ras) -> np.ndarray:
    """(3,) center in RAS mm of nonnegative `weights` (K, J, I), a mask or a soft mask; ValueError where all are 0."""
    weights = np.asarray(weights, np.float64)
    total = weights.sum()
    if not total > 0:
        raise ValueError("an empty mask has no center")
    across = [np.arange(size) @ weights.sum(axis=tuple(a for a in range(3) if a != axis)) / total
              for axis, size in enumerate(weights.shape)]
    return (np.asarray(ijk_to_ras, np.float64) @ [*across[::-1], 1])[:3]


def landmark_errors_mm(found, reference) -> np.ndarray:
    """(N,) distances in mm between corresponding points (N, 3): the target registration error (Fitzpatrick 1998)."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    _same_shape(found, reference)
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"landmarks are points (N, 3), not an array of shape {found.shape}")
    return np.linalg.norm(found - reference, axis=1)


# --- checks ---------------------------------------------------------------------------------------------------------


def checked_pair(image, reference, mask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As float64, float64 and bool arrays; ValueError where they cannot be compared."""
    image, reference, mask = np.asarray(image, np.float64), np.asarray(reference, np.float64), np.asarray(mask, bool)
    _same_shape(image, reference)
    _same_shape(image, mask)
    if not mask.any():
        raise ValueError("the mask is empty: there is nothing to compare")
    return image, reference, mask


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"arrays of shapes {a.shape} and {b.shape} cannot be compared: resample one to the other")


def _checked_range(data_range: float) -> float:
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(f"the data range must be a positive number, not {data_range}")
    return float(data_range)


def _box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The smallest box around `mask`, with a margin as far as the array goes."""
    ends = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        ends.append(slice(max(int(inside[0]) - margin, 0), int(inside[-1]) + 1 + margin))
    return tuple(ends)
