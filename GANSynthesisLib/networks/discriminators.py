"""Discriminators and critics: raw logits, no activation at the end."""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.slabs import flatten_slab
from GANSynthesisLib.networks.translation import convolution, group_norm


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola 2017): one raw logit per overlapping patch, (B, C, D, H, W) -> (B, 1, …), or several `answers`.

    `layers` stride-2 convolutions; 3 give the 70² receptive field of the papers. Keep it local: a discriminator that
    sees whole organs teaches the population's anatomy (Tanner 2018).
    """

    def __init__(
        self, in_channels: int, context: str = "2D", slab: int = 1, width: int = 32, layers: int = 3, answers: int = 1
    ):
        super().__init__()
        self.volumetric = context == "3D"
        self.slices = slab if context == "2.5D" else 1
        layer = convolution(3 if self.volumetric else 2)
        channels = [width * min(2**level, 8) for level in range(layers + 1)]
        in_channels = in_channels if self.volumetric else in_channels * self.slices
        stages: list[nn.Module] = [layer(in_channels, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            stages += [layer(channels[level - 1], channels[level], 4, stride, 1, bias=False),
                       group_norm(channels[level]), nn.LeakyReLU(0.2)]
        stages.append(layer(channels[-1], answers, 4, 1, 1))
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stages[:-1](image if self.volumetric else flatten_slab(image, self.slices))
        with torch.autocast(image.device.type, enabled=False):
            return self.stages[-1](features.float())


class Critic(nn.Module):
    """Wasserstein critic: strided convolutions without normalization, one score per image, (B, C, …) -> (B,).

    No norm layer: the gradient penalty is per image, and BatchNorm would tie the images of a batch (Gulrajani 2017).
    """

    def __init__(self, in_channels: int, dimensions: int, width: int = 16, levels: int = 4):
        super().__init__()
        layer = convolution(dimensions)
        channels = [in_channels] + [width * min(2**level, 8) for level in range(levels)]
        stages = [
            nn.Sequential(layer(a, b, 4, 2, 1), nn.LeakyReLU(0.2))
            for a, b in zip(channels, channels[1:], strict=False)
        ]
        self.stages = nn.Sequential(*stages, layer(channels[-1], channels[-1], 3, padding=1), nn.LeakyReLU(0.2))
        self.score = nn.Linear(channels[-1], 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stages(image).float().flatten(2).mean(2)
        with torch.autocast(image.device.type, enabled=False):
            return self.score(features)[:, 0]
