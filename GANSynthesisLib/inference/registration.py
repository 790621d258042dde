"""A registration's way through a model: two volumes -> working grids -> networks -> transform, and what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.evaluation.quality import expected_error
from GANSynthesisLib.inference.built import built_system
from GANSynthesisLib.models import Card, Model
from GANSynthesisLib.progress import IsCancelled, Progress, stop_if
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Preparation, Volume, VolumeError, resample
from GANSynthesisLib.working import CenteredPair, centered_pair, intensity_range

MOST_AT_BORDER = 0.02  # part of a structure that may lie on the border of the working grid
CALIBRATED_MEANING = (
    "from the critic's score and the overlap of what was found in both images; the expected error is that of held-out "
    "cases with such a quality"
)


def register(
    card: Card,
    system: System,
    inputs: Mapping[str, Volume],
    wanted: Sequence[str],
    device: torch.device,
    report: dict,
    progress: Progress,
    cancelled: IsCancelled,
    optimize: int = 0,
) -> dict[str, Volume | SpatialTransform]:
    """The wanted outputs of a registration of the `moving` to the `fixed` volume; images on the fixed one's grid."""
    begin = time.perf_counter()
    pair = working_pair(card, system, inputs)
    report["seconds"]["prepare"] = round(time.perf_counter() - begin, 3)
    stop_if(cancelled)
    progress(0.3, "applying the model")
    begin = time.perf_counter()
    given = tensors(pair, device)
    found = system.optimized(given, optimize) if optimize else system.apply(given)
    answer = {name: value[0].float().cpu().numpy() for name, value in found.items()}
    report["seconds"]["network"] = round(time.perf_counter() - begin, 3)
    stop_if(cancelled)
    _check_structures(system, inputs, pair, answer, report)
    progress(0.7, "resampling")
    begin = time.perf_counter()
    found = _outputs(system, inputs, wanted, pair, answer)
    determinants = found["transform"].jacobian_determinant()
    report["folding_voxels"] = int((determinants <= 0).sum())  # of the working grid
    report["folding_fraction"] = report["folding_voxels"] / determinants.size
    _judge(card, system, inputs, float(answer["quality"]), report)
    report["seconds"]["back"] = round(time.perf_counter() - begin, 3)
    return {name: found[name] for name in wanted}


def qualities(
    model: Model,
    inputs: Mapping[str, Volume],
    maps: Sequence[Callable[[np.ndarray], np.ndarray]],
    device: str = "auto",
) -> list[float]:
    """The critic's score of any alignments of a pair: maps take fixed points (N, 3) to moving points, RAS mm."""
    where = torch_device(device)
    system = built_system(model, where)
    pair = working_pair(model.card, system, inputs)
    to_moving = np.linalg.inv(pair.moving_pose)
    places, scores = pair.fixed_grid.points().reshape(-1, 3), []
    with torch.inference_mode():
        given = tensors(pair, where)
        result = system.register(given)
        for each in maps:
            points = each(places) @ to_moving[:3, :3].T + to_moving[:3, 3]
            points = torch.from_numpy(points.T.reshape(1, 3, *pair.fixed_grid.shape)).float().to(where)
            scores.append(float(system.quality(given, result, points)))
    return scores


def working_pair(card: Card, system: System, inputs: Mapping[str, Volume]) -> CenteredPair:
    """The two volumes as the networks of the model see them."""
    return centered_pair(
        inputs["fixed"], inputs["moving"], shape=card.shape, spacing=card.spacing[0], start=system.settings.start,
        axes=system.settings.axes, ranges={role: intensity_range(card.input(role)) for role in ("fixed", "moving")},
    )


def tensors(pair: CenteredPair, device: torch.device) -> dict[str, torch.Tensor]:
    """(1, 1, D, H, W) by role."""
    return {
        role: torch.from_numpy(np.ascontiguousarray(array))[None, None].to(device)
        for role, array in pair.arrays.items()
    }


