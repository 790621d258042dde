"""Optional last steps of a segmentation, between the network's probabilities and labels: a dense conditional random
field, and a statistical shape model.

The random field is computed here: of the libraries for it, none that is kept up to date comes as a package for the
Python versions of Slicer (2026).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from GANSynthesisLib.card import Card, ModelError
from GANSynthesisLib.inference.shapes import ShapeModel, load_shapes
from GANSynthesisLib.volumes import Grid

WAYS = ("crf", "shape=FILE")
ROUNDS = 5  # of the mean field
RADIUS = 3  # voxels: neighbors beyond hardly count
NEAR = 2.0  # voxels over which neighbors count as such
ALIKE = 0.15  # of intensities in [−1, 1], over which voxels count as alike
WEIGHTS = 1.0, 3.0  # of neighbors, and of neighbors that look alike
LEAST = 1e-4  # probability: the network is never so sure that its neighbors cannot tell it otherwise

Refine = Callable[[np.ndarray, np.ndarray, Grid], np.ndarray]


def refinement(wanted: str, card: Card) -> Refine | None:
    """A function of (probabilities (C, K, J, I), image (K, J, I) in [−1, 1], their grid) -> probabilities; None for an
    empty text. wanted: `crf`, or `shape=` and the file of a shape model. Raises ModelError before any work."""
    if not wanted:
        return None
    segmentations = [port for port in card.outputs if port.is_segmentation]
    if not segmentations or card.task == "register":
        raise ModelError(f"The model '{card.name}' makes no segmentation of its input: leave refine out.")
    if wanted == "crf":
        return lambda probabilities, image, grid: dense_crf(probabilities, image)
    way, _, file = wanted.partition("=")
    if way != "shape" or not file:
        raise ModelError(f"refine is {wanted!r}; it must be {' or '.join(WAYS)}.")
    shapes = load_shapes(Path(file))
    values = _channels(shapes, Path(file), segmentations[0].label_names, card)
    return lambda probabilities, image, grid: shapes.refined(probabilities, grid, values)


def _channels(shapes: ShapeModel, file: Path, names: dict[int, str], card: Card) -> list[int]:
    """The values that a model's labels have of the structures of a shape model, which may be some of them."""
    values = {name: value for value, name in names.items() if value}
    if not set(shapes.label_names.values()) <= set(values):
        raise ModelError(
            f"The shape model {file} is of {', '.join(shapes.label_names.values())}, where the model '{card.name}' "
            f"finds {', '.join(values)}: fit one to labels of these."
        )
    return [values[name] for name in shapes.label_names.values()]


@torch.no_grad()
def dense_crf(
    probabilities: np.ndarray, image: np.ndarray, weights: tuple[float, float] = WEIGHTS, alike: float = ALIKE
) -> np.ndarray:
    """Probabilities (C, K, J, I) after a conditional random field with Gaussian edges (Krähenbühl and Koltun 2011).

    Each voxel leans to what its neighbors are, the more the nearer and the more alike they look in the image
    (K, J, I), in [−1, 1]. The mean field is computed over a window of 7 voxels along each axis, as in convolutional
    random fields (Teichmann and Cipolla 2019), in which a Gaussian of 2 voxels has nearly all of its weight.
    """
    given = torch.from_numpy(np.ascontiguousarray(probabilities, np.float32)).clamp(min=LEAST)
    unary, seen = given.log(), torch.from_numpy(np.ascontiguousarray(image, np.float32))
    reach = [min(RADIUS, size - 1) for size in seen.shape]
    around = itertools.product(*(range(-most, most + 1) for most in reach))
    offsets = [offset for offset in around if offset > (0, 0, 0)]  # of two that are opposite, one
    field = given / given.sum(0)
    for _ in range(ROUNDS):
        sums = [torch.zeros_like(field), torch.zeros_like(field)]
        totals = [torch.full_like(seen, 1e-6), torch.full_like(seen, 1e-6)]
        for offset in offsets:
            here, there = _shifted(offset)
            near = float(np.exp(-0.5 * sum(step**2 for step in offset) / NEAR**2))
            same = near * torch.exp(-0.5 * ((seen[here] - seen[there]) / alike) ** 2)
            for which, weight in enumerate((torch.full_like(same, near), same)):
                for one, other in ((here, there), (there, here)):
                    sums[which][(slice(None), *one)] += weight * field[(slice(None), *other)]
                    totals[which][one] += weight
        field = unary + sum(weight * whole / total for weight, whole, total in zip(weights, sums, totals, strict=True))
        field = field.softmax(0)
    return field.numpy()


def _shifted(offset: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where an array overlaps with itself moved by an offset: the places, and those of the neighbors."""
    here = tuple(slice(max(0, -step), None if step <= 0 else -step) for step in offset)
    there = tuple(slice(max(0, step), None if step >= 0 else step) for step in offset)
    return here, there
