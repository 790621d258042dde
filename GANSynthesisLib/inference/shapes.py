"""A statistical model of the shapes of labels: their mean, and how they vary together (PCA of distance maps)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.card import ModelError
from GANSynthesisLib.files import replaced_whole
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, resample

CELLS = 64  # of the grid of shapes along each axis; of a slice, one across it
EXTENT = 2.8  # half width of that grid, in root-mean-square radii of all structures together
FAR = 0.6  # radii: a distance that is larger counts as this, so that a label map need not reach beyond its structures
KEPT = 0.98  # of the variance, by the modes that are kept
FARTHEST = 2.5  # standard deviations that a shape may lie from the mean along a mode
SOFTNESS = 0.06  # radii over which the border of a shape is unsure
ROUNDS = 2
LEAST = 1e-4  # probability: the network is never so sure that a shape cannot tell it otherwise
FEWEST = 5  # label maps from which a model is made


@dataclass(frozen=True)
class ShapeModel:
    """Signed distances (S, K, J, I) of S structures, negative inside, in root-mean-square radii of all of them
    together, on a grid around their center: `mean`, `modes` (M, S, K, J, I) of length 1, and the standard `deviations`
    (M,) along them (Leventon 2000, Tsai 2003). label_names: of the structures, by label value, from 1 on."""

    mean: np.ndarray
    modes: np.ndarray
    deviations: np.ndarray
    label_names: dict[int, str]

    def nearest(self, distances: np.ndarray) -> np.ndarray:
        """The likely shape that is most like the given one, both (S, K, J, I)."""
        away = self.modes.reshape(len(self.modes), -1) @ (distances - self.mean).ravel()
        away = np.clip(away, -FARTHEST * self.deviations, FARTHEST * self.deviations)
        return self.mean + np.tensordot(away, self.modes, 1)

    def refined(self, probabilities: np.ndarray, grid: Grid, values: Sequence[int] = ()) -> np.ndarray:
        """Probabilities (C, K, J, I) on a grid, times those of the nearest likely shape; unchanged where nothing has
        been found. values: which channels are the structures, by default the label values of the model."""
        found, values = probabilities, tuple(values) or tuple(self.label_names)
        for _ in range(ROUNDS):
            labels = Volume(found.argmax(0).astype(np.uint8), grid.ijk_to_ras)
            if not np.isin(labels.voxels, values).any():
                return probabilities
            distances, own = _distances(labels, values, self.mean.shape[1])
            shape = self.nearest(distances)
            inside = np.stack([
                1 / (1 + np.exp(np.clip(resample(Volume(each.astype(np.float32), own.ijk_to_ras), grid,
                                                 fill=FAR).voxels / SOFTNESS, -30, 30)))
                for each in shape
            ])
            prior = np.repeat(np.prod(1 - inside, 0)[None], len(found), 0)  # of all that has no shape of its own
            prior[list(values)] = inside
            found = np.maximum(probabilities, LEAST) * (prior + 1e-6)
            found = found / found.sum(0)
        return found.astype(np.float32)


def fit_shapes(labels: Sequence[Volume], label_names: dict[int, str]) -> ShapeModel:
    """A model of label maps, of 2D images or of volumes, aligned by the center and the size of all structures
    together; label_names: of label values from 1 on. Raises VolumeError for too few, or one without a structure."""
    if len(labels) < FEWEST:
        raise VolumeError(f"{len(labels)} label maps are too few to tell how shapes vary: give {FEWEST} or more.")
    depth = 1 if all(each.grid.canonical().shape[0] == 1 for each in labels) else CELLS
    for each in labels:
        lacking = [name for value, name in label_names.items() if not (each.voxels == value).any()]
        if lacking:
            raise VolumeError(f"The label map '{each.name}' has no {lacking[0]}: leave it out.")
    shapes = np.stack([_distances(each, tuple(label_names), depth)[0] for each in labels])
    mean = shapes.mean(0)
    _, lengths, modes = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    variances = lengths**2 / (len(shapes) - 1)
    count = 1 + int(np.searchsorted(np.cumsum(variances) / variances.sum(), KEPT))
    return ShapeModel(mean, modes[:count].reshape(count, *mean.shape).astype(np.float32),
                      np.sqrt(variances[:count]), dict(label_names))


def _distances(labels: Volume, values: Sequence[int], depth: int) -> tuple[np.ndarray, Grid]:
    """Signed distances (S, K, J, I) of structures, and the grid around their center that they are on."""
    canonical = labels.canonical()
    together = np.isin(canonical.voxels, values)
    at = np.argwhere(together)[:, ::-1] * canonical.spacing
    center, radius = at.mean(0), float(np.sqrt(at.var(0).sum()))
    middle = (canonical.ijk_to_ras @ [*(center / canonical.spacing), 1])[:3]
    step = 2 * EXTENT * radius / CELLS
    across = canonical.spacing[2] if depth == 1 else step
    grid = Grid.centred(middle, (depth, CELLS, CELLS), (step, step, across), canonical.grid.directions)
    return np.stack([_signed_distance(canonical, value, radius, grid) for value in values]), grid


def _signed_distance(labels: Volume, value: int, radius: float, grid: Grid) -> np.ndarray:
    inside = (labels.voxels == value).astype(np.uint8)
    if not inside.any():
        return np.full(grid.shape, FAR, np.float32)
    flat = inside.shape[0] == 1
    image = sitk.GetImageFromArray(inside[0] if flat else inside)
    image.SetSpacing(labels.spacing[: image.GetDimension()])
    found = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True))
    distances = Volume(((found[None] if flat else found) / radius).clip(-FAR, FAR), labels.ijk_to_ras)
    return resample(distances, grid, fill=FAR).voxels.astype(np.float32)


def save_shapes(shapes: ShapeModel, path: Path) -> None:
    """To a file `.npz`, whole or not at all."""
    with replaced_whole(path) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, mean=shapes.mean, modes=shapes.modes.astype(np.float16),
                            deviations=shapes.deviations,
                            label_names=json.dumps({str(value): name for value, name in shapes.label_names.items()}))


def load_shapes(path: Path) -> ShapeModel:
    """Raises ModelError for a file that is missing, or no shape model."""
    try:
        with np.load(path, allow_pickle=False) as content:
            names = {int(value): name for value, name in json.loads(str(content["label_names"])).items()}
            return ShapeModel(content["mean"], content["modes"].astype(np.float32), content["deviations"], names)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"The shape model {path} cannot be read ({error}): make one with `shapes`.") from None
