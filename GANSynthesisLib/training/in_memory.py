"""Training on images that are in memory already: small runs inside an evaluation, which leave no files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from GANSynthesisLib.fitting import whole_box
from GANSynthesisLib.progress import IsCancelled, never
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.engine import Engine, Run
from GANSynthesisLib.training.loading import LoadedCase
from GANSynthesisLib.training.patches import PatchSampler, check_roles
from GANSynthesisLib.training.processes import launched_fabric


def image_cases(images: torch.Tensor, classes: Sequence[int], subjects: Sequence[str] = ()) -> list[LoadedCase]:
    """Cases of whole images (N, 1, D, H, W) in [−1, 1], each of a class by its number."""
    box = whole_box(images.shape[2:])
    return [
        LoadedCase(str(number), {"image": image}, {}, subject=subjects[number] if subjects else str(number),
                   boxes={"any": box, "image": box}, conditions={"class": int(classes[number])})
        for number, image in enumerate(images)
    ]


def train_in_memory(
    system: System, cases: list[LoadedCase], steps: int, seed: int, device: str = "auto",
    cancelled: IsCancelled = never,
) -> System:
    """The system, trained on the cases without validation, with the averaged weights and in evaluation mode.

    Raises DataError, Alert, Cancelled and DeviceError as `run.train` does.
    """
    check_roles(cases, system)
    torch.manual_seed(seed)
    fabric = launched_fabric(device, "32-true")
    sampler = PatchSampler(cases, system, seed)
    with tempfile.TemporaryDirectory(prefix="gansynthesis-") as folder:
        run = Run(Path(folder), steps, seed, lambda step, text: None, cancelled, lambda line: None)
        try:
            weights = Engine(system, sampler, [], fabric, run).train()
        finally:
            sampler.close()
    system.load_state_dict(weights)
    return system.eval().requires_grad_(False)
