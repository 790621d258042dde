"""Losses between images, (B, C, D, H, W) in [−1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

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


def feature_difference(features: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of feature maps of a frozen network, the mean over its depths (Longuefosse 2025).

    Each depth in units of the reference's mean magnitude there, which is our choice: depths of all networks, whatever
    the scale of their features, count the same.
    """
    differences = []
    for map_, real in zip(features, reference, strict=True):
        map_, real = map_.float(), real.float()
        differences.append((map_ - real).abs().mean() / real.abs().mean().clamp(min=1e-6))
    return torch.stack(differences).mean()


def structural_similarity(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of images in [−1, 1], in −1 … 1 (Wang 2004), with uniform windows of 7 voxels.

    As a loss: `evaluation.metrics` has the measure, with its masks and Gaussian windows.
    """
    luminance, structure = _similarities((image.float() + 1) / 2, (reference.float() + 1) / 2)
    return (luminance * structure).mean()


def multiscale_similarity(images: torch.Tensor, others: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Multi-scale structural similarity (B,) of images in [−1, 1] (B, C, D, H, W) with others, one by one (Wang 2003).

    weights: of the scales, from fine to coarse, each half as large as the one before. Windows as above.
    """
    images, others, result = (images.float() + 1) / 2, (others.float() + 1) / 2, 1.0
    for number, weight in enumerate(weights, start=1):
        luminance, structure = _similarities(images, others)
        similar = structure if number < len(weights) else luminance * structure
        result = result * similar.flatten(1).mean(1).clamp(min=0) ** weight
        half = [min(2, size) for size in images.shape[2:]]
        images, others = F.avg_pool3d(images, half), F.avg_pool3d(others, half)
    return result


def _similarities(image: torch.Tensor, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How alike images in [0, 1] are in luminance, and in contrast and structure, around every voxel."""
    window = [min(7, size) for size in image.shape[2:]]

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool3d(values, window, 1)

    ours, theirs = mean(image), mean(reference)
    variances = mean(image.square()) - ours.square() + mean(reference.square()) - theirs.square()
    covariance = mean(image * reference) - ours * theirs
    luminance = (2 * ours * theirs + 1e-4) / (ours.square() + theirs.square() + 1e-4)
    return luminance, (2 * covariance + 9e-4) / (variances + 9e-4)


def masked_l1(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean absolute error, over the mask (broadcastable, 0/1) where one is given."""
    if mask is None:
        return F.l1_loss(image, reference)
    mask = mask.to(image.dtype).expand_as(image)
    return ((image - reference).abs() * mask).sum() / mask.sum().clamp(min=1)