def _check_structures(system, inputs, pair: CenteredPair, answer: dict, report: dict) -> None:
    """VolumeError where a structure that the fit needs was not found; a warning where it is cut off."""
    for role in ("fixed", "moving"):
        reach = " by ".join(f"{size:.0f}" for size in pair.fixed_grid.size_mm)
        for name, part in zip(system.structures, answer[f"{role}_structures"], strict=True):
            seen = part > 0.5
            if not seen.any():
                raise VolumeError(
                    f"No {name} was found in the {role} volume '{inputs[role].name}', within {reach} mm around its "
                    "center: choose the right image, or crop it around the structure."
                )
            inner = np.zeros_like(seen)
            inner[1:-1, 1:-1, 1:-1] = True
            if (seen & ~inner).sum() > MOST_AT_BORDER * seen.sum():
                report["warnings"].append(
                    f"The {name} found in the {role} volume '{inputs[role].name}' reaches the border of the {reach} "
                    "mm that the model sees around the image's center: crop the image around it."
                )


def _outputs(system, inputs, wanted, pair: CenteredPair, answer: dict) -> dict[str, Volume | SpatialTransform]:
    fixed, moving, dense = inputs["fixed"], inputs["moving"], system.dense
    linear = SpatialTransform(pair.world_matrix(answer["matrix"].astype(np.float64)))
    whole = linear
    if dense:
        field = pair.world_displacement(answer["displacement"]).astype(np.float32)
        whole = SpatialTransform(linear.matrix, field, pair.fixed_grid)
    found = {"transform": whole, "linear": linear}
    if "warped" in wanted:
        warped = resample(moving, fixed.grid, "linear", fill=float(moving.voxels.min()), transform=whole)
        found["warped"] = warped.with_voxels(warped.voxels, name=f"{moving.name} [to {fixed.name}]")
    names = dict(enumerate(system.structures, start=1))
    if "segmentation" in wanted:
        seen = Preparation(fixed.grid, pair.fixed_grid, None)
        found["segmentation"] = seen.back_labels(
            with_background(answer["fixed_structures"]), f"{fixed.name} [segmentation]", names
        )
    if "warped_segmentation" in wanted:
        carried = np.stack([
            resample(Volume(part, pair.moving_grid.ijk_to_ras), fixed.grid, fill=0, transform=whole).voxels
            for part in answer["moving_structures"]
        ])
        labels = with_background(carried).argmax(0).astype(np.uint8)
        title = f"{moving.name} [segmentation to {fixed.name}]"
        found["warped_segmentation"] = Volume(labels, fixed.grid.ijk_to_ras, "", title, names)
    for name, title, unit in (("deformation", "displacement", "mm"), ("jacobian", "Jacobian", "")):
        if name in wanted:
            field = np.linalg.norm(whole.displacement, axis=0) if unit else whole.jacobian_determinant()
            volume = Volume(field.astype(np.float32), pair.fixed_grid.ijk_to_ras, unit)
            volume = resample(volume, fixed.grid, fill=0 if unit else float(np.linalg.det(linear.matrix[:3, :3])))
            found[name] = volume.with_voxels(volume.voxels, name=f"{moving.name} [{title}]")
    return found


def with_background(parts: np.ndarray) -> np.ndarray:
    """(S, …) probabilities of structures -> (1 + S, …) classes, of which background is the largest below one half."""
    return np.concatenate([np.full_like(parts[:1], 0.5), parts])


def _judge(card: Card, system: System, inputs, quality: float, report: dict) -> None:
    """What the critic says of the result, in the report; a warning where it looks doubtful."""
    report["quality"] = round(quality, 4)
    calibration = card.metrics.get("quality")
    report["quality_meaning"] = CALIBRATED_MEANING if calibration else system.quality_meaning
    if not calibration:
        return
    error, spread = expected_error(calibration, quality)
    report["expected_error_mm"], report["expected_error_spread_mm"] = round(error, 1), round(spread, 1)
    if error > calibration["doubtful_above_mm"]:
        report["warnings"].append(
            f"The alignment of '{inputs['moving'].name}' with '{inputs['fixed'].name}' is doubtful (expected landmark "
            f"error {error:.0f} ± {spread:.0f} mm): look at both together before you use it."
        )
