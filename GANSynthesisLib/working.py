"""The working grid of a system: from the volumes of a case to the arrays its networks see, in training and in use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from GANSynthesisLib.card import Port
from GANSynthesisLib.volumes import (
    Grid,
    Intensity,
    IntensityRange,
    Preparation,
    Volume,
    VolumeError,
    body_mask,
    check_volume,
    prepare,
    resample,
)


def parse_range(text: str) -> IntensityRange:
    """`percentile:0.5:99.5`, `median:0:3`, `window:0:255`, `hounsfield` or `as_is` as IntensityRange."""
    kind, *bounds = text.split(":")
    try:
        numbers = [float(bound) for bound in bounds]
    except ValueError:
        numbers = [0.0]
    if len(numbers) not in (0, 2):
        raise ValueError(f"the intensity range '{text}' must be a kind, or KIND:LOW:HIGH with two numbers.")
    return IntensityRange(kind, *numbers)


def intensity_range(port: Port) -> IntensityRange:
    """The range that an input of a card gives to its images."""
    return IntensityRange(**port.intensity) if port.intensity else IntensityRange()


def output_intensity(port: Port) -> Intensity:
    """What [−1, 1] of an output stands for; a card may leave it out, and then the values are left as they are."""
    return Intensity(port.intensity.get("lower", -1.0), port.intensity.get("upper", 1.0))


def parse_spacing(spacing: tuple[float, ...], context: str) -> tuple[float | None, ...] | None:
    """Working voxel size (i, j, k) from a setting: 0 keeps the image's own; one number leaves 2D slices apart."""
    if not any(spacing):
        return None
    if len(spacing) == 1:
        return (spacing[0], spacing[0], None if context == "2D" else spacing[0])
    if len(spacing) != 3:
        raise ValueError(f"spacing has {len(spacing)} numbers; give one, or three for the R, A and S axes.")
    return tuple(value or None for value in spacing)


def image_arrays(
    volumes: Mapping[str, Volume], ranges: Mapping[str, IntensityRange], spacing: tuple[float | None, ...] | None
) -> tuple[dict[str, np.ndarray], Preparation, dict[str, Intensity]]:
    """Images of one anatomy on the working grid of the first: role -> float32 (D, H, W) in [−1, 1], the way back, and
    role -> what −1 … 1 stands for.

    Raises VolumeError where a volume cannot be used or does not overlap with the first.
    """
    first, *others = volumes
    array, preparation = prepare(volumes[first], spacing, ranges[first])
    arrays, intensities = {first: array}, {first: preparation.intensity}
    for role in others:
        volume = volumes[role]
        check_volume(volume, role)
        _check_overlap(volume, preparation.working, volumes[first].name)
        intensities[role] = ranges[role].measure(volume)
        arrays[role] = intensities[role].normalize(resample(volume, preparation.working).voxels)
    return arrays, preparation, intensities


def label_array(labels: Volume, working: Grid) -> np.ndarray:
    """Label values on a working grid, float32 (D, H, W) of whole numbers."""
    return resample(labels, working, "nearest", fill=0).voxels.astype(np.float32)


def foreground(volume: Volume, working: Grid) -> np.ndarray:
    """Body mask of a volume on a working grid, bool (D, H, W).

    The nearest voxel is no answer: often two are equally near, and which one wins depends on the order of the axes.
    """
    mask = body_mask(volume)
    if volume.grid.same_as(working):
        return mask
    return resample(volume.with_voxels(mask.astype(np.float32), label_names={}), working, fill=0).voxels > 0.49


def _check_overlap(volume: Volume, working: Grid, first_name: str) -> None:
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])

    def box(grid: Grid) -> np.ndarray:
        scaled = corners * [*(np.array(grid.shape[::-1]) - 1), 1]
        return scaled @ grid.ijk_to_ras.T[:, :3]

    a, b = box(volume.grid), box(working)
    if (a.max(0) < b.min(0)).any() or (b.max(0) < a.min(0)).any():
        raise VolumeError(
            f"The volume '{volume.name}' does not overlap with '{first_name}' in space: register them, or choose "
            "images of the same examination."
        )


@dataclasses.dataclass(frozen=True)
class CenteredPair:
    """A fixed and a moving image on working grids, each around its own center and along its own axes.

    arrays: `fixed` and `moving`, float32 (D, H, W) in [−1, 1]. A map between centered millimeters, which run along the
    axes of the grids, becomes a map of the world through the two poses.
    """

    arrays: dict[str, np.ndarray]
    fixed_grid: Grid
    moving_grid: Grid

    def world_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """(4, 4) from fixed to moving points in RAS mm, from one between centered millimeters."""
        return self.moving_pose @ matrix @ np.linalg.inv(_pose(self.fixed_grid))

    @property
    def moving_pose(self) -> np.ndarray:
        """(4, 4) from millimeters of the moving grid to RAS mm."""
        return _pose(self.moving_grid)

    def world_displacement(self, displacement: np.ndarray) -> np.ndarray:
        """(3, D, H, W) displacement of fixed points along R, A, S, from one along the axes of the fixed grid."""
        return np.einsum("ab,bkji->akji", self.fixed_grid.directions, displacement)


def _pose(grid: Grid) -> np.ndarray:
    """(4, 4) from millimeters around the center and along the axes of a grid to RAS mm."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = grid.directions, grid.centre_ras
    return pose


def centered_pair(
    fixed: Volume,
    moving: Volume,
    *,
    shape: tuple[int, int, int],
    spacing: float,
    ranges: Mapping[str, IntensityRange],
    start: str = "center",
    axes: str = "world",
    same_place: bool = False,
) -> CenteredPair:
    """Two volumes on grids of `shape` and isotropic `spacing` mm. `same_place` lays both on the fixed volume's.

    axes: `world`, or `image` for those of each volume that run nearest to R, A, S. Images that were never in one world
    keep the anatomy's directions in their own axes, however far apart their poses are.
    """
    for role, volume in (("fixed", fixed), ("moving", moving)):
        check_volume(volume, role)

    def grid_of(volume: Volume) -> Grid:
        directions = volume.grid.canonical().regular().directions if axes == "image" else None
        return Grid.centred(center_of(volume, start), shape, (spacing,) * 3, directions)

    grids = {"fixed": grid_of(fixed), "moving": grid_of(fixed if same_place else moving)}
    arrays = {}
    for role, volume in (("fixed", fixed), ("moving", moving)):
        intensity: Intensity = ranges[role].measure(volume)
        lowest = float(min(intensity.lower, volume.voxels.min()))
        arrays[role] = intensity.normalize(resample(volume, grids[role], fill=lowest).voxels)
    return CenteredPair(arrays, grids["fixed"], grids["moving"])


def center_of(volume: Volume, start: str) -> np.ndarray:
    """Center in RAS mm: of the image, or of its foreground."""
    if start == "center":
        return volume.grid.centre_ras
    at = np.argwhere(body_mask(volume)).mean(0)[::-1]
    return (volume.ijk_to_ras @ np.append(at, 1.0))[:3]
