"""Losses of registration: smoothness of a displacement and overlap of blurred labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from GANSynthesisLib.objectives.segmentation import soft_dice


def bending_energy(displacement: torch.Tensor, spacing: float) -> torch.Tensor:
    """Mean squared second derivatives of a displacement (B, 3, D, H, W) in mm, voxels of `spacing` mm (Rueckert 1999).

    Zero for any affine map: only bending costs.
    """
    energy = displacement.new_zeros(())
    for first in range(2, 5):
        for second in range(first, 5):
            derivative = torch.diff(torch.diff(displacement, dim=first), dim=second) / spacing**2
            energy = energy + (1 if first == second else 2) * derivative.square().mean()
    return energy


def multiscale_dice(
    warped: torch.Tensor, fixed: torch.Tensor, present: torch.Tensor, levels: int = 4
) -> torch.Tensor:
    """1 − soft Dice of labels, averaged over a smoothed pyramid, so that labels that do not touch still attract.

    Hu 2018 (MedIA) blurs with Gaussians of growing width; here each level is box-smoothed and halved, which does the
    same at a fraction of the work. warped, fixed: (B, C, D, H, W) in [0, 1]; present: (B, C) 1 where a case has that
    label.
    """
    both, count = torch.cat([warped.float(), fixed.float()], 1), warped.shape[1]
    terms = []
    for level in range(levels):
        both = F.avg_pool3d(both, 3, 1, 1)
        terms.append(1 - soft_dice(both[:, :count], both[:, count:]))
        if level + 1 == levels or min(both.shape[2:]) < 6:
            break
        both = F.avg_pool3d(both, 2)
    mean = torch.stack(terms).mean(0)
    return (mean * present).sum() / present.sum().clamp(min=1)
