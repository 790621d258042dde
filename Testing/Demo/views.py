"""Slices of volumes as radiologists look at them: patient's right on the viewer's left, anterior or superior up."""

from dataclasses import dataclass

import numpy as np

# Plane -> array axis that is cut, and the letters at the left, right, top and bottom edge of the picture.
PLANES = {"axial": (0, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (2, "APSI")}


@dataclass(frozen=True)
class View:
    """One slice plane through canonical arrays (K, J, I), whose i, j, k run to R, A, S, cropped to a box.

    plane: "axial", "coronal" or "sagittal". index: of the slice. box: first and last index along k, j, i.
    spacing: (i, j, k) mm. Pictures are (rows, columns), the first row at the bottom, the first column at the left.
    """

    plane: str
    index: int
    box: tuple[tuple[int, int], ...]
    spacing: tuple[float, float, float]

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The slice of an array (K, J, I)."""
        axis, _ = PLANES[self.plane]
        window = [slice(first, last + 1) for first, last in self.box]
        window[axis] = self.index
        return array[tuple(window)][:, ::-1]  # R to L, and A to P, go from left to right

    @property
    def letters(self) -> str:
        """What lies at the left, right, top and bottom edge."""
        return PLANES[self.plane][1]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of the picture."""
        axis, _ = PLANES[self.plane]
        sides = [(last - first + 1) * step for (first, last), step in zip(self.box, self.spacing[::-1], strict=True)]
        height, width = (side for at, side in enumerate(sides) if at != axis)
        return width, height

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top in mm from the lower left corner."""
        width, height = self.size_mm
        return 0.0, width, 0.0, height

    def lattice(self, every_mm: float) -> np.ndarray:
        """(rows, columns, 3): array indices (i, j, k) of points in the slice, `every_mm` apart."""
        axis, _ = PLANES[self.plane]
        steps = [np.arange(first, last + 1e-6, every_mm / step) for (first, last), step in
                 zip(self.box, self.spacing[::-1], strict=True)]  # fmt: skip
        steps[axis] = np.array([float(self.index)])
        k, j, i = np.meshgrid(*steps, indexing="ij")
        return np.take(np.stack([i, j, k], -1), 0, axis)

    def place(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal and vertical place in the picture, mm, of array indices (…, 3) as (i, j, k)."""
        axis, _ = PLANES[self.plane]
        across, up = {0: (0, 1), 1: (0, 2), 2: (1, 2)}[axis]
        width, _ = self.size_mm
        first = [self.box[2 - each][0] for each in range(3)]
        horizontal = width - (index[..., across] - first[across] + 0.5) * self.spacing[across]
        return horizontal, (index[..., up] - first[up] + 0.5) * self.spacing[up]


def box_around(mask: np.ndarray, margin: int) -> tuple[tuple[int, int], ...]:
    """First and last index along k, j, i of the mask, with a margin of voxels inside the array."""
    ends = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(each for each in range(3) if each != axis)))
        ends.append((max(int(inside[0]) - margin, 0), min(int(inside[-1]) + margin, mask.shape[axis] - 1)))
    return tuple(ends)


def checkerboard(first: np.ndarray, second: np.ndarray, tile: int) -> np.ndarray:
    """Squares of `tile` pixels of two pictures by turns."""
    rows, columns = np.indices(first.shape) // tile
    return np.where((rows + columns) % 2 == 0, first, second)
