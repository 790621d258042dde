"""MR and transrectal ultrasound of one prostate, with gland and landmarks, and how well a transform aligns them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import LeftOut

from GANSynthesisLib.evaluation import center_of_mass, dice, hausdorff_95, landmark_errors_mm
from GANSynthesisLib.files import read_channels, read_volume
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume, resample

FOLDER = "mr_trus_prostate"


@dataclass(frozen=True, eq=False)
class ProstatePair:
    """Ultrasound (fixed) and MR (moving): images, soft gland masks, landmark centers (N, 3) in RAS mm in one order."""

    name: str
    fixed: Volume
    moving: Volume
    fixed_gland: Volume
    moving_gland: Volume
    fixed_landmarks: np.ndarray
    moving_landmarks: np.ndarray


def read_pair(folder: Path, name: str) -> ProstatePair:
    """Landmarks that either label file leaves empty are left out. Raises LeftOut where a file is missing."""
    files = {part: folder / part / f"{name}.nii.gz" for part in
             ("fixed_images", "moving_images", "fixed_labels", "moving_labels")}
    for path in files.values():
        if not path.is_file():
            raise LeftOut(f"the file {path} is missing")
    fixed_gland, *fixed_marks = read_channels(files["fixed_labels"])
    moving_gland, *moving_marks = read_channels(files["moving_labels"])
    marks = [pair for pair in zip(fixed_marks, moving_marks, strict=True) if all(m.voxels.any() for m in pair)]
    fixed_centers, moving_centers = (np.array([center(each) for each in side]).reshape(-1, 3)
                                     for side in (list(zip(*marks, strict=True)) or [(), ()]))
    return ProstatePair(name, read_volume(files["fixed_images"]), read_volume(files["moving_images"]),
                        fixed_gland, moving_gland, fixed_centers, moving_centers)


def center(mask: Volume) -> np.ndarray:
    """(3,) RAS mm."""
    return center_of_mass(mask.voxels, mask.ijk_to_ras)


def image_centers(pair: ProstatePair) -> SpatialTransform:
    """The translation that lays the middle of the moving image on that of the fixed one."""
    return _translation(pair.moving.grid.centre_ras - pair.fixed.grid.centre_ras)


def gland_centers(pair: ProstatePair) -> SpatialTransform:
    """The translation that lays the center of the moving gland on that of the fixed one."""
    return _translation(center(pair.moving_gland) - center(pair.fixed_gland))


def _translation(offset: np.ndarray) -> SpatialTransform:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return SpatialTransform(matrix)


@dataclass(frozen=True, eq=False)
class Alignment:
    """What a transform makes of a pair: Dice and HD95 of the gland, landmark errors (N,) in mm, folding, seconds."""

    dice: float
    hausdorff_mm: float
    landmarks_fixed_mm: np.ndarray
    landmarks_moving_mm: np.ndarray
    folding: float
    seconds: float


def alignment(pair: ProstatePair, transform: SpatialTransform, seconds: float = 0.0) -> Alignment:
    """How well `transform` (fixed to moving points) aligns a pair.

    The gland: the moving mask resampled to the fixed grid and cut at 0.5. Landmark errors twice: in fixed space, the
    moving centers brought there by the inverse transform; in moving space, the fixed centers brought there.
    """
    warped = resample(pair.moving_gland, pair.fixed_gland.grid, fill=0, transform=transform).voxels >= 0.5
    gland = pair.fixed_gland.voxels >= 0.5
    return Alignment(
        dice=dice(warped, gland)[1],
        hausdorff_mm=hausdorff_95(warped, gland, pair.fixed_gland.spacing),
        landmarks_fixed_mm=landmark_errors_mm(transform.inverse_points(pair.moving_landmarks), pair.fixed_landmarks),
        landmarks_moving_mm=landmark_errors_mm(transform.points(pair.fixed_landmarks), pair.moving_landmarks),
        folding=transform.folding_fraction(),
        seconds=seconds,
    )
