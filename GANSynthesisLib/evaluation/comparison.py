"""A result against a reference, in numbers: images voxel by voxel in a mask, segmentations structure by structure.

Everything is compared on the reference's grid. What was resampled, left out or could not be computed is said in the
remarks, so that two numbers are never held against each other that mean different things.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from GANSynthesisLib.evaluation.measures import Comparison, Measure
from GANSynthesisLib.evaluation.metrics import (
    WINDOW_RADIUS,
    dice,
    hausdorff_95,
    masked_correlation,
    masked_mae,
    masked_psnr,
    masked_rmse,
    masked_ssim,
)
from GANSynthesisLib.evaluation.structures import (
    as_layers,
    covering_grid,
    mask_of,
    masks_on,
    match,
    on_lattice,
    structures,
    volume_ml,
)
from GANSynthesisLib.evaluation.synthrad import HOUNSFIELD
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.volumes import Volume, VolumeError, body_mask, check_volume, describe, resample

SLAB = 32  # slices between two questions whether to stop
POINTS = 2000  # voxels in a scatter plot
BOX = (5, 25, 50, 75, 95)  # percentiles of a box plot: whiskers, quartiles, median
WINDOW_PERCENTILE = 99  # of the absolute errors, where the colors of an error map end

Mask = Volume | Sequence[Volume] | Literal["body"] | None


def compare(
    result: Volume | Sequence[Volume], reference: Volume | Sequence[Volume], mask: Mask = None, *,
    progress: Progress = silent, cancelled: IsCancelled = never,
) -> Comparison:  # fmt: skip
    """Images where both are volumes without label names, segmentations (layers of label volumes) otherwise."""
    sides = (result, reference)
    if all(isinstance(each, Volume) and not each.label_names for each in sides):
        return compare_images(result, reference, mask, progress=progress, cancelled=cancelled)
    return compare_segmentations(result, reference, progress=progress, cancelled=cancelled)


# --- images


def compare_images(
    result: Volume, reference: Volume, mask: Mask = None, data_range: float | None = None, *,
    progress: Progress = silent, cancelled: IsCancelled = never,
) -> Comparison:  # fmt: skip
    """MAE, RMSE, PSNR, SSIM and correlation of two images, and the MAE of each structure of a mask with several.

    A result on another grid is resampled linearly onto the reference's. mask: a label volume (anything but 0 counts;
    layers where structures overlap), taken from the nearest voxel; "body", what the reference shows without
    background; None, everything that both images cover. data_range: highest minus lowest possible value, for PSNR and
    SSIM; by default -1024 … 3071 for a reference in Hounsfield units, else the reference's range within the mask.

    Raises VolumeError where an image cannot be used (NaN, constant), the two do not overlap, or the mask is empty.
    """
    check_volume(result, "result")
    check_volume(reference, "reference")
    progress(0.0, "placing the result on the reference's grid")
    on_grid, covered, remarks = _on_reference(result, reference)
    stop_if(cancelled)
    progress(0.1, "placing the mask")
    inside, parts, of = _mask_on_reference(mask, reference, covered)
    size, how = _data_range(data_range, reference, inside)
    ours, theirs, unit = on_grid.voxels, reference.voxels, reference.unit
    progress(0.2, "measuring errors")
    measures = [
        Measure("MAE", masked_mae(ours, theirs, inside), unit, of),
        Measure("RMSE", masked_rmse(ours, theirs, inside), unit, of),
        Measure("correlation", masked_correlation(ours, theirs, inside), "", of),
    ]
    stop_if(cancelled)
    if size > 0:
        remarks.append(f"PSNR and SSIM: data range {size:.6g}{f' {unit}' if unit else ''} ({how}).")
        measures.insert(2, Measure("PSNR", masked_psnr(ours, theirs, inside, size), "dB", of))
        similarity = _similarity(ours, theirs, inside, size, progress, cancelled)
        measures.insert(3, Measure("SSIM", similarity, "", of))
    else:
        remarks.append("PSNR and SSIM are left out: the reference has the same value in all of the mask, so they "
                       "need a data range to be given.")
    measures += [Measure("MAE", masked_mae(ours, theirs, part), unit, name) for name, part in parts.items()]
    measures.append(Measure("voxels", float(np.count_nonzero(inside)), "", of))
    stop_if(cancelled)
    progress(0.9, "preparing plots and error map")
    difference = np.where(inside, ours.astype(np.float32) - theirs.astype(np.float32), np.float32(0))
    name = f"{result.name} minus {reference.name}" if result.name and reference.name else "error"
    return Comparison(
        "images", tuple(measures), tuple(remarks), _points(ours, theirs, inside), _slices(difference, inside),
        {place: _box(difference[part]) for place, part in {of: inside, **parts}.items()},
        Volume(difference, reference.ijk_to_ras, unit, name),
        float(np.percentile(np.abs(difference[inside]), WINDOW_PERCENTILE)),
    )  # fmt: skip


def _on_reference(result: Volume, reference: Volume) -> tuple[Volume, np.ndarray, list[str]]:
    """The result on the reference's grid, where it covers it (K, J, I), and what there is to say of it."""
    remarks = []
    if result.unit != reference.unit and result.unit and reference.unit:
        remarks.append(f"The result is in {result.unit} and the reference in {reference.unit}.")
    if result.grid.same_as(reference.grid):
        return result, np.ones(reference.shape, bool), remarks
    whole = result.with_voxels(np.ones(result.shape, bool))
    covered = resample(whole, reference.grid, "nearest", fill=0).voxels
    if not covered.any():
        raise VolumeError(
            f"The result '{result.name}' and the reference '{reference.name}' do not overlap: check that they are of "
            "the same patient, and the transforms that they are under."
        )
    remarks.append("The result was resampled linearly onto the reference's grid.")
    if not covered.all():
        remarks.append(f"The result covers {100 * covered.mean():.3g} % of the reference; the rest was left out.")
    return resample(result, reference.grid), covered, remarks


