"""Volumes in space: voxels and their geometry, intensity ranges, resampling, and the recorded way in and back.

Arrays are indexed (K, J, I); grid matrices map (i, j, k, 1) to RAS millimeters. `prepare` takes a volume to the axes,
spacing and range that a network expects and records the way; `Preparation.back` inverts that record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.grid import LPS_FROM_RAS, Grid, VolumeError, VolumeWarning, frozen_matrix
from GANSynthesisLib.intensity import Intensity, IntensityRange, foreground

if TYPE_CHECKING:
    from GANSynthesisLib.transforms import SpatialTransform

__all__ = [
    "Grid",
    "Intensity",
    "IntensityRange",
    "Preparation",
    "Volume",
    "VolumeError",
    "VolumeWarning",
    "body_mask",
    "check_volume",
    "describe",
    "prepare",
    "resample",
]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels in space: `voxels` (K, J, I), `ijk_to_ras` (4, 4) to RAS mm.

    `unit` is the unit of the values ("HU"; "" where they are arbitrary); `label_names` (value to name) makes it a
    label volume.
    """

    voxels: np.ndarray
    ijk_to_ras: np.ndarray = field(default_factory=lambda: np.eye(4))
    unit: str = ""
    name: str = ""
    label_names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "voxels", np.asarray(self.voxels))
        object.__setattr__(self, "ijk_to_ras", frozen_matrix(self.ijk_to_ras))

    @property
    def grid(self) -> Grid:
        return Grid(self.shape, self.ijk_to_ras)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.voxels.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        return self.grid.spacing

    def canonical(self) -> Volume:
        """The same voxels, reordered so that i, j, k run nearest to R, A, S."""
        return resample(self, self.grid.canonical())

    def with_voxels(self, voxels, **changes) -> Volume:
        """The same volume with other voxels, and whatever else `changes` names."""
        return replace(self, voxels=voxels, **changes)


def describe(volume: Volume, role: str = "") -> str:
    """How sentences name a volume: its role and its name."""
    words = [role, "volume"] if role else ["volume"]
    return "the " + " ".join(words) + (f" '{volume.name}'" if volume.name else "")


def check_volume(volume: Volume, role: str = "") -> None:
    """Raise VolumeError unless `volume` is a usable single-channel 3D image (one slice is enough)."""
    voxels, who = volume.voxels, "T" + describe(volume, role)[1:]
    if voxels.ndim != 3:
        raise VolumeError(
            f"{who} has {voxels.ndim} array dimensions (shape {voxels.shape}) where 3 are needed: "
            "choose a single-channel 3D volume, or extract one channel or time point first."
        )
    if voxels.size == 0:
        raise VolumeError(f"{who} has no voxels (shape {voxels.shape}): load or choose a volume that holds an image.")
    if voxels.dtype.kind not in "buif":
        raise VolumeError(f"{who} holds {voxels.dtype} values: convert it to real numbers first.")
    matrix = volume.ijk_to_ras
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9 or min(volume.spacing) < 1e-6:
        raise VolumeError(
            f"{who} has a singular voxel-to-world matrix (two axes coincide or a spacing is zero): "
            "correct its spacing and axis directions."
        )
    low, high = voxels.min(), voxels.max()  # NaN and infinity both show in these two
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(voxels)))
        raise VolumeError(f"{who} has {bad} voxels that are NaN or infinite: replace them by a background value.")
    if low == high:
        raise VolumeError(f"{who} has the same value {float(low):g} in every voxel: choose one that shows an image.")


# Resampling

_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}


