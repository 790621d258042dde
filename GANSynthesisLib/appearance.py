"""What images look like: extent, voxel size, background and intensities, measured on few voxels.

Training writes it onto the card, per input (`summarize`); the guard compares what a user gives with it. Everything is
measured along the canonical axes (nearest to R, A, S), so that the order and sense of a volume's axes do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GANSynthesisLib.intensity import IntensityRange, foreground
from GANSynthesisLib.volumes import Volume

SUMMARY = ("count", "angle", "minimum", "maximum", "flat", "background", "foreground_ml", "spacing", "field_of_view",
           "foreground_extent", "quantiles", "histograms", "histogram_spread")
BINS = 32
QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # percent
EXAMPLES = 12  # histograms that a card keeps per input
MEASURED_VOXELS = 150_000  # about 50 along each axis: enough for all that is measured here, and quick


@dataclass(frozen=True)
class Appearance:
    """One image. spacing, field_of_view and foreground_extent: mm along i, j, k of the canonical axes.

    angle: degrees between an axis and the nearest one of R, A, S, at most. minimum, maximum: of all voxels.
    flat: share of the voxels with exactly the lowest value (near 0 in an image with noise, most of a masked one).
    background: share outside the foreground. foreground_ml: volume of the foreground. quantiles: of the foreground,
    in the image's own values, at `QUANTILES`. histogram: shares of the foreground in `BINS` bins over [-1, 1] as a
    network sees it.
    """

    spacing: tuple[float, float, float]
    field_of_view: tuple[float, float, float]
    foreground_extent: tuple[float, float, float]
    angle: float
    minimum: float
    maximum: float
    flat: float
    background: float
    foreground_ml: float
    quantiles: tuple[float, ...]
    histogram: tuple[float, ...]


def measure(volume: Volume, intensity_range: IntensityRange) -> Appearance:
    """The appearance of a usable volume (see `volumes.check_volume`); a fixed stride visits part of its voxels."""
    grid, small = volume.grid.canonical(), thinned(volume).canonical()
    voxels = np.asarray(small.voxels)
    mask = foreground(voxels)
    mask = mask if mask.any() else np.ones_like(mask)
    values = voxels[mask]
    seen = intensity_range.measure(small).normalize(values)
    counts, _ = np.histogram(seen, bins=BINS, range=(-1, 1))
    lowest = voxels.min()
    return Appearance(
        spacing=grid.spacing,
        field_of_view=grid.size_mm,
        foreground_extent=_extent(mask, small),
        angle=_angle(small),
        minimum=float(lowest),
        maximum=float(voxels.max()),
        flat=float(np.mean(voxels == lowest)),
        background=float(1 - mask.mean()),
        foreground_ml=float(mask.sum() * np.prod(small.spacing) / 1000),
        quantiles=tuple(float(value) for value in np.percentile(values, QUANTILES)),
        histogram=tuple(float(share) for share in counts / counts.sum()),
    )


def thinned(volume: Volume) -> Volume:
    """Every n-th voxel of the volume, with n the same along all axes but the short ones."""
    step, steps = 1, [1, 1, 1]  # (K, J, I)
    while np.prod(-(-np.array(volume.shape) // steps)) > MEASURED_VOXELS:
        step += 1
        steps = [min(step, max(length // 32, 1)) for length in volume.shape]
        if max(steps) < step:  # all axes are as short as they may become
            break
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, :3] *= steps[::-1]
    voxels = volume.voxels[tuple(slice(None, None, each) for each in steps)]
    return volume.with_voxels(np.ascontiguousarray(voxels), ijk_to_ras=matrix)


def summarize(images: Sequence[Appearance]) -> dict:
    """What the images of one input have in common, as plain JSON for a card: ranges [lowest, highest] over them.

    `histograms` are those of at most `EXAMPLES` images, chosen to differ (the mean of several contrasts would look
    like none of them). `histogram_spread` is the largest distance of an image from the nearest of these but itself.
    """
    numbers = {name: _range(getattr(image, name) for image in images)
               for name in ("angle", "minimum", "maximum", "flat", "background", "foreground_ml")}
    axes = {name: [_range(getattr(image, name)[axis] for image in images) for axis in range(3)]
            for name in ("spacing", "field_of_view", "foreground_extent")}
    quantiles = {str(percent): _range(image.quantiles[index] for image in images)
                 for index, percent in enumerate(QUANTILES)}
    histograms = np.unique(np.round([image.histogram for image in images], 4), axis=0)
    chosen = _examples(histograms)
    others = [[histogram_distance(each, histograms[index]) for index in chosen if index != number]
              for number, each in enumerate(histograms)]
    return {
        "count": len(images), **numbers, **axes, "quantiles": quantiles,
        "histograms": histograms[chosen].tolist(),
        "histogram_spread": round(max((min(found) for found in others if found), default=0.0), 4),
    }


def _examples(histograms: np.ndarray) -> list[int]:
    """Indices of at most `EXAMPLES` histograms: the most central one, then each time the farthest from the chosen."""
    distances = np.array([[histogram_distance(one, other) for other in histograms] for one in histograms])
    chosen = [int(distances.sum(1).argmin())]
    while len(chosen) < min(EXAMPLES, len(histograms)):
        chosen.append(int(distances[:, chosen].min(1).argmax()))
    return chosen


def histogram_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Earth mover's distance of two histograms over [-1, 1]: how far, on average, an intensity would have to move.

    0 for equal ones; 2 where one is all -1 and the other all 1.
    """
    difference = np.cumsum(np.asarray(first, float)) - np.cumsum(np.asarray(second, float))
    return float(np.abs(difference).sum() * 2 / BINS)


def _extent(mask: np.ndarray, small: Volume) -> tuple[float, float, float]:
    """mm along i, j, k of the box around the mask."""
    lengths = []
    for axis in (2, 1, 0):
        there = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        lengths.append(float((there[-1] - there[0] + 1) * small.spacing[2 - axis]))
    return tuple(lengths)


def _angle(small: Volume) -> float:
    """Degrees between an axis of canonical voxels and its nearest world axis, at most."""
    cosines = np.abs(np.diag(small.ijk_to_ras[:3, :3])) / np.asarray(small.spacing)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))


def _range(numbers) -> list[float]:
    """[lowest, highest], with the digits that matter."""
    found = list(numbers)
    return [float(f"{min(found):.5g}"), float(f"{max(found):.5g}")]