def _mask_on_reference(mask: Mask, reference: Volume, covered: np.ndarray) -> tuple[np.ndarray, dict, str]:
    """Where to compare (K, J, I), the masks of the structures where there are several, and what the mask is called."""
    if mask is None:
        return covered, {}, "whole image"
    if isinstance(mask, str):
        return _not_empty(body_mask(reference) & covered, reference, "body"), {}, "body"
    layers = as_layers(mask)
    arrays = masks_on(reference.grid, layers)
    inside = covered & np.logical_or.reduce([array != 0 for array in arrays])
    _not_empty(inside, reference, f"mask '{layers[0].name}'" if layers[0].name else "mask")
    found = structures(layers)
    parts = {name: mask_of(places, arrays) & covered for name, places in found.items()}
    parts = {name: part for name, part in parts.items() if part.any()}
    return inside, parts if len(parts) > 1 else {}, layers[0].name or "mask"


def _not_empty(inside: np.ndarray, reference: Volume, what: str) -> np.ndarray:
    if not inside.any():
        raise VolumeError(
            f"The {what} holds no voxel where both images are, on the grid of {describe(reference, 'reference')}: "
            "choose another mask, or none."
        )
    return inside


def _data_range(given: float | None, reference: Volume, inside: np.ndarray) -> tuple[float, str]:
    """Highest minus lowest possible value, and how it was found."""
    if given is not None:
        return float(given), "as given"
    if reference.unit == "HU":
        return HOUNSFIELD[1] - HOUNSFIELD[0], f"{HOUNSFIELD[0]:.0f} … {HOUNSFIELD[1]:.0f} HU, the range of CT"
    values = reference.voxels[inside]
    return float(values.max()) - float(values.min()), "the reference's range within the mask"


