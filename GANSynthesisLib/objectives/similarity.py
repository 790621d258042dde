"""Measures of how alike two aligned images are, for registration without a learned judge. All work in fp32."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def normalized_mutual_information(first: torch.Tensor, second: torch.Tensor, bins: int = 32) -> torch.Tensor:
    """(H(A) + H(B)) / H(A, B), (B,): 1 for independent images, 2 where each says all of the other (Studholme 1999).

    first, second: (B, …) intensities in [−1, 1] at the same places, in any shape. Differentiable in both: histograms
    take cubic B-splines as Parzen windows (Thévenaz 2000). MONAI's `GlobalMutualInformationLoss` is not used: it is
    the plain mutual information, which changes with how much of the images overlaps, as the normalized one does not.
    """
    with torch.autocast(first.device.type, enabled=False):
        windows, others = _parzen_windows(first, bins), _parzen_windows(second, bins)
        joint = windows @ others.transpose(1, 2) / windows.shape[2]
        return (_entropy(joint.sum(2)) + _entropy(joint.sum(1))) / _entropy(joint.flatten(1)).clamp(min=1e-6)


def _parzen_windows(image: torch.Tensor, bins: int) -> torch.Tensor:
    """(B, bins, N): the part of each voxel that falls into each bin; the parts of a voxel add up to 1."""
    # A bin is free at either end, so that the windows of the lowest and highest intensities are whole.
    place = (image.float().flatten(1).clamp(-1, 1) + 1) / 2 * (bins - 3) + 1
    distance = (place[:, None] - torch.arange(bins, device=image.device)[:, None]).abs()
    return ((2 - distance).clamp(min=0) ** 3 - 4 * (1 - distance).clamp(min=0) ** 3) / 6


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return -(probabilities * (probabilities + 1e-10).log()).sum(1)


def self_similarity(image: torch.Tensor) -> torch.Tensor:
    """Modality-independent neighborhood descriptor of an image (B, 1, D, H, W): (B, 12, D, H, W) in 0 … 1.

    Each channel compares the patches (3³) around two of the six neighbors of a voxel with each other (MIND, Heinrich
    2012, MedIA; in its form of self-similarity context, the 12 pairs of neighbors, Heinrich 2013, MICCAI), in units of
    their variation at this voxel: it shows how the surroundings are built, whatever their intensities are.
    """
    with torch.autocast(image.device.type, enabled=False):
        around = F.pad(image.float(), (1,) * 6, mode="replicate")
        neighbors = []
        for axis in (2, 3, 4):
            for start in (0, 2):
                shifts = [start if each == axis else 1 for each in (2, 3, 4)]
                z, y, x = (slice(a, a + size) for a, size in zip(shifts, image.shape[2:], strict=True))
                neighbors.append(around[:, :, z, y, x])
        pairs = [(a, b) for a in range(6) for b in range(a) if a // 2 != b // 2]  # not those opposite each other
        distances = torch.cat([(neighbors[a] - neighbors[b]).square() for a, b in pairs], 1)
        distances = F.avg_pool3d(F.pad(distances, (1,) * 6, mode="replicate"), 3, 1)
        distances = distances - distances.amin(1, keepdim=True)
        variation = distances.mean(1, keepdim=True)
        usual = variation.mean((2, 3, 4), keepdim=True).detach()
        # Where nothing varies, noise must not look like structure.
        return (-distances / variation.clamp(min=0.01 * usual + 1e-6)).exp()


def mind_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B,) mean absolute difference of two descriptors (B, 12, …) of `self_similarity`, 0 … 1; less is more alike."""
    return (first - second).abs().flatten(1).mean(1)
