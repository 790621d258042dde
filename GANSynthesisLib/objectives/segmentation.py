"""Losses between class scores and label maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def soft_dice(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Soft Dice overlap per channel, (B, C, …) in [0, 1] -> (B, C) (Milletari 2016, squared denominator)."""
    a, b = a.float().flatten(2), b.float().flatten(2)
    return (2 * (a * b).sum(2) + 1e-5) / (a.square().sum(2) + b.square().sum(2) + 1e-5)


def dice_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, background: bool = False) -> torch.Tensor:
    """Cross-entropy plus 1 − soft Dice (Isensee 2021).

    logits (B, C, …), labels (B, 1, …) of whole numbers 0…C−1. Classes absent from a whole batch do not count in the
    Dice part, so that patches without a lesion do not reward an empty answer.
    """
    logits = logits.float()
    target = labels[:, 0].long()
    cross_entropy = F.cross_entropy(logits, target)
    onehot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).float()
    probabilities, start = logits.softmax(1), 0 if background else 1
    present = onehot.flatten(2).sum((0, 2)) > 0
    present[:start] = False
    if not present.any():
        return cross_entropy
    # Over the batch as one image: a class with three voxels in one patch would otherwise dominate.
    overlap = soft_dice(probabilities.transpose(0, 1).flatten(1)[None], onehot.transpose(0, 1).flatten(1)[None])[0]
    return cross_entropy + 1 - overlap[present].mean()
