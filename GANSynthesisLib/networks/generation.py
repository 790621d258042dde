"""Noise to image: residual upsampling generator for 2D images and 3D patches."""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.translation import convolution, group_norm


class NoiseGenerator(nn.Module):
    """z (B, latent) -> image (B, 1, D, H, W) in [−1, 1]; D = 1 in 2D. Sizes are multiples of 2**levels.

    Residual upsampling blocks as in the WGAN-GP paper (Gulrajani 2017), GroupNorm in place of BatchNorm so that 3D at
    batch 1–2 trains.
    """

    def __init__(self, shape: tuple[int, ...], latent: int = 128, width: int = 32, levels: int = 4):
        super().__init__()
        self.shape, self.latent, self.levels = tuple(shape), latent, levels
        dimensions = len(shape)
        self.seed_shape = tuple(size // 2**levels for size in shape)
        channels = [width * min(2 ** (levels - level), 8) for level in range(levels + 1)]
        cells = 1
        for size in self.seed_shape:
            cells *= size
        self.seed = nn.Linear(latent, channels[0] * cells)
        self.blocks = nn.ModuleList(
            [UpBlock(dimensions, a, b) for a, b in zip(channels, channels[1:], strict=False)]
        )
        self.last = nn.Sequential(
            group_norm(channels[-1]), nn.ReLU(), convolution(dimensions)(channels[-1], 1, 3, padding=1)
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        features = self.seed(noise).view(noise.shape[0], -1, *self.seed_shape)
        for block in self.blocks:
            features = block(features)
        with torch.autocast(noise.device.type, enabled=False):
            image = torch.tanh(self.last(features.float()))
        return image if image.dim() == 5 else image[:, :, None]


class UpBlock(nn.Module):
    """Doubles the size: normalization, ReLU, upsampling, two convolutions, and an upsampled shortcut."""

    def __init__(self, dimensions: int, in_channels: int, out_channels: int):
        super().__init__()
        layer = convolution(dimensions)
        self.body = nn.Sequential(
            group_norm(in_channels), nn.ReLU(), nn.Upsample(scale_factor=2),
            layer(in_channels, out_channels, 3, padding=1),
            group_norm(out_channels), nn.ReLU(), layer(out_channels, out_channels, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), layer(in_channels, out_channels, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.body(features) + self.shortcut(features)
