"""A coarse volume's way to a fine one: interpolated, and what the networks add to that, on a finer grid of its own.

Only what is added passes through the intensity range and the voxel size of the networks; the interpolated volume is
made of the input's own values on its own axes, so that acquired voxels come back as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from GANSynthesisLib.card import Card
from GANSynthesisLib.grid import Grid
from GANSynthesisLib.inference.ladder import apply_down_the_ladder
from GANSynthesisLib.progress import stop_if
from GANSynthesisLib.systems.reconstruction import ACQUIRED, Reconstruction
from GANSynthesisLib.volumes import Volume, VolumeError, check_volume, describe, resample
from GANSynthesisLib.working import foreground, intensity_range

FEWEST = 4  # slices, or coarse voxels along an axis
THICKER = 1.5  # times that thick slices are at least as far apart as the voxels in them
TOLERANCE = 1.5  # times that voxels may be larger or smaller than the card says
SIDES = {0: "left to right", 1: "back to front", 2: "foot to head"}


def reconstruct(card, system, inputs, wanted, *, report, cancelled, **options) -> dict[str, Volume]:
    """The wanted output (a model has but one): the first input's field of view, from its first to its last voxel, on a
    finer grid.

    options: as of `ladder.apply_down_the_ladder`. Raises VolumeError where an input is not as coarse as the card says.
    """
    begin, seconds = time.perf_counter(), report["seconds"]
    (name,) = wanted
    roles = [port.name for port in card.inputs]
    first = inputs[roles[0]]
    finer = finer_axes(card, system, first)
    order = _order(card, system, inputs, finer)
    canonical = first.canonical()
    intensity = intensity_range(card.input(roles[0])).measure(canonical)
    coarse = resample(canonical, canonical.grid.regular().with_spacing(_working_spacing(card, system, finer)))
    base = _interpolated(coarse.with_voxels(intensity.normalize(coarse.voxels)), system, finer)
    base = base.with_voxels(base.voxels.clip(-1, 1))
    images = {roles[0]: base.voxels, ACQUIRED: _acquired(base.shape, system, finer)}
    for role in roles[1:]:
        images[role] = _second(card, system, inputs[role], role, base)
    mask = foreground(canonical, base.grid) if system.settings.mask_background else np.ones(base.shape, bool)
    tensors = {role: torch.from_numpy(np.ascontiguousarray(array.transpose(order)))[None]
               for role, array in images.items()}
    masks = {name: torch.from_numpy(np.ascontiguousarray(mask.transpose(order)))}
    seconds["prepare"] = round(time.perf_counter() - begin, 3)
    stop_if(cancelled)
    begin = time.perf_counter()
    answers = apply_down_the_ladder(
        card, system, tensors, wanted, masks=masks, report=report, cancelled=cancelled, **options
    )
    seconds["network"] = round(time.perf_counter() - begin, 3)
    stop_if(cancelled)
    begin = time.perf_counter()
    answer = answers.pop(name)[0].numpy().transpose(np.argsort(order))
    added = np.where(mask, answer - base.voxels, 0) * np.float32((intensity.upper - intensity.lower) / 2)
    title = f"{first.name} [reconstructed {card.output(name).modality}]"
    made = _with_addition(first, system, finer, base.with_voxels(added))
    seconds["back"] = round(time.perf_counter() - begin, 3)
    report["settings"] |= {"grid": {"shape": list(made.shape), "spacing": [round(size, 4) for size in made.spacing]}}
    return {name: made.with_voxels(made.voxels, name=title)}


@dataclass(frozen=True)
class _Finer:
    """Axes (i, j, k) of the canonical volume along which voxels become `factor` times as small; none, where they are
    fine already and lack but resolution."""

    axes: tuple[int, ...]
    factor: int


def finer_axes(card: Card, system: Reconstruction, volume: Volume, role: str = "") -> _Finer:
    """Along which axes a volume is coarse. Raises VolumeError: not as the card says, or too few voxels there."""
    check_volume(volume, role)
    grid, factor, who = volume.grid.canonical(), system.settings.factor, "T" + describe(volume, role)[1:]
    sizes = " x ".join(f"{size:.3g}" for size in grid.spacing)
    axes = (_coarse_axes if system.all_axes else _thick_axis)(card, grid.spacing, factor)
    if axes is None and system.all_axes:
        largest = max(size for size in card.spacing if size)
        raise VolumeError(
            f"{who} has voxels of {sizes} mm, where the model '{card.name}' takes {largest / factor:.3g} to "
            f"{largest:.3g} mm: choose a volume of such voxels, or resample it."
        )
    if axes is None:
        about = f" about {card.spacing[2]:.3g} mm apart" if _slice_distance(card) else ""
        raise VolumeError(
            f"{who} has voxels of {sizes} mm, where the model '{card.name}' takes thick slices{about}: choose a "
            "volume of such slices."
        )
    for axis in axes:
        count = grid.shape[2 - axis]
        if count < FEWEST:
            raise VolumeError(
                f"{who} has {count} slice{'s' * (count > 1)} from {SIDES[axis]}, too few to make finer ones: choose a "
                f"volume with at least {FEWEST}."
            )
    return _Finer(axes, factor)


def _slice_distance(card: Card) -> float | None:
    return card.spacing[2] if card.spacing else None


def _thick_axis(card: Card, spacing: tuple[float, ...], factor: int) -> tuple[int, ...] | None:
    """The axis across thick slices; None where slices are not thick, or not as far apart as the card says."""
    axis = int(np.argmax(spacing))
    thick, wanted = spacing[axis], _slice_distance(card)
    within = max(size for other, size in enumerate(spacing) if other != axis)
    is_thick = thick >= THICKER * within
    return (axis,) if is_thick and (not wanted or wanted / TOLERANCE <= thick <= wanted * TOLERANCE) else None


def _coarse_axes(card: Card, spacing: tuple[float, ...], factor: int) -> tuple[int, ...] | None:
    """All axes, or none where voxels are as fine already as those to be made; None where they are neither."""
    if not card.spacing:
        return (0, 1, 2)
    ratios = [size / wanted for size, wanted in zip(spacing, card.spacing, strict=True) if wanted]
    for axes, ratio in (((0, 1, 2), 1), ((), 1 / factor)):
        if all(ratio / TOLERANCE < each < ratio * TOLERANCE for each in ratios):
            return axes
    return None


def refined(grid: Grid, axes: tuple[int, ...], factor: int) -> Grid:
    """The grid with `factor` steps in place of one along some axes (i, j, k), from its first to its last voxel."""
    matrix, shape = grid.ijk_to_ras.copy(), list(grid.shape)
    for axis in axes:
        matrix[:3, axis] /= factor
        shape[2 - axis] = (shape[2 - axis] - 1) * factor + 1
    return Grid(tuple(shape), matrix)


def _working_spacing(card: Card, system: Reconstruction, finer: _Finer) -> tuple[float | None, ...]:
    """Working voxel size (i, j, k): slices stay where they are; voxels in them, or all, become as the card says."""
    if card.spacing is None:
        return (None,) * 3
    if system.all_axes:
        return card.spacing if finer.axes else tuple(size and size / finer.factor for size in card.spacing)
    (thick,), spacing = finer.axes, [None] * 3
    within = [axis for axis in range(3) if axis != thick]
    for axis, size in zip(within, card.spacing[:2], strict=True):
        spacing[axis] = size
    return tuple(spacing)


def _interpolated(volume: Volume, system: Reconstruction, finer: _Finer) -> Volume:
    """The volume on the finer grid, before anything is added; float32."""
    image = torch.from_numpy(np.ascontiguousarray(volume.voxels, np.float32))[None, None]
    for axis in finer.axes:
        image = system.interpolate(image, finer.factor, 4 - axis)
    grid = refined(volume.grid, finer.axes, finer.factor)
    return volume.with_voxels(image[0, 0].numpy(), ijk_to_ras=grid.ijk_to_ras)


def _acquired(shape: tuple[int, ...], system: Reconstruction, finer: _Finer) -> np.ndarray:
    """1 where the slices given are, 0 elsewhere; 0 everywhere where every voxel is to become better."""
    acquired = np.zeros(shape, np.float32)
    if not system.all_axes:
        np.moveaxis(acquired, 2 - finer.axes[0], 0)[:: finer.factor] = 1
    return acquired


def _order(card: Card, system: Reconstruction, inputs: Mapping[str, Volume], finer: _Finer) -> tuple[int, ...]:
    """Array axes in the order of the networks: across the slices first; across those of a second stack last."""
    if system.all_axes:
        return (0, 1, 2)
    first = 2 - finer.axes[0]
    last = 0 if first == 2 else 2
    for port in card.inputs[1:]:
        other = finer_axes(card, system, inputs[port.name], port.name)
        last = _parallel_axis(inputs[port.name].grid.canonical(), other.axes[0], inputs[card.inputs[0].name])
        if last == first:
            raise VolumeError(
                f"The slices of '{inputs[port.name].name}' run like those of '{inputs[card.inputs[0].name].name}': "
                "choose a stack that crosses them, such as a sagittal one beside an axial one."
            )
    (middle,) = {0, 1, 2} - {first, last}
    return (first, middle, last)


def _parallel_axis(grid: Grid, axis: int, volume: Volume) -> int:
    """The array axis of the canonical volume that runs most like an axis (i, j, k) of a grid."""
    along = np.abs(volume.grid.canonical().directions.T @ grid.directions[:, axis])
    return 2 - int(np.argmax(along))


def _second(card: Card, system: Reconstruction, volume: Volume, role: str, base: Volume) -> np.ndarray:
    """A second stack, interpolated across its own slices, on the grid of the first; in [−1, 1]."""
    finer, canonical = finer_axes(card, system, volume, role), volume.canonical()
    intensity = intensity_range(card.input(role)).measure(canonical)
    fine = _interpolated(canonical.with_voxels(intensity.normalize(canonical.voxels)), system, finer)
    found = resample(fine, base.grid, fill=-2).voxels
    if found.max() < -1:
        raise VolumeError(
            f"The volume '{volume.name}' does not overlap with '{base.name}' in space: choose two stacks of the same "
            "examination."
        )
    return np.clip(found, -1, 1)


def _with_addition(first: Volume, system: Reconstruction, finer: _Finer, added: Volume) -> Volume:
    """What was added on the working grid, put on the interpolated input, in the order of the input's own axes."""
    canonical = first.canonical()
    base = _interpolated(canonical, system, finer)
    # Neither interpolation nor a network makes a signal below none.
    made = np.maximum(base.voxels + resample(added, base.grid, fill=0).voxels, np.float32(first.voxels.min()))
    if not system.all_axes:
        across = 2 - finer.axes[0]
        np.moveaxis(made, across, 0)[:: finer.factor] = np.moveaxis(canonical.voxels, across, 0)
    own = [int(np.argmax(np.abs(first.grid.directions.T @ canonical.grid.directions[:, axis]))) for axis in finer.axes]
    return resample(base.with_voxels(made), refined(first.grid, tuple(own), finer.factor))