def _similarity(ours, theirs, inside, size: float, progress: Progress, cancelled: IsCancelled) -> float:
    """`masked_ssim`, slab by slab: with the same result, less memory, and an end as soon as it is told to stop."""
    total = 0.0
    for start in range(0, len(inside), SLAB):
        stop_if(cancelled)
        progress(0.4 + 0.5 * start / len(inside), "measuring structural similarity")
        first, end = max(start - WINDOW_RADIUS, 0), start + SLAB + WINDOW_RADIUS
        part = inside[first:end].copy()
        part[: start - first], part[start - first + SLAB :] = False, False
        if part.any():
            total += masked_ssim(ours[first:end], theirs[first:end], part, size) * np.count_nonzero(part)
    return total / np.count_nonzero(inside)


def _points(ours: np.ndarray, theirs: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(N, 2) reference and result at voxels drawn at random, the same ones every time, by rising reference."""
    at = np.flatnonzero(inside)
    if len(at) > POINTS:
        at = np.random.default_rng(0).choice(at, POINTS, replace=False)
    points = np.stack([theirs.ravel()[at], ours.ravel()[at]], axis=1).astype(np.float64)
    return points[np.argsort(points[:, 0], kind="stable")]


def _slices(difference: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(M, 2) index k and mean absolute error of every slice in which something was compared."""
    counts = np.count_nonzero(inside, axis=(1, 2))
    at = np.flatnonzero(counts)
    return np.stack([at, np.abs(difference).sum(axis=(1, 2), dtype=np.float64)[at] / counts[at]], axis=1)


def _box(errors: np.ndarray) -> tuple[float, ...]:
    return tuple(float(each) for each in np.percentile(np.abs(errors), BOX))


# --- segmentations


def compare_segmentations(
    result: Volume | Sequence[Volume], reference: Volume | Sequence[Volume], *,
    progress: Progress = silent, cancelled: IsCancelled = never,
) -> Comparison:  # fmt: skip
    """Dice, HD95 and volumes of every structure, and the means over the structures that the reference has.

    Each side is a label volume, or several (layers) where structures overlap. Structures belong together by name, or
    by label value where no name is the same. A structure that one side lacks has a Dice of 0 and an infinite HD95;
    one that is empty on both sides has neither (NaN) and does not count. Labels are compared on the reference's grid,
    continued as far as either side goes; volumes are counted on each side's own grid. Raises VolumeError where a side
    has no labels or the two have none in common.
    """
    ours, theirs = as_layers(result), as_layers(reference)
    matched = match(ours, theirs)
    remarks = list(matched.remarks)
    grid = covering_grid(theirs[0].grid.regular(), [*ours, *theirs])
    if not all(on_lattice(grid, each.grid) for each in ours):
        remarks.append("The result was taken onto the reference's grid, from the nearest voxel.")
    found, expected = masks_on(grid, ours), masks_on(grid, theirs)
    measures, scores = [], []
    for number, (name, (mine, other)) in enumerate(matched.pairs.items()):
        stop_if(cancelled)
        progress(number / len(matched.pairs), f"measuring {name}")
        a, b = mask_of(mine, found), mask_of(other, expected)
        overlap, distance = float(dice(a, b)[1]), hausdorff_95(a, b, grid.spacing)
        if other is not None and not math.isnan(overlap):
            scores.append((overlap, distance))
        measures += [
            Measure("Dice", overlap, "", name),
            Measure("HD95", distance, "mm", name),
            Measure("volume of result", volume_ml(mine, ours), "ml", name),
            Measure("volume of reference", volume_ml(other, theirs), "ml", name),
        ]
        if math.isnan(overlap):
            remarks.append(f"'{name}' is empty on both sides and does not count.")
        elif not (a.any() and b.any()) and None not in (mine, other):
            remarks.append(f"'{name}' is empty in the {'reference' if a.any() else 'result'}.")
    if len(matched.pairs) > 1 and scores:
        overlaps, distances = zip(*scores, strict=True)
        measures += [Measure("Dice", float(np.mean(overlaps)), "", "mean"),
                     Measure("HD95", float(np.mean(distances)), "mm", "mean")]
    return Comparison("segmentations", tuple(measures), tuple(remarks))