def resample(
    volume: Volume,
    grid: Grid,
    interpolation: Literal["linear", "nearest", "cubic"] = "linear",
    fill: float | None = None,
    transform: SpatialTransform | None = None,
) -> Volume:
    """`volume` on `grid`; with `transform` (fixed to moving points), the moving `volume` warped onto the fixed `grid`.

    Works in index space, so that sheared and left-handed matrices need no special care. Where only the order or sense
    of the axes differs, voxels are moved and not interpolated. Linear and cubic return floating point values, after a
    Gaussian that suppresses aliasing where `grid` is coarser (Cardoso et al. 2015); nearest keeps the type. Outside
    the volume: `fill`, by default the volume's minimum, or 0 for labels.
    """
    if interpolation not in _INTERPOLATORS:
        raise ValueError(f"interpolation must be one of {', '.join(_INTERPOLATORS)}, not {interpolation!r}")
    if transform is None:
        moved = _reordered(volume, grid)
        if moved is not None:
            return moved
    fixed_to_moving = np.eye(4) if transform is None else transform.matrix
    index_map = np.linalg.inv(volume.ijk_to_ras) @ fixed_to_moving @ grid.ijk_to_ras
    voxels = volume.voxels
    if fill is None:
        is_label = bool(volume.label_names) or (interpolation == "nearest" and voxels.dtype.kind in "bui")
        fill = 0 if is_label and voxels.min() >= 0 else voxels.min()
    image, was_bool = _index_image(voxels, interpolation), voxels.dtype == bool
    if interpolation != "nearest":
        image = _without_aliasing(image, index_map)
    if transform is None:
        way = _affine(index_map)
    else:
        way = sitk.CompositeTransform(3)  # the transform added last is applied first
        way.AddTransform(_affine(np.linalg.inv(LPS_FROM_RAS @ volume.ijk_to_ras)))
        way.AddTransform(transform.to_sitk())
        way.AddTransform(_affine(LPS_FROM_RAS @ grid.ijk_to_ras))
    size = [int(n) for n in grid.shape[::-1]]
    interpolator = _INTERPOLATORS[interpolation]
    if interpolation == "cubic" and min(voxels.shape) < 4:
        interpolator = sitk.sitkLinear  # a cubic spline needs four samples
    result = sitk.Resample(image, size, way, interpolator, (0.0,) * 3, (1.0,) * 3, np.eye(3).ravel(), float(fill))
    array = sitk.GetArrayFromImage(result)
    return replace(volume, voxels=array.astype(bool) if was_bool else array, ijk_to_ras=grid.ijk_to_ras)


def _reordered(volume: Volume, grid: Grid) -> Volume | None:
    """`volume` with axes permuted and flipped to `grid`, or None where that is not all that differs."""
    index_map = np.linalg.inv(volume.ijk_to_ras) @ grid.ijk_to_ras
    turn = np.rint(index_map[:3, :3]).astype(int)
    if any(list(np.abs(turn).sum(axis=axis)) != [1, 1, 1] for axis in (0, 1)):
        return None
    source = [int(np.flatnonzero(turn[:, axis])[0]) for axis in range(3)]  # i, j, k of grid <- axis of volume
    size = volume.shape[::-1]
    if tuple(size[axis] for axis in source) != grid.shape[::-1]:
        return None
    exact = np.eye(4)
    exact[:3, :3] = turn
    exact[:3, 3] = [size[axis] - 1 if turn[axis].sum() < 0 else 0 for axis in range(3)]
    corners = np.array([(*c, 1) for c in product(*[(0, n - 1) for n in grid.shape[::-1]])])
    if np.abs((index_map - exact) @ corners.T).max() > 1e-3 or np.abs(index_map - exact)[:3, :3].max() > 1e-3:
        return None
    array = volume.voxels.transpose([2 - source[2 - axis] for axis in range(3)])
    flipped = [2 - axis for axis in range(3) if turn[source[axis], axis] < 0]
    array = np.ascontiguousarray(np.flip(array, flipped))
    return replace(volume, voxels=array, ijk_to_ras=grid.ijk_to_ras)


def _index_image(voxels: np.ndarray, interpolation: str) -> sitk.Image:
    """SimpleITK image in index space: identity directions, spacing 1, origin 0."""
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    if interpolation != "nearest" or voxels.dtype == np.float16:
        voxels = voxels.astype(np.float64 if voxels.dtype == np.float64 else np.float32, copy=False)
    return sitk.GetImageFromArray(np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("=")))


