"""How near generated images are to real ones: distances of their features, precision, recall, density and coverage.

Features are arrays (N, F), a row per image, of one encoder (`evaluation.encoders`). None of these numbers says that an
image is right; they compare two sets of images, as far as the encoder sees a difference.
"""

from __future__ import annotations

import dataclasses

import numpy as np

SUBSETS = 100
SUBSET = 200  # images of a subset at most, half of the smaller set where that is less


def kernel_distance(
    real: np.ndarray, made: np.ndarray, subsets: int = SUBSETS, size: int = SUBSET, seed: int = 0
) -> tuple[float, float, float]:
    """Kernel distance (KID, Binkowski 2018): the unbiased squared maximum mean discrepancy under the kernel
    (x·y / F + 1)³, averaged over random subsets, and the interval that holds 95 % of them.

    0 on average where both sets are of one distribution, so single subsets may be below. Raises ValueError for sets
    of fewer than four images.
    """
    real, made = _checked(real, made, least=4)
    size, random = min(size, len(real) // 2, len(made) // 2), np.random.default_rng(seed)
    found = [
        _squared_discrepancy(real[random.choice(len(real), size, replace=False)],
                             made[random.choice(len(made), size, replace=False)])
        for _ in range(subsets)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(np.mean(found)), float(low), float(high)


def halves_distance(real: np.ndarray, repeats: int = SUBSETS, size: int = SUBSET, seed: int = 0) -> float:
    """What a kernel distance between two random halves of the real images amounts to: the root mean square over many
    halvings, since the distance itself is 0 on average. A generator whose distance is not larger cannot be told from
    the real images by so many of them."""
    (real,) = _checked(real, least=8)
    size, random = min(size, len(real) // 2), np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        order = random.permutation(len(real))
        found.append(_squared_discrepancy(real[order[:size]], real[order[size : 2 * size]]))
    return float(np.sqrt(np.mean(np.square(found))))


def _squared_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased: a row is not compared with itself (Gretton 2012, eq. 3)."""
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def frechet_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Fréchet distance (FID, Heusel 2017) of the Gaussians fitted to both sets; biased upwards where images are few,
    so compare only sets of the same size. Raises ValueError for sets of fewer than two images."""
    real, made = _checked(real, made, least=2)
    covariances = [np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (real, made)]
    root = _root(covariances[0])
    mixed = np.linalg.eigvalsh(root @ covariances[1] @ root).clip(min=0)
    shift = real.mean(0) - made.mean(0)
    return float(shift @ shift + sum(map(np.trace, covariances)) - 2 * np.sqrt(mixed).sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


@dataclasses.dataclass(frozen=True)
class Manifolds:
    """How the two sets lie in each other, 0 … 1 (density may be more).

    precision: part of the made images within the neighborhood of a real one; recall: part of the real images within
    the neighborhood of a made one (Kynkäänniemi 2019). density: in how many real neighborhoods a made image lies, over
    `neighbors`; coverage: part of the real images whose neighborhood holds a made one (Naeem 2020): both are steadier
    where a set has outliers.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(real: np.ndarray, made: np.ndarray, neighbors: int = 3) -> Manifolds:
    """A neighborhood of an image reaches to its `neighbors`-th nearest neighbor in its own set. Raises ValueError for
    sets that have no more images than that."""
    real, made = _checked(real, made, least=neighbors + 1)
    across = _distances(real, made)
    reach_real = np.partition(_distances(real, real), neighbors, axis=1)[:, neighbors]  # the nearest is itself
    reach_made = np.partition(_distances(made, made), neighbors, axis=1)[:, neighbors]
    in_real, in_made = across <= reach_real[:, None], across <= reach_made[None]
    return Manifolds(
        precision=float(in_real.any(0).mean()), recall=float(in_made.any(1).mean()),
        density=float(in_real.sum(0).mean() / neighbors), coverage=float(in_real.any(1).mean()),
    )


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    return np.sqrt(squared.clip(min=0))


def _checked(*sets: np.ndarray, least: int) -> list[np.ndarray]:
    """float64; ValueError where there are too few, or features are not finite."""
    arrays = [np.asarray(each, np.float64) for each in sets]
    for array in arrays:
        if len(array) < least:
            raise ValueError(f"{len(array)} images are too few to compare: give at least {least}.")
        if not np.isfinite(array).all():
            raise ValueError("The features of the images are not all finite: the encoder does not fit them.")
    return arrays
