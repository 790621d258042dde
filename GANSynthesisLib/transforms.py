"""Spatial transforms: a matrix and a displacement field, in RAS millimeters, from fixed points to moving points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.files import replaced_whole
from GANSynthesisLib.grid import LPS_FROM_RAS, Grid, VolumeError
from GANSynthesisLib.volumes import Volume, resample

_LPS = np.array([-1.0, -1.0, 1.0])  # sign of x, y, z between RAS and LPS
TRANSFORM_ENDINGS = (".h5", ".tfm")


@dataclass(frozen=True, eq=False)
class SpatialTransform:
    """Maps fixed points to moving points, RAS mm: x -> matrix @ (x + u(x)).

    `displacement` (3, K, J, I) float32 is u in mm, components x, y, z, on `grid`; linear in between, continued from
    the edge outside. None for a purely linear transform.
    """

    matrix: np.ndarray
    displacement: np.ndarray | None = None
    grid: Grid | None = None

    def __post_init__(self):
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise ValueError("the matrix of a transform must be 4 by 4, finite and invertible")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)
        if self.displacement is None:
            return
        if self.grid is None:
            raise ValueError("a displacement field needs the grid on which it is sampled")
        field = np.asarray(self.displacement, dtype=np.float32)
        if field.shape != (3, *self.grid.shape):
            raise ValueError(f"a displacement field on {self.grid.shape} has shape (3, K, J, I), not {field.shape}")
        if not np.isfinite(field).all():
            raise ValueError("the displacement field holds NaN or infinite values")
        object.__setattr__(self, "displacement", field)

    @staticmethod
    def translation(offset) -> SpatialTransform:
        """x -> x + offset, (3,) in RAS mm."""
        matrix = np.eye(4)
        matrix[:3, 3] = offset
        return SpatialTransform(matrix)

    def points(self, points) -> np.ndarray:
        """(N, 3) fixed points to (N, 3) moving points, RAS mm."""
        points = np.asarray(points, dtype=np.float64)
        return (points + self._u(points)) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse_points(self, points, tolerance=1e-4, iterations=200) -> np.ndarray:
        """(N, 3) moving points to (N, 3) fixed points, RAS mm, by fixed-point iteration (Chen et al. 2008).

        Exact to `tolerance` mm where the field does not fold.
        """
        inverse = np.linalg.inv(self.matrix)
        target = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        found = target.copy()
        for _ in range(iterations if self.displacement is not None else 0):
            step = target - self._u(found) - found
            found += step
            if step.size == 0 or np.abs(step).max() < tolerance:
                break
        return found

    def _u(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) displacement in mm at (N, 3) RAS points: trilinear, clamped to the edge."""
        if self.displacement is None:
            return np.zeros_like(points)
        to_index = np.linalg.inv(self.grid.ijk_to_ras)
        last = np.array(self.grid.shape[::-1]) - 1
        index = np.clip(points @ to_index[:3, :3].T + to_index[:3, 3], 0, last)
        low = np.minimum(index.astype(np.int64), np.maximum(last - 1, 0))
        high, part = np.minimum(low + 1, last), index - low
        field, result = self.displacement, np.zeros_like(points)
        for corner in product((0, 1), repeat=3):
            i, j, k = np.where(corner, high, low).T
            weight = np.where(corner, part, 1 - part).prod(axis=1)
            result += weight[:, None] * field[:, k, j, i].T
        return result

    def to_sitk(self) -> sitk.Transform:
        """SimpleITK transform of LPS points, fixed to moving: displacement first, then the matrix.

        Outside its grid SimpleITK takes the displacement as zero.
        """
        matrix = LPS_FROM_RAS @ self.matrix @ LPS_FROM_RAS
        linear = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
        if self.displacement is None:
            return linear
        grid, components = self.grid.regular(), self.displacement
        if grid is not self.grid:  # the axes of a field in SimpleITK are orthogonal
            components = [resample(Volume(c, self.grid.ijk_to_ras), grid, fill=0).voxels for c in components]
        vectors = np.stack([c * sign for c, sign in zip(components, _LPS, strict=True)], axis=-1).astype(np.float64)
        image = sitk.GetImageFromArray(vectors, isVector=True)
        image.SetOrigin((grid.ijk_to_ras[:3, 3] * _LPS).tolist())
        image.SetSpacing(grid.spacing)
        image.SetDirection((grid.directions * _LPS[:, None]).ravel().tolist())
        both = sitk.CompositeTransform(3)  # the transform added last is applied first
        both.AddTransform(linear)
        both.AddTransform(sitk.DisplacementFieldTransform(image))
        return both

    def total_displacement(self, grid: Grid) -> np.ndarray:
        """(3, K, J, I) float32: where the whole map takes each point of `grid`, minus the point, in RAS mm."""
        if self.displacement is not None and np.array_equal(self.matrix, np.eye(4)) and grid.same_as(self.grid):
            return self.displacement
        points = grid.points().reshape(-1, 3)
        total = np.empty((len(points), 3), np.float32)
        for start in range(0, len(points), 1 << 18):  # bounded memory
            part = slice(start, start + (1 << 18))
            total[part] = self.points(points[part]) - points[part]
        return np.ascontiguousarray(total.T.reshape(3, *grid.shape))

    def as_field(self) -> SpatialTransform:
        """The whole map as one displacement on its grid, which is how MRML holds it; a linear one as it is."""
        if self.displacement is None:
            return self
        grid = self.grid.regular()
        return SpatialTransform(np.eye(4), self.total_displacement(grid), grid)

    def jacobian_determinant(self) -> np.ndarray:
        """(K, J, I) float32: local volume change of the whole map on its grid; (1, 1, 1) without a grid."""
        linear = np.linalg.det(self.matrix[:3, :3])
        if self.displacement is None:
            return np.full(self.grid.shape if self.grid else (1, 1, 1), linear, np.float32)
        gradient = np.zeros((3, 3, *self.grid.shape), np.float32)  # du/d(i, j, k)
        for axis, size in enumerate(self.grid.shape[::-1]):
            if size > 1:
                gradient[:, axis] = np.gradient(self.displacement, axis=3 - axis)
        to_index = np.linalg.inv(self.grid.ijk_to_ras[:3, :3])
        jacobian = np.einsum("canml,ab->nmlcb", gradient, to_index) + np.eye(3)
        return (np.linalg.det(jacobian) * linear).astype(np.float32)

    def folding_fraction(self) -> float:
        """Fraction of the grid where the map is not one-to-one (Jacobian determinant not positive)."""
        return float(np.mean(self.jacobian_determinant() <= 0))


