"""How far the true labels of MR-ultrasound pairs go: what a registration could at best make of them."""

from __future__ import annotations

from collections.abc import Sequence

import command  # noqa: F401  puts the library on the path
import numpy as np

from GANSynthesisLib.evaluation.registration import Alignment, LabeledPair, alignment, mask_center
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume

LEAST_LANDMARKS = 3  # of a pair whose own landmarks say how it moved


def with_the_population(pairs: Sequence[LabeledPair], judged: Sequence[str]) -> list[Alignment]:
    """The true glands of both images laid on each other, center on center and as long along each axis; then the affine
    map that fits the landmarks of all other pairs best, as it is the same for all patients.

    This is what finding the glands without any error, and learning from all others what they do not show, would give.
    """
    fits = [_gland_fit(pair) for pair in pairs]
    landmarks = [_centered(pair, fit) for pair, fit in zip(pairs, fits, strict=True)]
    found = []
    for number, pair in enumerate(pairs):
        if pair.name in judged:
            others = landmarks[:number] + landmarks[number + 1 :]
            shared = _affine(*(np.concatenate(side) for side in zip(*others, strict=True)))
            to_center, fit, from_center = fits[number]
            found.append(alignment(pair, SpatialTransform(from_center @ shared @ fit @ to_center)))
    return found


def best_translations(pairs: Sequence[LabeledPair]) -> list[Alignment]:
    """Per pair, the translation that fits its own landmarks best in moving space; of pairs that have several."""
    return [
        alignment(pair, SpatialTransform.translation((pair.moving_landmarks - pair.fixed_landmarks).mean(0)))
        for pair in pairs if len(pair.fixed_landmarks) >= LEAST_LANDMARKS
    ]


def _gland_fit(pair: LabeledPair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4, 4) from fixed points to millimeters around the fixed gland's center; the stretch to the moving gland's
    lengths; back from around the moving gland's center."""
    to_center, fit, from_center = np.eye(4), np.eye(4), np.eye(4)
    to_center[:3, 3], from_center[:3, 3] = -mask_center(pair.fixed_mask), mask_center(pair.moving_mask)
    fit[:3, :3] = np.diag(_extent(pair.moving_mask) / _extent(pair.fixed_mask))
    return to_center, fit, from_center


def _extent(mask: Volume) -> np.ndarray:
    """(3,) standard deviation in mm of a soft mask along R, A, S."""
    points = mask.grid.points().reshape(-1, 3)
    weights = mask.voxels.reshape(-1).astype(np.float64)
    return np.sqrt(np.average((points - mask_center(mask)) ** 2, axis=0, weights=weights))


def _centered(pair: LabeledPair, fit: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (N, 3) around the moving gland's center: where the glands take the fixed ones, and the moving ones."""
    to_center, stretch, from_center = fit
    before = (stretch @ to_center)[:3]
    return pair.fixed_landmarks @ before[:, :3].T + before[:, 3], pair.moving_landmarks - from_center[:3, 3]


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(4, 4) least-squares affine map of points (N, 3)."""
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0].T
    return matrix
