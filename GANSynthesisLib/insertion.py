"""A patch, such as a made lesion, put into a volume at a point, so that no border is seen (Pérez 2003)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.grid import Grid
from GANSynthesisLib.volumes import Volume, VolumeError, check_volume, resample

BLENDINGS = ("poisson", "feather")
FEWEST = 3  # voxels of the volume along an axis that a patch must cover
FEATHER = 0.25  # of the patch's half width, over which it fades into the volume
TOLERANCE = 1e-5  # of the first residual, at which the Poisson equation counts as solved
MOST_STEPS = 2000
LESION = {1: "lesion"}


@dataclass(frozen=True)
class Insertion:
    """The volume with the patch in it, and labels of what was put in, on the same grid."""

    volume: Volume
    labels: Volume


def insert_patch(
    volume: Volume, patch: Volume, at_ras, labels: Volume | None = None, *, blending: str = "poisson",
    match: bool = False,
) -> Insertion:
    """`patch` in `volume`, its middle at a point (RAS, mm), along the anatomical axes of the volume.

    labels: what of the patch is the structure, on its grid; without them, what stands out from the patch's border
    (Otsu 1979). blending: `poisson` takes the patch's gradients and the volume's values at its border; `feather`
    fades the one into the other. match: scale the patch so that its values span what those that it replaces do, for
    patches whose intensities mean something else. A patch of one slice goes into the nearest slice. All voxels away
    from the patch stay as they are. Raises VolumeError for a point outside of the volume, other units, and a patch
    that covers too few voxels.
    """
    if blending not in BLENDINGS:
        raise ValueError(f"blending is {blending!r}; it must be {' or '.join(BLENDINGS)}.")
    check_volume(volume, "volume")
    check_volume(patch, "patch")
    if patch.unit and volume.unit and patch.unit != volume.unit:
        raise VolumeError(f"The patch '{patch.name}' is in {patch.unit}, the volume '{volume.name}' in {volume.unit}: "
                          "choose a model that makes images of this kind.")
    if labels is not None and labels.shape != patch.shape:
        raise VolumeError(f"The labels '{labels.name}' have {labels.shape} voxels, the patch '{patch.name}' has "
                          f"{patch.shape}: give labels on the patch's grid.")
    placed = _placed(patch, volume, np.asarray(at_ras, float))
    corner, part = _covered(volume, placed)
    within, depth = _within(part.grid, placed)
    inside = resample(patch.with_voxels(patch.voxels.astype(np.float32), ijk_to_ras=placed.ijk_to_ras), part.grid)
    before = part.voxels.astype(np.float64)
    flat = patch.shape[0] == 1
    border = within & ~_inner(within, volume, flat)
    new = inside.voxels.astype(np.float64)
    if match:
        new = _matched(new, before, within)
    if blending == "poisson":
        blended = new + _membrane(np.where(border, before - new, 0), within & ~border, volume, flat)
    else:
        weight = np.clip(depth / FEATHER, 0, 1)
        weight = weight * weight * (3 - 2 * weight)
        blended = weight * new + (1 - weight) * before
    structure = labels or _standing_out(patch)
    shown = structure.with_voxels(structure.voxels.astype(np.uint8), ijk_to_ras=placed.ijk_to_ras)
    marks = resample(shown, part.grid, "nearest", fill=0).voxels
    place = tuple(slice(first, first + size) for first, size in zip(corner, part.shape, strict=True))
    made, marked = volume.voxels.copy(), np.zeros(volume.shape, np.uint8)
    made[place] = _as_type(np.where(within, blended, before), volume.voxels.dtype)
    marked[place] = np.where(within & ~border, marks, 0)
    names = {value: name for value, name in structure.label_names.items() if value}
    return Insertion(
        volume.with_voxels(made, name=f"{volume.name} [with {patch.name}]"),
        Volume(marked, volume.ijk_to_ras, name=f"{volume.name} [{patch.name}]", label_names=names or LESION),
    )


def _placed(patch: Volume, volume: Volume, point: np.ndarray) -> Grid:
    """The patch's grid, its middle at the point, along the volume's axes in canonical order."""
    canonical, spacing = volume.grid.canonical(), list(patch.canonical().spacing)
    index = np.linalg.inv(canonical.ijk_to_ras) @ [*point, 1]
    outside = any(not -0.5 <= value <= size - 0.5 for value, size in zip(index, canonical.shape[::-1], strict=False))
    if outside:
        raise VolumeError(f"The point {', '.join(f'{value:.1f}' for value in point)} mm (RAS) lies outside of the "
                          f"volume '{volume.name}': place it inside.")
    if patch.shape[0] == 1:
        spacing[2] = canonical.spacing[2]
        index[2] = round(index[2])
        point = (canonical.ijk_to_ras @ index)[:3]
    return Grid.centred(point, patch.shape, spacing, canonical.directions)


def _covered(volume: Volume, placed: Grid) -> tuple[np.ndarray, Volume]:
    """The part of the volume, a voxel more on every side, that a grid lies in, and its first voxel (k, j, i)."""
    ends = np.array([[*(np.array(placed.shape[::-1]) - 1) * corner, 1] for corner in np.ndindex(2, 2, 2)], float)
    at = (np.linalg.inv(volume.ijk_to_ras) @ placed.ijk_to_ras @ ends.T)[2::-1]
    first = np.maximum(np.floor(at.min(1) - 1e-6).astype(int) - 1, 0)
    end = np.minimum(np.ceil(at.max(1) + 1e-6).astype(int) + 2, volume.shape)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ first[::-1]
    block = volume.voxels[tuple(slice(a, b) for a, b in zip(first, end, strict=True))]
    return first, Volume(block, matrix, volume.unit, volume.name)


def _within(grid: Grid, placed: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels of a grid lie between the outermost voxel centers of the placed one, and how deep: 0 at its border,
    1 in its middle. Raises VolumeError where they are too few."""
    axes = np.meshgrid(*(np.arange(size) for size in grid.shape), indexing="ij")[::-1]
    matrix = np.linalg.inv(placed.ijk_to_ras) @ grid.ijk_to_ras
    within, depth = np.ones(grid.shape, bool), np.ones(grid.shape)
    for axis, size in enumerate(placed.shape[::-1]):
        index = sum(matrix[axis, other] * axes[other] for other in range(3)) + matrix[axis, 3]
        away = np.abs(index - (size - 1) / 2)
        half = max((size - 1) / 2, 0.5)
        within &= away <= half + 1e-4
        if size > 1:
            depth = np.minimum(depth, 1 - away / half)
    counts = [int(within.any(tuple(other for other in range(3) if other != axis)).sum()) for axis in range(3)]
    wide = sorted(counts)[1 if 1 in placed.shape else 0]
    if wide < FEWEST:
        raise VolumeError(f"The patch covers {' x '.join(map(str, counts))} voxels of the volume: choose a larger "
                          f"patch or a finer volume, so that it covers {FEWEST} along each axis.")
    return within, depth.clip(0, 1)