def write_transform(transform: SpatialTransform, path) -> None:
    """Write `transform` (LPS, fixed to moving points) for SimpleITK, ITK and Slicer; the file appears whole or not."""
    path = Path(path)
    if path.suffix.lower() not in TRANSFORM_ENDINGS:
        raise VolumeError(f"The transform '{path.name}' cannot be written: choose a name that ends in .h5 or .tfm.")
    try:
        with replaced_whole(path) as temporary:
            sitk.WriteTransform(transform.to_sitk(), str(temporary))
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"The transform '{path}' cannot be written: check the folder and its free space.") from error


def read_transform(path) -> SpatialTransform:
    """Transform from a file with linear parts and at most one displacement field; VolumeError otherwise."""
    path = Path(path)
    if not path.is_file():
        raise VolumeError(f"The transform '{path}' does not exist: check the path.")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise VolumeError(
            f"The transform '{path.name}' cannot be read: give an undamaged .h5, .tfm or .txt transform file."
        ) from error
    before, field, after = np.eye(4), None, np.eye(4)  # fixed point -> before -> field -> after
    for part in reversed(_parts(transform)):
        if part.GetTransformEnum() == sitk.sitkDisplacementField and field is None:
            field = sitk.DisplacementFieldTransform(part).GetDisplacementField()
        elif part.IsLinear():
            if field is None:
                before = _matrix(part) @ before
            else:
                after = _matrix(part) @ after
        else:
            raise VolumeError(
                f"The transform '{path.name}' holds a {part.GetName()} that cannot be combined: "
                "convert it to one displacement field first (in Slicer: Transforms, Convert)."
            )
    if field is None:
        return SpatialTransform(before)
    # after(before x + u(before x)) = (after before)(x + before^-1 u): the same field on a grid taken back by `before`.
    back = np.linalg.inv(before)
    vectors = np.moveaxis(sitk.GetArrayFromImage(field), -1, 0) * _LPS[:, None, None, None]
    directions = np.array(field.GetDirection()).reshape(3, 3) * _LPS[:, None]
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.array(field.GetSpacing())
    matrix[:3, 3] = np.array(field.GetOrigin()) * _LPS
    displacement = np.einsum("ab,bkji->akji", back[:3, :3], vectors)
    return SpatialTransform(after @ before, displacement, Grid(vectors.shape[1:], back @ matrix))


def _parts(transform: sitk.Transform) -> list[sitk.Transform]:
    """The simple transforms of a possibly nested composite, in the order in which they were added."""
    transform = transform.Downcast()
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform]
    children = [transform.GetNthTransform(n) for n in range(transform.GetNumberOfTransforms())]
    return [part for child in children for part in _parts(child)]


def _matrix(linear: sitk.Transform) -> np.ndarray:
    """(4, 4) RAS matrix of a linear SimpleITK transform."""
    origin = np.array(linear.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([np.array(linear.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()])
    matrix[:3, 3] = origin
    return LPS_FROM_RAS @ matrix @ LPS_FROM_RAS
