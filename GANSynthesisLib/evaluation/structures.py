"""Named structures in label volumes: which belong together in two segmentations, and their masks on one grid.

A segmentation is a list of layers, label volumes that may each have a grid of its own; structures that overlap are in
different layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from GANSynthesisLib.volumes import Grid, Volume, VolumeError, describe, resample

MOST_VOXELS = 2**30  # of a grid around two segmentations; beyond that they are nowhere near each other

Places = dict[str, list[tuple[int, int]]]  # name of a structure -> (layer, label value) where it is found


def as_layers(segmentation: Volume | Sequence[Volume]) -> list[Volume]:
    """The segmentation as a list of layers; booleans count as label 1."""
    layers = [segmentation] if isinstance(segmentation, Volume) else list(segmentation)
    return [each.with_voxels(each.voxels.astype(np.uint8)) if each.voxels.dtype == bool else each for each in layers]


def structures(layers: Sequence[Volume]) -> Places:
    """Where each structure is. Every named label is one, present in the voxels or not; those without a name are
    called "label 3". Labels of the same name are one structure."""
    found: Places = {}
    for number, layer in enumerate(layers):
        values = {int(value) for value in np.unique(layer.voxels)} | set(layer.label_names)
        for value in sorted(values - {0}):
            found.setdefault(layer.label_names.get(value) or f"label {value}", []).append((number, value))
    return found


@dataclass(frozen=True)
class Match:
    """Structures of two segmentations under the reference's names; None where a side does not have it."""

    pairs: dict[str, tuple[list[tuple[int, int]] | None, list[tuple[int, int]] | None]]
    remarks: tuple[str, ...]


def match(result: Sequence[Volume], reference: Sequence[Volume]) -> Match:
    """Structures of the same name belong together; where no name is the same, those of the same label value.

    Capitals and spaces around a name do not count. Raises VolumeError where nothing belongs together.
    """
    ours, theirs = structures(result), structures(reference)
    for places, layers, role in ((ours, result, "result"), (theirs, reference, "reference")):
        if not places:
            raise VolumeError(f"T{describe(layers[0], role)[1:]} holds no labels: choose a segmentation that does.")
    pairs, remarks = _by_name(ours, theirs), []
    if all(mine is None for mine, _ in pairs.values()):
        pairs = _by_value(ours, theirs)
        if all(mine is None for mine, _ in pairs.values()):
            raise VolumeError(
                f"The result ({_listed(ours)}) and the reference ({_listed(theirs)}) have no label in common: give "
                "the same structures the same names."
            )
        remarks.append("No structures have the same name: they were matched by label value.")
    taken = [mine for mine, _ in pairs.values() if mine is not None]
    more = {name: places for name, places in ours.items() if places not in taken}
    for missing, side in (([name for name, (mine, _) in pairs.items() if mine is None], "reference"),
                          (list(more), "result")):
        if missing:
            remarks.append(f"Only in the {side}: {_listed(missing)}.")
    pairs.update({name if name not in pairs else f"{name} (result)": (places, None) for name, places in more.items()})
    return Match(pairs, tuple(remarks))


def _by_name(ours: Places, theirs: Places) -> dict:
    same = {name.strip().lower(): places for name, places in ours.items()}
    return {name: (same.get(name.strip().lower()), places) for name, places in theirs.items()}


def _by_value(ours: Places, theirs: Places) -> dict:
    """Pairs of the same label value; only a single structure on both sides where values stand for several."""
    values = {places[0][1]: places for places in ours.values()}
    if len(values) < len(ours) or len({places[0][1] for places in theirs.values()}) < len(theirs):
        values = {}
    if len(ours) == len(theirs) == 1:
        return {name: (*ours.values(), places) for name, places in theirs.items()}
    return {name: (values.get(places[0][1]), places) for name, places in theirs.items()}


def masks_on(grid: Grid, layers: Sequence[Volume]) -> list[np.ndarray]:
    """The layers' label values (K, J, I) on a grid, taken from the nearest voxel; 0 outside."""
    return [resample(layer, grid, "nearest", fill=0).voxels for layer in layers]


def mask_of(places: list[tuple[int, int]] | None, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(K, J, I) bool of one structure in arrays of label values; empty for None."""
    mask = np.zeros(arrays[0].shape, bool)
    for layer, value in places or ():
        mask |= arrays[layer] == value
    return mask


def volume_ml(places: list[tuple[int, int]] | None, layers: Sequence[Volume]) -> float:
    """What a structure fills, in ml, counted on its own grid."""
    voxel = [abs(float(np.linalg.det(layer.ijk_to_ras[:3, :3]))) / 1000 for layer in layers]
    return sum((int(np.count_nonzero(layers[at].voxels == value)) * voxel[at] for at, value in places or ()), 0.0)


def covering_grid(grid: Grid, layers: Sequence[Volume]) -> Grid:
    """`grid` cut or extended, voxel by voxel, to cover every label of the layers. Raises VolumeError where there are
    none, or where they lie too far apart to be compared."""
    corners = [_corners(grid, layer) for layer in layers if layer.voxels.any()]
    if not corners:
        raise VolumeError("Both segmentations are empty: there is nothing to compare.")
    ends = np.concatenate(corners)
    first = np.floor(ends.min(axis=0) + 0.5 + 1e-3).astype(int)
    size = np.maximum(np.ceil(ends.max(axis=0) + 0.5 - 1e-3).astype(int) - first, 1)
    if np.prod(size.astype(float)) > MOST_VOXELS:
        raise VolumeError(
            "The two segmentations lie too far apart to be compared: check that they are of the same patient, and the "
            "transforms that they are under."
        )
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] = (grid.ijk_to_ras @ [*first, 1])[:3]
    return Grid(tuple(size[::-1]), matrix)


def on_lattice(grid: Grid, other: Grid) -> bool:
    """Whether `other` has the spacing of `grid`, continued without end, and its voxels' centers are among its."""
    steps = np.linalg.inv(grid.ijk_to_ras) @ other.ijk_to_ras
    rounded = np.rint(steps)
    return bool(np.abs(steps - rounded).max() < 1e-3 and abs(abs(np.linalg.det(rounded[:3, :3])) - 1) < 1e-6)


def _corners(grid: Grid, layer: Volume) -> np.ndarray:
    """(8, 3): the outer corners of what a layer labels, in voxels (i, j, k) of `grid`."""
    ends = []
    for axis in (2, 1, 0):
        inside = np.flatnonzero(layer.voxels.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((inside[0] - 0.5, inside[-1] + 0.5))
    steps = np.linalg.inv(grid.ijk_to_ras) @ layer.ijk_to_ras
    return np.array([(steps @ [*corner, 1])[:3] for corner in product(*ends)])


def _listed(names) -> str:
    names = [f"'{name}'" for name in names]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
