"""Whether a generator has learned its training images by heart."""

from __future__ import annotations

import statistics

import torch

from GANSynthesisLib.objectives.diversity import distance_to_nearest, distance_to_others
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.loading import LoadedCase
from GANSynthesisLib.training.patches import PatchSampler
from GANSynthesisLib.training.validation import with_weights

COPIED = 0.25  # of the usual distance between images of two cases: a made image as near to a real one is its copy
SAME = 0.01  # of an image's contrast: two that differ by less are one
COMPARED = 64  # cases whose distance to others tells what is usual
CASE_PATCHES = 4  # of each training case, among which copies are looked for


@torch.no_grad()
def find_copies(system: System, weights: dict[str, torch.Tensor], cases: list[LoadedCase], device) -> str:
    """What to say where at least half of the images that a trained system makes are copies of training images; empty
    where they are not, or where the system makes images of images.

    A copy is much nearer to a patch of a training case, or to its mirror image, than patches of two cases usually are
    to each other. Looked at are patches from the middle of each case, as in a validation.
    """
    if system.task != "generate":
        return ""
    known, names, batch = [], [], {}
    for case in cases:
        for batch in PatchSampler([case], system, 0).validation_batches(device, CASE_PATCHES):
            known += [batch["image"], batch["image"].flip(-1)]
            names += [case.name] * 2
    with with_weights(system, weights):
        made = [image for name, image in system.preview(batch).items() if name.startswith("generated")]
    known = torch.cat(known)
    distances, nearest = distance_to_nearest(torch.cat(made), known)
    usual = _between_cases(known, names)
    copies = int((distances < COPIED * usual).sum())
    if copies < len(made) / 2:
        return ""
    return (f"{copies} of {len(made)} made images are copies of training images (one of {names[int(nearest[0])]}): "
            f"their distance to them is {float(distances.median()) / usual:.2g} of that between two cases")


def _between_cases(known: torch.Tensor, names: list[str]) -> float:
    """Median distance of an image to the nearest one of another case, the same image under two names left out; of what
    is but one image, the contrast of that."""
    contrast = float(known.flatten(1).std(1).mean())
    owners = torch.tensor([names.index(name) for name in names], device=known.device)
    if len(set(names)) < 2:
        return contrast
    distances = distance_to_others(known, owners, owners.unique()[:COMPARED]).tolist()
    distinct = [distance for distance in distances if distance > SAME * contrast]
    return statistics.median(distinct) if distinct else contrast
