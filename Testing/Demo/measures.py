"""What the demonstration measures, and the checks that its numbers must pass."""

from dataclasses import asdict, dataclass, field
from itertools import product

import numpy as np

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


def dice(found: np.ndarray, reference: np.ndarray) -> float:
    """Overlap of two bool arrays, 0 to 1 (Dice 1945); 1 where both are empty."""
    total = int(found.sum()) + int(reference.sum())
    return 2.0 * int((found & reference).sum()) / total if total else 1.0


def medians(voxels: np.ndarray, regions: dict[str, np.ndarray]) -> dict[str, float]:
    """Region name -> median intensity in it."""
    return {name: float(np.median(voxels[region])) for name, region in regions.items()}


def error_mm(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean, 95th percentile and largest distance in mm between points (N, 3) and where they truly are."""
    distance = np.linalg.norm(np.asarray(found) - np.asarray(truth), axis=1)
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
    """Distance between the centers of two bool arrays (K, J, I), in voxels: shows a flip, a shift or a crop."""
    if not (found.any() and reference.any()):
        return float("inf")
    return float(np.linalg.norm(np.argwhere(found).mean(0) - np.argwhere(reference).mean(0)))


def sample_points(grid: Grid, mask: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(N, 3) RAS mm of up to `count` voxel centers inside the mask (K, J, I), the same for the same seed."""
    index = np.argwhere(mask)
    if len(index) > count:
        index = index[np.random.default_rng(seed).choice(len(index), count, replace=False)]
    return index[:, ::-1] @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
