"""Whether a stack of slices is complete: every slice is looked at, all of them are judged together."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from GANSynthesisLib.card import Card
from GANSynthesisLib.coverage import FEWEST, CoverageFound, judge_coverage
from GANSynthesisLib.inference.classification import image_windows
from GANSynthesisLib.progress import IsCancelled, Progress, stop_if
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.volumes import Volume, VolumeError


def check_coverage(
    card: Card, system: System, inputs: Mapping[str, Volume], device: torch.device, report: dict,
    progress: Progress, cancelled: IsCancelled,
) -> dict[str, CoverageFound]:
    """`class` of the input `image`: what of the stack is missing. Raises VolumeError for fewer than four slices."""
    volume, begin = inputs["image"].canonical(), time.perf_counter()
    told = []
    for number in range(volume.shape[0]):
        stop_if(cancelled)
        told.append(_position(axial_slice(volume, number), card, system, device))
        progress((number + 1) / volume.shape[0], "looking at slices")
    if sum(map(math.isfinite, told)) < FEWEST:
        raise VolumeError(f"The volume '{volume.name}' has {sum(map(math.isfinite, told))} axial slices that show "
                          f"something: the model '{card.name}' judges stacks of at least {FEWEST}.")
    found = judge_coverage(told, (system.settings.lower_end, system.settings.upper_end), volume.name)
    report["coverage"] = found.as_json()
    report["seconds"]["network"] = round(time.perf_counter() - begin, 3)
    return {"class": found}


def axial_slice(canonical: Volume, number: int) -> Volume:
    """One slice of a volume in canonical axes, from foot to head, as a volume of its own."""
    matrix = canonical.ijk_to_ras.copy()
    matrix[:3, 3] += number * matrix[:3, 2]
    return Volume(canonical.voxels[number : number + 1], matrix, canonical.unit, canonical.name)


def _position(image: Volume, card: Card, system: System, device: torch.device) -> float:
    """Where a slice lies, seen as slices were in training: by itself. NaN where it is empty."""
    if image.voxels.min() == image.voxels.max():
        return math.nan
    window = torch.from_numpy(image_windows(image, card, system))[:, None].to(device)
    return float(system.apply({"image": window})["class"].float().mean())
