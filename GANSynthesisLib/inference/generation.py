"""New images from noise."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from GANSynthesisLib.asking import MASK, Choices, Wish, choices_of
from GANSynthesisLib.card import Card
from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.fitting import fitted_spacing
from GANSynthesisLib.inference.built import built_system
from GANSynthesisLib.inference.draws import Draw, asked, between, drawn, swept
from GANSynthesisLib.inference.report import start_report
from GANSynthesisLib.models import Model, ModelError
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.result import Result
from GANSynthesisLib.systems.generation import GenerationSettings
from GANSynthesisLib.volumes import Grid, Volume, VolumeError
from GANSynthesisLib.working import label_array, output_intensity, parse_spacing

AT_ONCE = 16  # images


def generate(
    model: Model,
    count: int = 1,
    *,
    class_name: str | None = None,
    value: float | None = None,
    code: Sequence[float] | None = None,
    mask: Volume | None = None,
    way: str = "",
    at_once: int = AT_ONCE,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
) -> Result:
    """New images from noise: outputs `image`, or `image_1` … for a larger count; the same for the same seed.

    class_name, value, code: what all are to be, where the model can be asked for it (see `asking.Wish`); left out, the
    classes come in turn, values and codes at random. mask: label volume, whose structures all images have, on its
    grid. way: empty; "interpolate" for images from one noise vector to another; "sweep" for `count` images of each
    category and for each continuous code. at_once: images in one pass; they do not depend on it.
    report["images"] says of each output what it was to be. Raises ModelError and VolumeError before any work.
    """
    progress, card, able = progress or silent, model.card, choices_of(model.card)
    wish = Wish(class_name, value, None if code is None else tuple(float(each) for each in code))
    wish.check(card, count)
    where = torch_device(device)
    system = built_system(model, where)
    grid, labels = _grid(card, able, mask, system.settings)
    draws = _draws(card, able, wish, count, seed, way, system.settings.latent)
    report = start_report(model, {} if mask is None else {MASK: mask}, str(where), "32", seed)
    started, images = time.perf_counter(), []
    for first in range(0, len(draws), at_once):
        stop_if(cancelled or never)
        with torch.inference_mode():
            batch = asked(draws[first : first + at_once], able, labels, where)
            images += [image[0].cpu().numpy() for image in system.apply(batch)["image"]]
        progress(len(images) / len(draws), f"image {len(images)} of {len(draws)}")
    names = ["image"] if len(draws) == 1 else [f"image_{number + 1}" for number in range(len(draws))]
    port, found = card.output("image"), {}
    for name, draw, image, number in zip(names, draws, images, range(1, len(draws) + 1), strict=True):
        values = output_intensity(port).denormalize(np.clip(image, -1, 1))
        title = " ".join(text for text in (card.name, draw.class_name, draw.row, str(number)) if text)
        found[name] = Volume(values, grid.ijk_to_ras, port.unit, title)
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    report["outputs"] = sorted(found)
    report["images"] = {name: draw.told() for name, draw in zip(names, draws, strict=True)}
    return Result(found, report)


def _draws(card: Card, able: Choices, wish: Wish, count: int, seed: int, way: str, latent: int) -> list[Draw]:
    if way == "interpolate":
        if count < 2:
            raise ModelError(f"{count} image is no way between two: give a count of at least 2.")
        return between(*drawn(able, latent, wish, 2, seed), count)
    if way == "sweep":
        if not able.categories:
            raise ModelError(f"The model '{card.name}' has no codes to sweep: choose a model of the system infogan.")
        return swept(able, drawn(able, latent, wish, count, seed))
    if way:
        raise ModelError(f"way is {way!r}; it must be interpolate, sweep, or empty.")
    return drawn(able, latent, wish, count, seed)


def _grid(
    card: Card, able: Choices, mask: Volume | None, settings: GenerationSettings
) -> tuple[Grid, torch.Tensor | None]:
    """Where the images lie: around the origin, or where the mask is, which comes as the network sees it."""
    if mask is None:
        if able.structures:
            raise ModelError(f"The model '{card.name}' makes images with given structures: give a mask.")
        return Grid.centred((0, 0, 0), card.shape, [step or 1.0 for step in card.spacing or (1.0,) * 3]), None
    if not able.structures:
        raise ModelError(f"The model '{card.name}' takes no mask: leave '{mask.name}' out.")
    present = np.unique(mask.voxels)
    if not set(present) <= set(range(len(able.structures))):
        raise VolumeError(f"The mask '{mask.name}' holds the value {present.max():g}, and the model '{card.name}' "
                          f"knows 0 to {len(able.structures) - 1}: {', '.join(able.structures)}.")
    own = mask.grid.canonical()
    if card.context == "2D" and own.shape[0] > 1:
        raise VolumeError(f"The mask '{mask.name}' has {own.shape[0]} slices, and the model '{card.name}' makes "
                          "single slices: give one of them.")
    whole = settings.fit == "resize"
    steps = fitted_spacing(own, card.shape, card.context) if whole else parse_spacing(
        settings.spacing, card.context) or (None,) * 3
    spacing = [step or kept for step, kept in zip(steps, own.spacing, strict=True)]
    grid = Grid.centred(own.centre_ras, card.shape, spacing, own.directions)
    return grid, torch.from_numpy(label_array(mask, grid))[None, None]