def _without_aliasing(image: sitk.Image, index_map: np.ndarray) -> sitk.Image:
    """Smooth along those axes of `image` on which one voxel is less than one step of the output."""
    steps = 1 / np.linalg.norm(np.linalg.inv(index_map[:3, :3]), axis=0)  # output steps, in voxels along each axis
    variance = np.maximum(steps**2 - 1, 0) / (8 * np.log(2))  # widths at half height add in squares
    variance[np.asarray(image.GetSize()) == 1] = 0
    if np.sqrt(variance.max()) < 0.1:
        return image
    width = 2 * int(np.ceil(4 * np.sqrt(variance.max()))) + 3
    return sitk.DiscreteGaussian(image, variance.tolist(), width, 0.001, False)


def _affine(matrix: np.ndarray) -> sitk.AffineTransform:
    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())


def body_mask(volume: Volume) -> np.ndarray:
    """(K, J, I) bool: what the image shows, without background.

    What lies above a threshold (-500 HU in CT, derived from minimum cross entropy elsewhere), its largest connected
    part, with the holes of every axial slice filled (lungs, sinuses). Where the border of the image is zero and hardly
    anything else lies outside (skull-stripped, masked), what is not zero, and what that encloses.
    """
    canonical = volume.canonical()
    mask = foreground(canonical.voxels)
    return resample(canonical.with_voxels(mask), volume.grid, "nearest").voxels


# The way in and back


@dataclass(frozen=True, eq=False)
class Preparation:
    """The recorded way in: from the `original` grid to the `working` grid, and the `intensity` range."""

    original: Grid
    working: Grid
    intensity: Intensity

    def back(
        self,
        array,
        name: str = "",
        unit: str = "",
        intensity: Intensity | None | Literal["recorded"] = "recorded",
        interpolation: str = "linear",
    ) -> Volume:
        """`array` (K, J, I) on the working grid, in [-1, 1], as a float32 volume on the original grid.

        `intensity` is what [-1, 1] stands for: the range measured on the way in unless another is given (a synthetic
        volume has the target's range); None leaves the values as they are.
        """
        scale = self.intensity if intensity == "recorded" else intensity
        array = self._on_working(array, 3)
        values = array.astype(np.float32) if scale is None else scale.denormalize(array)
        return resample(Volume(values, self.working.ijk_to_ras, unit, name), self.original, interpolation)

    def back_labels(self, probabilities, name: str = "", label_names: dict[int, str] | None = None) -> Volume:
        """Label volume on the original grid from class `probabilities` (C, K, J, I); channel c is label value c.

        Probabilities are resampled, then compared, so that borders stay smooth; uint8, or uint16 above 255 labels.
        """
        probabilities = self._on_working(probabilities, 4)
        if len(probabilities) < 2:
            raise ValueError("labels need at least two classes, background being the first")
        best = labels = None
        for value, channel in enumerate(probabilities):
            volume = Volume(np.asarray(channel, dtype=np.float32), self.working.ijk_to_ras)
            here = resample(volume, self.original).voxels
            if best is None:
                best = here.copy()
                labels = np.zeros(here.shape, np.uint8 if len(probabilities) <= 256 else np.uint16)
            else:
                better = here > best
                labels[better], best[better] = value, here[better]
        return Volume(labels, self.original.ijk_to_ras, "", name, dict(label_names or {}))

    def _on_working(self, array, dimensions: int) -> np.ndarray:
        array = np.asarray(array)
        if array.ndim != dimensions or array.shape[-3:] != self.working.shape:
            raise ValueError(f"expected voxels on the working grid {self.working.shape}, got shape {array.shape}")
        return array


def prepare(volume: Volume, spacing, intensity_range: IntensityRange) -> tuple[np.ndarray, Preparation]:
    """`volume` for a network: float32 (K, J, I) in [-1, 1] on canonical axes, and the record that leads back.

    `spacing` in mm along canonical i, j, k (None, or None for an axis, keeps the volume's own). Every order and sense
    of the axes of one volume gives the same array. VolumeError if the volume cannot be used (`check_volume`).
    """
    check_volume(volume)
    canonical = volume.canonical()
    intensity = intensity_range.measure(canonical)
    working = canonical.grid.regular().with_spacing(spacing)
    array = intensity.normalize(resample(canonical, working).voxels)
    return array, Preparation(volume.grid, working, intensity)
