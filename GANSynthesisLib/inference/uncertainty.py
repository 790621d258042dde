"""How sure a model is of every voxel: how far its answers to varied copies of its input lie apart.

Test-time augmentation (Wang G. et al. 2019, Aleatoric uncertainty estimation with test-time augmentation for medical
image segmentation with convolutional neural networks). The copies are varied as patches were in training: a network
that has learned what it is asked gives them the same answer. It tells of what the image leaves open, not of whether
the image is one of the kind that the network was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from GANSynthesisLib.card import Card
from GANSynthesisLib.inference.ladder import apply_down_the_ladder
from GANSynthesisLib.inference.windows import Tensors
from GANSynthesisLib.progress import Progress, part
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.variation import Variation


def uncertainties(
    card: Card, system: System, inputs: Tensors, names: Sequence[str], answers: Tensors, samples: int,
    *, seed: int, masks: Tensors, progress: Progress, **options,
) -> Tensors:
    """How uncertain each output is, by name, (1, D, H, W).

    Of an image, the standard deviation of its values in [−1, 1] over `answers`, those to the images as they are, and
    the answers to `samples` varied copies; of labels, the entropy of their mean probabilities: 0 (one label only) to 1
    (all alike). inputs: role -> (1, D, H, W). masks: (D, H, W) bool, outside which it is 0. options: as of
    `ladder.apply_down_the_ladder`.
    """
    random, count = torch.Generator().manual_seed(seed), 1
    means = {name: answers[name].clamp(min=-1) for name in names}
    squares = {name: torch.zeros_like(answers[name]) for name in names if not card.output(name).is_segmentation}
    for number in range(samples):
        settings = card.settings
        variation = Variation.drawn(list(inputs), settings["augment"], settings.get("augment_intensity", 0), random)
        say = part(progress, number + 1, samples + 1, f"uncertainty, sample {number + 1} of {samples}")
        varied = {role: variation.of(image, role) for role, image in inputs.items()}
        found = apply_down_the_ladder(
            card, system, varied, names, report={"warnings": [], "settings": {}}, progress=say, masks={}, **options)
        count += 1
        for name in names:  # Welford's way: the squares of small differences, not small differences of squares
            answer = variation.back(found.pop(name)).clamp(min=-1)  # the lowest value of an image
            before = answer - means[name]
            means[name] += before / count
            if name in squares:
                squares[name] += before * (answer - means[name])
    found = {name: (squares[name] / count).sqrt() if name in squares else _entropy(means[name]) for name in names}
    return {name: spread.masked_fill_(~masks[name], 0) if name in masks else spread for name, spread in found.items()}


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """(C, D, H, W) -> (1, D, H, W), in units of the entropy of C labels that are all alike."""
    likely = probabilities.clamp(min=1e-7)
    return -(likely * likely.log()).sum(0, keepdim=True) / math.log(len(likely))
