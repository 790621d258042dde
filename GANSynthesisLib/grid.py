"""Voxel grids in RAS millimeters: where voxels are, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class VolumeError(ValueError):
    """A volume cannot be used: one sentence that names the volume, the problem and the remedy."""


class VolumeWarning(UserWarning):
    """A volume was changed, or is doubtful, in a way that its user should know."""


def frozen_matrix(matrix) -> np.ndarray:
    matrix = np.array(matrix, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise VolumeError(f"a voxel-to-world matrix must be 4 by 4, not {matrix.shape}: give the ijk-to-RAS matrix")
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels are: `shape` (K, J, I), and `ijk_to_ras` (4, 4) from index (i, j, k, 1) to the center in RAS mm."""

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "ijk_to_ras", frozen_matrix(self.ijk_to_ras))

    @staticmethod
    def centred(centre_ras, shape, spacing, directions=None) -> Grid:
        """Grid of `shape` (K, J, I) and `spacing` (i, j, k) mm whose center is at `centre_ras` mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = (np.eye(3) if directions is None else np.asarray(directions)) * np.asarray(spacing, float)
        matrix[:3, 3] = np.asarray(centre_ras, float) - matrix[:3, :3] @ (np.asarray(shape[::-1], float) - 1) / 2
        return Grid(shape, matrix)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighboring voxel centers along i, j, k in mm."""
        return tuple(float(s) for s in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    @property
    def directions(self) -> np.ndarray:
        """(3, 3): the columns are the unit vectors of i, j, k in RAS."""
        return self.ijk_to_ras[:3, :3] / np.asarray(self.spacing)

    @property
    def centre_ras(self) -> np.ndarray:
        """(3,): center of the field of view in RAS mm."""
        return self.ijk_to_ras[:3, :3] @ ((np.asarray(self.shape[::-1]) - 1) / 2) + self.ijk_to_ras[:3, 3]

    @property
    def size_mm(self) -> tuple[float, float, float]:
        """Extent from voxel edge to voxel edge along i, j, k in mm."""
        return tuple(n * s for n, s in zip(self.shape[::-1], self.spacing, strict=True))

    def canonical(self) -> Grid:
        """The same voxels with axes permuted and flipped so that i, j, k run nearest to R, A, S.

        Depends only on where the voxels are, never on the order in which they are stored.
        """
        directions, origin = self.directions, self.ijk_to_ras @ [0, 0, 0, 1]
        choices = []
        for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
            turned = directions[:, axes] * signs
            # Ties (a volume at exactly 45 degrees) are settled by the directions themselves.
            choices.append((round(float(np.trace(turned)), 6), tuple(np.round(turned, 6).ravel() + 0.0), axes, signs))
        *_, axes, signs = max(choices)
        size = self.shape[::-1]
        start = np.zeros(4)
        for axis, sign in zip(axes, signs, strict=True):
            start[axis] = size[axis] - 1 if sign < 0 else 0
        matrix = np.eye(4)
        matrix[:3, :3] = self.ijk_to_ras[:3, list(axes)] * signs
        matrix[:3, 3] = (origin + self.ijk_to_ras @ start)[:3]
        return Grid(tuple(size[axis] for axis in axes)[::-1], matrix)

    def is_regular(self, tolerance=1e-3) -> bool:
        """Whether the axes are orthogonal (a gantry tilt or a shearing parent transform makes them not so)."""
        gram = self.directions.T @ self.directions
        return bool(np.abs(gram - np.eye(3)).max() < tolerance)

    def regular(self) -> Grid:
        """This grid if its axes are orthogonal, else the nearest orthogonal grid that covers it, same spacing."""
        if self.is_regular():
            return self
        left, _, right = np.linalg.svd(self.directions)  # polar decomposition: no axis is preferred
        directions, spacing = left @ right, np.asarray(self.spacing)
        edges = np.array(list(product(*[(-0.5, n - 0.5) for n in self.shape[::-1]])))
        corners = (edges @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]) @ directions
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = np.maximum(np.ceil((high - low) / spacing - 1e-6), 1).astype(int)
        return Grid.centred(directions @ ((low + high) / 2), tuple(size[::-1]), spacing, directions)

    def with_spacing(self, spacing) -> Grid:
        """The same field of view (within one voxel, never less) and center with `spacing` (i, j, k) in mm.

        `None`, or None for an axis, keeps what is there. An axis with a single voxel keeps its spacing too: a single
        slice stays a single slice, because its thickness says nothing about its neighbors.
        """
        if spacing is None:
            return self
        old = np.asarray(self.spacing)
        wanted = zip(spacing, old, self.shape[::-1], strict=True)
        new = np.array([o if s is None or n == 1 else s for s, o, n in wanted])
        if not np.all(np.isfinite(new) & (new > 0)):
            raise ValueError(f"spacing must be positive millimeters, not {tuple(spacing)}")
        if np.allclose(new, old, rtol=1e-5, atol=0):
            return self
        size = np.maximum(np.ceil(np.asarray(self.size_mm) / new - 1e-3), 1).astype(int)
        return Grid.centred(self.centre_ras, tuple(size[::-1]), new, self.directions)

    def points(self) -> np.ndarray:
        """(K, J, I, 3): RAS mm of every voxel center."""
        k, j, i = np.indices(self.shape, dtype=np.float64)
        return np.stack([i, j, k], axis=-1) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def same_as(self, other: Grid, tolerance=1e-3) -> bool:
        """Whether both have the same shape and no voxel is further than `tolerance` mm from its counterpart."""
        if self.shape != other.shape:
            return False
        corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in self.shape[::-1]])])
        offsets = corners @ (self.ijk_to_ras - other.ijk_to_ras).T
        # An axis with one voxel has no second corner: compare the step itself.
        steps = (self.ijk_to_ras - other.ijk_to_ras)[:3, :3]
        return bool(max(np.linalg.norm(offsets, axis=1).max(), np.abs(steps).max()) < tolerance)
