"""Discriminators and critics: raw logits, no activation at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from GANSynthesisLib.networks.generation import doublings, kernel_of, normalization, smallest_shape
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


class ImageDiscriminator(nn.Module):
    """Judges whole images of one shape: strided convolutions down to about 4 pixels (Radford 2016).

    Forward: (B, C, …) -> raw logit (B,) and, from the same trunk, `answers` further numbers (B, answers): scores of
    classes, a code. condition: length of a vector that the image is to fit; its inner product with the features is
    added to the logit (projection, Miyato and Koyama 2018). norm: none where a gradient penalty is per image.
    """

    def __init__(
        self, shape: Sequence[int], in_channels: int = 1, width: int = 32, norm: str = "none", answers: int = 0,
        condition: int = 0,
    ):
        super().__init__()
        steps, dimensions = doublings(shape)[::-1], len(shape)
        layer = convolution(dimensions)
        channels = [in_channels] + [width * min(2**level, 8) for level in range(len(steps))]
        stages: list[nn.Module] = []
        for level, (factors, a, b) in enumerate(zip(steps, channels, channels[1:], strict=False)):
            # Not in the first layer, which sees the image itself.
            norms = [normalization(norm, dimensions, b)] if level and norm != "none" else []
            stages += [layer(a, b, kernel_of(factors), factors, 1), *norms, nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*stages, nn.Flatten())
        count = channels[-1] * math.prod(smallest_shape(shape))
        self.score = nn.Linear(count, 1)
        self.answer = nn.Linear(count, answers) if answers else None
        self.embedding = nn.Linear(condition, count, bias=False) if condition else None

    def forward(
        self, image: torch.Tensor, condition: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        features = self.stages(image).float()
        with torch.autocast(image.device.type, enabled=False):
            logit = self.score(features)[:, 0]
            if self.embedding is not None:
                logit = logit + (self.embedding(condition) * features).sum(1)
            return logit, None if self.answer is None else self.answer(features)
