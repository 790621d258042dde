"""New images from noise."""

from __future__ import annotations

import time

import torch

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.inference.built import built_system
from GANSynthesisLib.inference.report import start_report
from GANSynthesisLib.models import Model, ModelError
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.result import Result
from GANSynthesisLib.volumes import Grid, Volume
from GANSynthesisLib.working import output_intensity


def generate(
    model: Model,
    count: int = 1,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
) -> Result:
    """New images from noise: outputs `image`, or `image_1` … for a larger count; the same for the same seed."""
    progress = progress or silent
    card = model.card
    if card.task != "generate":
        raise ModelError(f"The model '{card.name}' does not generate images; its task is: {card.task}.")
    if not 1 <= count <= 10000:
        raise ModelError(f"{count} images were asked for: give a number from 1 to 10000.")
    where = torch_device(device)
    report = start_report(model, {}, str(where), "32", seed)
    started = time.perf_counter()
    system, port = built_system(model, where), card.output("image")
    random = torch.Generator().manual_seed(seed)
    found = {}
    for number in range(count):
        stop_if(cancelled or never)
        noise = torch.randn(1, system.settings.latent, generator=random).to(where)
        with torch.inference_mode():
            image = system.apply({"noise": noise})["image"][0, 0].cpu().numpy()
        name = "image" if count == 1 else f"image_{number + 1}"
        spacing = [value or 1.0 for value in card.spacing or (1.0,) * 3]
        grid = Grid.centred((0, 0, 0), image.shape, spacing)
        values = output_intensity(port).denormalize(image)
        found[name] = Volume(values, grid.ijk_to_ras, port.unit, f"{card.name} {number + 1}")
        progress((number + 1) / count, f"image {number + 1} of {count}")
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    report["outputs"] = sorted(found)
    return Result(found, report)
