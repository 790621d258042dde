"""Coupled networks of two kinds of slices: what they share, and the one layer in which they differ."""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.translation import group_norm

HALVES = 2  # kinds of slices: of the lower and of the upper half of what a stack should cover
LEVELS = 4  # halvings of a slice


class CoupledGenerators(nn.Module):
    """Noise (B, latent) -> slices (B, 2, 1, H, W) in [−1, 1], one of each kind from the same noise.

    All but the last layer is shared (Liu and Tuzel 2016), so that the two learn what slices of both kinds have in
    common.
    """

    def __init__(self, shape: tuple[int, int], latent: int, width: int):
        super().__init__()
        self.seed_shape = tuple(size // 2**LEVELS for size in shape)
        channels = [width * min(2 ** (LEVELS - level), 8) for level in range(LEVELS + 1)]
        self.seed = nn.Linear(latent, channels[0] * self.seed_shape[0] * self.seed_shape[1])
        self.shared = nn.Sequential(*[
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), group_norm(b), nn.ReLU())
            for a, b in zip(channels, channels[1:], strict=False)
        ])
        self.own = nn.Conv2d(channels[-1], HALVES, 3, padding=1)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        features = self.shared(self.seed(noise).view(len(noise), -1, *self.seed_shape))
        with torch.autocast(noise.device.type, enabled=False):
            return torch.tanh(self.own(features.float()))[:, :, None]


class SliceFeatures(nn.Module):
    """The trunk that two discriminators and the classifier of positions share: (B, 1, H, W) -> (B, features)."""

    def __init__(self, width: int):
        super().__init__()
        channels = [1] + [width * min(2**level, 8) for level in range(LEVELS)]
        self.stages = nn.Sequential(*[
            nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2))
            for a, b in zip(channels, channels[1:], strict=False)
        ])
        self.count = 4 * channels[-1]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Averaged over the four quarters of the slice: where in it something lies is part of what it shows."""
        return nn.functional.adaptive_avg_pool2d(self.stages(image).float(), 2).flatten(1)
