"""Random artifacts on images in training: what makes one scanner's image of an organ unlike another's.

Networks that learn from a few dozen patients learn their gains, shadows and fields of view by heart; these change from
step to step, so that only the anatomy is left to go by.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def with_artifacts(image: torch.Tensor) -> torch.Tensor:
    """(B, 1, D, H, W) in [−1, 1] with random local gain, blur, noise, shadows and a cut field of view; −1 (air, or
    outside the field of view) stays −1.

    Each artifact is on some of the images only, so that a part of them stays as it was taken.
    """
    count, device = len(image), image.device

    def chance(probability: float) -> torch.Tensor:
        return (torch.rand(count, 1, 1, 1, 1, device=device) < probability).float()

    unit = (image + 1) / 2 * (1 + 0.35 * chance(0.5) * _smooth_noise(image, 4).clamp(-2, 2))
    blurred = F.avg_pool3d(F.pad(unit, (1,) * 6, mode="replicate"), 3, 1)
    unit = torch.lerp(unit, blurred, chance(0.2))
    level = 0.12 * chance(0.4) * torch.rand(count, 1, 1, 1, 1, device=device)
    unit = unit + level * torch.randn_like(unit)
    unit = unit * (1 - 0.85 * chance(0.3) * torch.sigmoid(8 * (_smooth_noise(image, 3) - 1)))
    # A plane at a random angle, between 3/8 and 3/4 of half the field of view from its center, cuts the image off.
    normal = F.normalize(torch.randn(count, 3, 1, 1, 1, device=device), dim=1)
    axes = [torch.linspace(-1, 1, size, device=device) for size in image.shape[2:]]
    beyond = (torch.stack(torch.meshgrid(*axes, indexing="ij")) * normal).sum(1, keepdim=True)
    distance = 0.375 + 0.375 * torch.rand(count, 1, 1, 1, 1, device=device)
    unit = unit * (1 - chance(0.35) * (beyond > distance).float())
    return torch.where(image > -1, (unit * 2 - 1).clamp(-1, 1), image)


def _smooth_noise(image: torch.Tensor, knots: int) -> torch.Tensor:
    """Normal noise (B, 1, D, H, W) on `knots` points along each axis, linear in between."""
    coarse = torch.randn(len(image), 1, knots, knots, knots, device=image.device)
    return F.interpolate(coarse, size=image.shape[2:], mode="trilinear", align_corners=True)
