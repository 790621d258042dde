"""The class of an image: every window of it is looked at, and the answers are averaged."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

import numpy as np
import torch

from GANSynthesisLib.card import Card
from GANSynthesisLib.classes import Classification
from GANSynthesisLib.fitting import fitted_spacing
from GANSynthesisLib.progress import IsCancelled, Progress, stop_if
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.volumes import Volume
from GANSynthesisLib.working import image_arrays, intensity_range

AT_ONCE = 16  # windows


def classify(
    card: Card, system: System, inputs: Mapping[str, Volume], device: torch.device, report: dict,
    progress: Progress, cancelled: IsCancelled,
) -> dict[str, Classification]:
    """`class` of the input `image`: the mean of the probabilities over its windows, which are the slices of a volume
    in 2D, and one where the whole image is scaled to the window."""
    volume, settings, begin = inputs["image"], system.settings, time.perf_counter()
    windows = image_windows(volume, card, system)
    probabilities = []
    for first in range(0, len(windows), AT_ONCE):
        stop_if(cancelled)
        some = torch.from_numpy(windows[first : first + AT_ONCE])[:, None].to(device)
        probabilities.append(system.apply({"image": some})["class"].float().cpu())
        progress(min(first + AT_ONCE, len(windows)) / len(windows), "classifying")
    mean = torch.cat(probabilities).mean(0).tolist()
    found = Classification(dict(zip(settings.classes, mean, strict=True)), volume.name)
    report["classes"] = found.as_json()
    report["seconds"]["network"] = round(time.perf_counter() - begin, 3)
    return {"class": found}


def image_windows(volume: Volume, card: Card, system: System) -> np.ndarray:
    """(N, D, H, W) float32 in [−1, 1]: what the network sees of an image, as it saw images in training."""
    settings, window = system.settings, system.settings.window()
    spacing = card.spacing
    if settings.fit == "resize":
        spacing = fitted_spacing(volume.grid.canonical(), window, settings.context)
    arrays, _, _ = image_arrays({"image": volume}, {"image": intensity_range(card.input("image"))}, spacing)
    return windows_of(arrays["image"], window)


def windows_of(image: np.ndarray, window: tuple[int, int, int]) -> np.ndarray:
    """(N, D, H, W): as few windows as cover an image (D', H', W'), evenly spread; a smaller image lies in the middle
    of one, on background (−1)."""
    missing = [max(size - length, 0) for length, size in zip(image.shape, window, strict=True)]
    padded = np.pad(image, [((count + 1) // 2, count // 2) for count in missing], constant_values=-1)
    starts = []
    for length, size in zip(padded.shape, window, strict=True):
        count = -(-length // size)
        starts.append([round(number * (length - size) / max(count - 1, 1)) for number in range(count)])
    return np.stack([
        padded[tuple(slice(first, first + size) for first, size in zip(corner, window, strict=True))]
        for corner in itertools.product(*starts)
    ]).astype(np.float32)
