"""Losses between images, (B, C, D, H, W) in [−1, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def spatial_gradients(image: torch.Tensor) -> list[torch.Tensor]:
    """Central differences along every spatial axis longer than 2, each of the interior's common shape."""
    axes = [axis for axis in range(2, image.dim()) if image.shape[axis] > 2]
    gradients = []
    for axis in axes:
        difference = (image.narrow(axis, 2, image.shape[axis] - 2) - image.narrow(axis, 0, image.shape[axis] - 2)) / 2
        for other in axes:
            if other != axis:
                difference = difference.narrow(other, 1, image.shape[other] - 2)
        gradients.append(difference)
    return gradients


def gradient_consistency(image: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """1 − GC(x, G(x)): edges stay where they were (Hiasa 2018, arXiv:1803.06629).

    GC is the mean over axes of the normalized correlation between the gradients of an image and of its own
    translation. Its absolute value is taken: contrast may invert between modalities, edges may not move.
    """
    correlations = []
    for a, b in zip(spatial_gradients(image.float()), spatial_gradients(translation.float()), strict=True):
        a, b = a.flatten(1), b.flatten(1)
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        covariance = (a * b).mean(1)
        correlations.append(covariance.abs() / (a.square().mean(1) * b.square().mean(1) + 1e-12).sqrt())
    return 1 - torch.stack(correlations).mean()


def gradient_difference(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of gradient magnitudes along each axis (Mathieu 2016; used by Nie 2017)."""
    pairs = zip(spatial_gradients(image), spatial_gradients(reference), strict=True)
    return torch.stack([(a.abs() - b.abs()).square().mean() for a, b in pairs]).mean()


def masked_l1(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean absolute error, over the mask (broadcastable, 0/1) where one is given."""
    if mask is None:
        return F.l1_loss(image, reference)
    mask = mask.to(image.dtype).expand_as(image)
    return ((image - reference).abs() * mask).sum() / mask.sum().clamp(min=1)
