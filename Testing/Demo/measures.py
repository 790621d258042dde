"""What the demonstration measures, and the checks that its numbers must pass."""

from dataclasses import asdict, dataclass, field
from itertools import product

import numpy as np

from GANSynthesisLib.evaluation.metrics import landmark_errors_mm
from GANSynthesisLib.volumes import Grid


@dataclass(frozen=True)
class Check:
    """One thing that must hold: `value` and `limit` are what the report shows."""

    name: str
    passed: bool
    value: object
    limit: str


@dataclass
class Checks:
    """The checks of one run, in the order in which they were made."""

    made: list[Check] = field(default_factory=list)

    def add(self, name: str, passed, value, limit: str) -> None:
        self.made.append(Check(name, bool(passed), value, limit))

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.made if not check.passed]

    def report(self) -> list[dict]:
        return [asdict(check) for check in self.made]


def medians(voxels: np.ndarray, regions: dict[str, np.ndarray]) -> dict[str, float]:
    """Region name -> median intensity in it."""
    return {name: float(np.median(voxels[region])) for name, region in regions.items()}


def error_mm(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean, 95th percentile and largest distance in mm between points (N, 3) and where they truly are."""
    distance = landmark_errors_mm(found, truth)
    return {"mean": float(distance.mean()), "p95": float(np.percentile(distance, 95)), "max": float(distance.max())}


def offset_voxels(grid: Grid, reference: Grid) -> float:
    """Largest distance between corresponding corners of two grids, in the smallest voxel side of the reference.

    Infinite where the shapes differ.
    """
    if grid.shape != reference.shape:
        return float("inf")
    corners = np.array([(*corner, 1) for corner in product(*[(0, size - 1) for size in reference.shape[::-1]])])
    distance = np.linalg.norm((corners @ (grid.ijk_to_ras - reference.ijk_to_ras).T)[:, :3], axis=1)
    return float(distance.max() / min(reference.spacing))


def content_shift_voxels(found: np.ndarray, reference: np.ndarray) -> float:
    """By how many voxels `found` (K, J, I) must be shifted to fit `reference` best, by their cross-correlation.

    A parabola through the three values along each axis finds the maximum between voxels. Infinite where one of the
    arrays is constant.
    """
    first, second = (array.astype(np.float32) - np.float32(array.mean()) for array in (found, reference))
    if not (first.any() and second.any()):
        return float("inf")
    spectrum = np.conj(np.fft.rfftn(first)) * np.fft.rfftn(second)
    correlation = np.fft.irfftn(spectrum, s=first.shape, axes=(0, 1, 2))
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    shift = []
    for axis, at in enumerate(peak):
        size = correlation.shape[axis]
        below, top, above = np.take(correlation[_line(peak, axis)], [at - 1, at, at + 1], mode="wrap")
        curvature = below - 2 * top + above
        between = 0.5 * (below - above) / curvature if curvature < 0 else 0.0
        shift.append((at + size // 2) % size - size // 2 + between)
    return float(np.linalg.norm(shift))


def _line(index: tuple, axis: int) -> tuple:
    """Index of the line through a voxel along an axis."""
    return tuple(slice(None) if each == axis else at for each, at in enumerate(index))


def edges(voxels: np.ndarray) -> np.ndarray:
    """(K, J, I) size of the intensity gradient: the same places in images of different contrast."""
    return np.sqrt(sum(np.gradient(voxels.astype(np.float32), axis=axis) ** 2 for axis in range(3)))


def sample_points(grid: Grid, mask: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(N, 3) RAS mm of up to `count` voxel centers inside the mask (K, J, I), the same for the same seed."""
    index = np.argwhere(mask)
    if len(index) > count:
        index = index[np.random.default_rng(seed).choice(len(index), count, replace=False)]
    return index[:, ::-1] @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