def _neighbors(array: np.ndarray, axis: int, fill) -> tuple[np.ndarray, np.ndarray]:
    """The array's values one voxel before and after each along an axis; `fill` beyond its ends."""
    before, after = np.full_like(array, fill), np.full_like(array, fill)
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis], target[axis] = slice(None, -1), slice(1, None)
    before[tuple(target)], after[tuple(source)] = array[tuple(source)], array[tuple(target)]
    return before, after


def _axes(volume: Volume, flat: bool) -> list[tuple[int, float]]:
    """Array axes along which a patch is blended, and the weight 1/h² of each; not across the slices of a flat one."""
    across = int(np.argmax(np.abs(volume.grid.directions[2]))) if flat else -1
    return [(2 - axis, 1 / size**2) for axis, size in enumerate(volume.spacing) if axis != across]


def _inner(within: np.ndarray, volume: Volume, flat: bool) -> np.ndarray:
    """Voxels all of whose neighbors are within, too; beyond the volume there are none to be seen."""
    inner = within.copy()
    for axis, _ in _axes(volume, flat):
        for neighbor in _neighbors(within, axis, True):
            inner &= neighbor
    return inner


def _matched(new: np.ndarray, before: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The patch, scaled and shifted so that nearly all of its values lie where those that it replaces do."""
    (low, high), (wanted_low, wanted_high) = (np.percentile(values[within], (1, 99)) for values in (new, before))
    if not (high > low and wanted_high > wanted_low):
        return new
    return (new - low) / (high - low) * (wanted_high - wanted_low) + wanted_low


def _membrane(known: np.ndarray, inner: np.ndarray, volume: Volume, flat: bool) -> np.ndarray:
    """What has no curvature inside and is as known around: Laplace's equation, by conjugate gradients (Hestenes 1952).

    A patch with the volume's values at its border and its own gradients inside differs from itself by just that.
    """
    axes = _axes(volume, flat)

    def curvature(values: np.ndarray) -> np.ndarray:
        total = np.zeros_like(values)
        for axis, weight in axes:
            for there, neighbor in zip(_neighbors(np.ones_like(inner), axis, False), _neighbors(values, axis, 0.0),
                                       strict=True):
                total += weight * np.where(there, values - neighbor, 0)
        return np.where(inner, total, 0)

    found = np.where(inner, 0, known)
    residual = -curvature(found)
    direction, power = residual.copy(), float((residual**2).sum())
    goal = TOLERANCE**2 * power
    for _ in range(MOST_STEPS):
        if power <= goal:
            break
        turned = curvature(direction)
        step = power / float((direction * turned).sum())
        found += step * direction
        residual -= step * turned
        before, power = power, float((residual**2).sum())
        direction = residual + power / before * direction
    return found


def _standing_out(patch: Volume) -> Volume:
    """The structure in the middle of a patch that differs from what is at its border."""
    voxels = patch.voxels.astype(np.float32)
    shell = np.ones(voxels.shape, bool)
    shell[tuple(slice(1, -1) if size > 2 else slice(None) for size in voxels.shape)] = False
    differs = sitk.GetImageFromArray(np.abs(voxels - np.median(voxels[shell])))
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.OtsuThreshold(differs, 0, 1)))
    found = np.argwhere(parts > 0)
    nearest = found[np.argmin(((found - (np.array(parts.shape) - 1) / 2) ** 2).sum(1))]
    return Volume((parts == parts[tuple(nearest)]).astype(np.uint8), patch.ijk_to_ras, label_names=LESION)


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)
