"""How well registrations align labeled pairs: overlap of a gland or organ, landmark errors, folding, time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.evaluation.metrics import center_of_mass, dice, hausdorff_95, landmark_errors_mm
from GANSynthesisLib.files import read_channels, read_volume
from GANSynthesisLib.inference import apply_model, qualities
from GANSynthesisLib.models import Model
from GANSynthesisLib.training.cases import Case, DataError, find_cases
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume, resample

IMAGES, LABELS = ("fixed", "moving"), ("fixed_labels", "moving_labels")


@dataclass(frozen=True, eq=False)
class LabeledPair:
    """Two images of one anatomy, a soft mask of one structure in each, and landmark centers (N, 3) in RAS mm in one
    order."""

    name: str
    fixed: Volume
    moving: Volume
    fixed_mask: Volume
    moving_mask: Volume
    fixed_landmarks: np.ndarray
    moving_landmarks: np.ndarray

    def start(self, pose: np.ndarray) -> LabeledPair:
        """The pair with everything that belongs to the moving image moved by `pose`, (4, 4) in RAS mm."""
        moving, mask = (replace(each, ijk_to_ras=pose @ each.ijk_to_ras) for each in (self.moving, self.moving_mask))
        landmarks = self.moving_landmarks @ pose[:3, :3].T + pose[:3, 3]
        return replace(self, moving=moving, moving_mask=mask, moving_landmarks=landmarks)


def find_labeled_pairs(data: str | Path) -> list[Case]:
    """Cases of a folder with the subfolders fixed, moving, fixed_labels and moving_labels, or of a manifest."""
    return find_cases(
        Path(data), (*IMAGES, *LABELS), advice="label files are 4D, the structure first and one landmark per channel"
    )


def read_labeled_pair(case: Case) -> LabeledPair:
    """Landmarks that either label file leaves empty are left out. Raises DataError where the labels do not match."""
    sides = [read_channels(case.files[role]) for role in LABELS]
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"Case '{case.name}' has {len(sides[0])} fixed and {len(sides[1])} moving label channels: give the same "
            "structures in the same order."
        )
    (fixed_mask, *fixed_marks), (moving_mask, *moving_marks) = sides
    if not (fixed_mask.voxels >= 0.5).any() or not (moving_mask.voxels >= 0.5).any():
        raise DataError(f"Case '{case.name}' has an empty first label channel: it must show the structure itself.")
    marks = [pair for pair in zip(fixed_marks, moving_marks, strict=True) if all(m.voxels.any() for m in pair)]
    fixed_centers, moving_centers = (
        np.array([mask_center(each) for each in side]).reshape(-1, 3)
        for side in (list(zip(*marks, strict=True)) or [(), ()])
    )
    fixed, moving = (read_volume(case.files[role]) for role in IMAGES)
    return LabeledPair(case.name, fixed, moving, fixed_mask, moving_mask, fixed_centers, moving_centers)


def mask_center(mask: Volume) -> np.ndarray:
    """(3,) RAS mm."""
    return center_of_mass(mask.voxels, mask.ijk_to_ras)


@dataclass(frozen=True, eq=False)
class Alignment:
    """What a transform makes of a pair: Dice and HD95 of the structure, landmark errors (N,) in mm, folding, seconds.

    expected_mm: what the model itself expects, where it says so, else NaN.
    """

    dice: float
    hausdorff_mm: float
    landmarks_fixed_mm: np.ndarray
    landmarks_moving_mm: np.ndarray
    folding: float
    seconds: float
    expected_mm: float = math.nan


def alignment(
    pair: LabeledPair, transform: SpatialTransform, seconds: float = 0.0, expected_mm: float = math.nan
) -> Alignment:
    """How well `transform` (fixed to moving points) aligns a pair.

    The structure: the moving mask resampled to the fixed grid and cut at 0.5. Landmark errors twice: in fixed space,
    the moving centers brought there by the inverse transform; in moving space, the fixed centers brought there.
    """
    warped = resample(pair.moving_mask, pair.fixed_mask.grid, fill=0, transform=transform).voxels >= 0.5
    mask = pair.fixed_mask.voxels >= 0.5
    return Alignment(
        dice=dice(warped, mask)[1],
        hausdorff_mm=hausdorff_95(warped, mask, pair.fixed_mask.spacing),
        landmarks_fixed_mm=landmark_errors_mm(transform.inverse_points(pair.moving_landmarks), pair.fixed_landmarks),
        landmarks_moving_mm=landmark_errors_mm(transform.points(pair.fixed_landmarks), pair.moving_landmarks),
        folding=transform.folding_fraction(),
        seconds=seconds,
        expected_mm=expected_mm,
    )


def align(model: Model, pair: LabeledPair, device: str = "auto", **options) -> tuple[SpatialTransform, Alignment]:
    """Register a pair with a model, from the images alone. Seconds: from images in memory to the transform."""
    started = time.perf_counter()
    volumes = {"fixed": pair.fixed, "moving": pair.moving}
    result = apply_model(model, volumes, outputs=["transform"], device=device, **options)
    seconds = time.perf_counter() - started
    transform = result.outputs["transform"]
    return transform, alignment(pair, transform, seconds, result.report.get("expected_error_mm", math.nan))


def random_pose(random: np.random.Generator, center, shift_mm: float, degrees: float) -> np.ndarray:
    """(4, 4) rotation about `center` by up to `degrees` around a random axis, and a shift of up to `shift_mm`."""
    axis, direction = (each / np.linalg.norm(each) for each in random.normal(size=(2, 3)))
    angle = np.deg2rad(random.uniform(0, degrees))
    cross = np.cross(np.eye(3), -axis)
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    pose[:3, 3] = center - pose[:3, :3] @ center + random.uniform(0, shift_mm) * direction
    return pose


def scored_perturbations(
    model: Model, pair: LabeledPair, transform: SpatialTransform, count: int, random: np.random.Generator,
    shift_mm: float = 10.0, degrees: float = 15.0, device: str = "auto",
) -> tuple[list[float], list[float]]:
    """Quality scores, and mean landmark errors in mm, of a registration and of `count` perturbed copies of it."""
    center = mask_center(pair.fixed_mask)
    poses = [np.eye(4), *(random_pose(random, center, shift_mm, degrees) for _ in range(count))]
    maps = [lambda points, pose=pose: transform.points(points @ pose[:3, :3].T + pose[:3, 3]) for pose in poses]
    errors = [float(landmark_errors_mm(each(pair.fixed_landmarks), pair.moving_landmarks).mean()) for each in maps]
    volumes = {"fixed": pair.fixed, "moving": pair.moving}
    return qualities(model, volumes, maps, device=device), errors


# --- tables ---------------------------------------------------------------------------------------------------------

STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean, "median": np.median, "90 %": lambda values: float(np.percentile(values, 90)),
}
SUMMARY_HEADER = ("alignment", "Dice", "HD95 mm", *(f"landmarks {name} mm" for name in STATISTICS), "folding %", "s",
                  "in moving space")
CASE_HEADER = ("case", "Dice", "HD95 mm", "landmarks", "mean mm", "median mm", "90 % mm", "folding %", "s",
               "expected mm")


def case_row(name: str, found: Alignment) -> tuple[str, ...]:
    errors = found.landmarks_fixed_mm
    numbers = [f"{statistic(errors):.2f}" if len(errors) else "" for statistic in STATISTICS.values()]
    expected = "" if math.isnan(found.expected_mm) else f"{found.expected_mm:.1f}"
    return (name, f"{found.dice:.3f}", f"{found.hausdorff_mm:.2f}", str(len(errors)), *numbers,
            f"{100 * found.folding:.3f}", f"{found.seconds:.2f}", expected)


def summary_row(title: str, found: Sequence[Alignment]) -> tuple[str, ...]:
    """Means over pairs, statistics over landmarks, each with its 95 % bootstrap interval over pairs."""

    def shown(values: list[np.ndarray], statistic, digits: int) -> str:
        if not any(len(each) for each in values):
            return ""
        low, high = interval(values, statistic)
        return f"{statistic(np.concatenate(values)):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    landmarks = [each.landmarks_fixed_mm for each in found]
    moving = np.concatenate([each.landmarks_moving_mm for each in found])
    return (
        title,
        shown([np.array([each.dice]) for each in found], np.mean, 3),
        shown([np.array([each.hausdorff_mm]) for each in found], np.mean, 2),
        *(shown(landmarks, statistic, 2) for statistic in STATISTICS.values()),
        f"{100 * np.mean([each.folding for each in found]):.3f}",
        f"{np.mean([each.seconds for each in found]):.2f}" if any(each.seconds for each in found) else "",
        f"{moving.mean():.2f}" if len(moving) else "",
    )


def summary_numbers(found: Sequence[Alignment]) -> dict[str, float]:
    """Plain numbers of a summary, for files."""
    errors = np.concatenate([each.landmarks_fixed_mm for each in found])
    numbers = {
        "cases": len(found), "landmarks": len(errors), "dice": float(np.mean([each.dice for each in found])),
        "hausdorff95_mm": float(np.mean([each.hausdorff_mm for each in found])),
        "folding_fraction": float(np.mean([each.folding for each in found])),
        "seconds": float(np.mean([each.seconds for each in found])),
    }
    if len(errors):
        numbers |= {f"landmark_{name.replace(' %', 'th_percentile')}_mm": float(statistic(errors))
                    for name, statistic in STATISTICS.items()}
    return numbers
