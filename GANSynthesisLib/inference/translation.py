"""A voxel's way through an image model: volume -> working grid -> networks -> physical units -> its own grid."""

from __future__ import annotations

import time

import numpy as np
import torch

from GANSynthesisLib.card import Card
from GANSynthesisLib.inference.ladder import apply_down_the_ladder
from GANSynthesisLib.inference.uncertainty import uncertainties
from GANSynthesisLib.options import uncertainty_of
from GANSynthesisLib.progress import part, stop_if
from GANSynthesisLib.volumes import Intensity, Volume
from GANSynthesisLib.working import foreground, image_arrays, intensity_range, output_intensity


def translate(card, system, inputs, wanted, *, samples=0, refine=None, report, **options) -> dict[str, Volume]:
    """The wanted outputs of a model that makes images or labels of images, each on the grid of its own input; with
    samples, the uncertainty of each, too. refine: of `refinement.refinement`, the last step of labels.

    options: as of `ladder.apply_down_the_ladder`.
    """
    found = {}
    for roles, names in _passes(card, list(inputs), wanted).items():
        given = {role: inputs[role] for role in roles}
        found |= _translate_from(card, system, given, names, samples, refine=refine, report=report, **options)
    return found


def _passes(card: Card, given: list[str], wanted: list[str]) -> dict[tuple[str, ...], list[str]]:
    """Input roles -> the outputs computed from them: each result lies on the grid of the image it belongs to.

    What an output needs is an input where it was given, else another output, computed from its own inputs.
    """
    def origin(name: str) -> list[str]:
        needs = card.output(name).needs
        return [role for need in needs for role in ([need] if need in given else origin(need))]

    passes: dict[tuple[str, ...], list[str]] = {}
    for name in wanted:
        used = origin(name)
        roles = tuple(port.name for port in card.inputs if port.name in (used or given))
        passes.setdefault(roles, []).append(name)
    return passes


def _translate_from(
    card, system, inputs, wanted, samples, *, refine, report, progress, cancelled, **options
) -> dict[str, Volume]:
    begin, seconds = time.perf_counter(), report["seconds"]

    def note(name: str) -> None:
        nonlocal begin
        now = time.perf_counter()
        seconds[name] = round(seconds.get(name, 0) + now - begin, 3)
        begin = now

    first, ranges = next(iter(inputs.values())), {role: intensity_range(card.input(role)) for role in inputs}
    arrays, preparation, _ = image_arrays(inputs, ranges, card.spacing)
    masks = {}
    images = [name for name in wanted if not card.output(name).is_segmentation]
    if getattr(system.settings, "mask_background", False) and images:
        masks = dict.fromkeys(images, torch.from_numpy(foreground(first, preparation.working)))
    note("prepare")
    stop_if(cancelled)
    tensors = {role: torch.from_numpy(np.ascontiguousarray(array))[None] for role, array in arrays.items()}
    options |= {"cancelled": cancelled, "masks": masks}
    answers = apply_down_the_ladder(
        card, system, tensors, wanted, report=report, progress=part(progress, 0, samples + 1), **options
    )
    note("network")
    stop_if(cancelled)
    spreads = {}
    if samples:
        spreads = uncertainties(
            card, system, tensors, wanted, answers, samples, seed=report["settings"]["seed"], progress=progress,
            **options,
        )
        note("uncertainty")
        stop_if(cancelled)
    found = {}
    for name in wanted:
        port, answer = card.output(name), answers.pop(name).numpy()
        title = name if port.is_segmentation else f"synthetic {port.modality}"
        unit, intensity = ("", Intensity(0, 2)) if port.is_segmentation else (port.unit, output_intensity(port))
        if port.is_segmentation:
            if refine:
                answer = refine(answer, next(iter(arrays.values())), preparation.working)
            found[name] = preparation.back_labels(answer, f"{first.name} [{title}]", port.label_names)
        else:
            image = np.maximum(answer[0], -1, out=answer[0])
            found[name] = preparation.back(image, f"{first.name} [{title}]", unit, intensity)
        if samples:
            spread = spreads.pop(name)[0].numpy() * (intensity.upper - intensity.lower) / 2
            title = f"{first.name} [uncertainty of {title}]"
            found[uncertainty_of(name)] = preparation.back(spread, title, unit, None)
    note("back")
    return found
