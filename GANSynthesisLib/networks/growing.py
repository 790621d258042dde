"""A generator and a critic that begin at 4 pixels and grow by doublings, each faded in (Karras 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from GANSynthesisLib.networks.generation import doublings
from GANSynthesisLib.networks.translation import convolution


class Equalized(nn.Module):
    """A layer with weights of N(0, 1) and an input scaled to unit variance of its answers, so that one learning rate
    suits every layer (equalized learning rate); its bias starts at 0."""

    def __init__(self, layer: nn.Module, gain: float = math.sqrt(2)):
        super().__init__()
        self.layer, self.scale = layer, gain / math.sqrt(layer.weight[0].numel())
        nn.init.normal_(layer.weight)
        nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(features * self.scale)


class PixelNorm(nn.Module):
    """Features of every pixel scaled to a mean square of 1."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * (features.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class MinibatchDeviation(nn.Module):
    """One more channel: how much the images of a batch differ, averaged, which a collapsed generator cannot hide."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        spread = (features.var(0, unbiased=False) + 1e-8).sqrt().mean()
        return torch.cat([features, spread.expand(len(features), 1, *features.shape[2:])], 1)


def growth_steps(shape: Sequence[int]) -> int:
    """How often an image is doubled along all axes, from about 4 pixels along the shortest one."""
    return len(doublings((min(shape),)))


def growing_channels(shape: Sequence[int], width: int) -> list[int]:
    """Channels at the smallest size and after each doubling, the last one `width`."""
    levels = growth_steps(shape)
    return [width * min(2 ** (levels - level), 8) for level in range(levels + 1)]


class GrowingGenerator(nn.Module):
    """z (B, latent) -> image (B, 1, D, H, W), not limited; D = 1 in 2D. Its size follows `growth`.

    growth: doublings done; 1.3 fades the second one in: three parts of the image of 16 pixels, and seven of that of 8
    pixels, doubled. Twice convolution, LeakyReLU and pixel normalization at every size.
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int):
        super().__init__()
        self.dimensions, self.levels = len(shape), growth_steps(shape)
        channels, layer = growing_channels(shape, width), convolution(len(shape))
        self.seed_shape = tuple(size // 2**self.levels for size in shape)

        def step(a: int, b: int) -> list[nn.Module]:
            return [Equalized(layer(a, b, 3, padding=1)), nn.LeakyReLU(0.2), PixelNorm()]

        # A gain of √2/4 instead of √2 for the layer that makes pixels of a vector, as the paper's code has it.
        count = channels[0] * math.prod(self.seed_shape)
        self.seed = nn.Sequential(PixelNorm(), Equalized(nn.Linear(latent, count), math.sqrt(2) / 4))
        self.first = nn.Sequential(nn.LeakyReLU(0.2), PixelNorm(), *step(channels[0], channels[0]))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), *step(a, b), *step(b, b))
            for a, b in zip(channels, channels[1:], strict=False)
        )
        self.to_image = nn.ModuleList(Equalized(layer(each, 1, 1), gain=1.0) for each in channels)

    def forward(self, noise: torch.Tensor, growth: float) -> torch.Tensor:
        level, share = faded_in(growth)
        features = before = self.first(self.seed(noise).view(len(noise), -1, *self.seed_shape))
        for block in self.blocks[:level]:
            before, features = features, block(features)
        with torch.autocast(noise.device.type, enabled=False):
            image = self.to_image[level](features.float())
            if share < 1:
                smaller = self.to_image[level - 1](before.float())
                image = torch.lerp(F.interpolate(smaller, scale_factor=2.0), image, share)
        return image if self.dimensions == 3 else image[:, :, None]


class GrowingCritic(nn.Module):
    """The generator's mirror image: an image (B, 1, …) of the size that `growth` says -> score (B,)."""

    def __init__(self, shape: Sequence[int], width: int):
        super().__init__()
        channels, layer = growing_channels(shape, width), convolution(len(shape))
        pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[len(shape)]
        self.pool = pool(2)

        def step(a: int, b: int) -> list[nn.Module]:
            return [Equalized(layer(a, b, 3, padding=1)), nn.LeakyReLU(0.2)]

        self.from_image = nn.ModuleList(
            nn.Sequential(Equalized(layer(1, each, 1)), nn.LeakyReLU(0.2)) for each in channels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*step(b, b), *step(b, a), pool(2)) for a, b in zip(channels, channels[1:], strict=False)
        )
        count = channels[0] * math.prod(size // 2 ** growth_steps(shape) for size in shape)
        self.last = nn.Sequential(
            MinibatchDeviation(), *step(channels[0] + 1, channels[0]), nn.Flatten(),
            Equalized(nn.Linear(count, channels[0])), nn.LeakyReLU(0.2),
            Equalized(nn.Linear(channels[0], 1), gain=1.0),
        )

    def forward(self, image: torch.Tensor, growth: float) -> torch.Tensor:
        level, share = faded_in(growth)
        features = self.from_image[level](image)
        for number in reversed(range(level)):
            features = self.blocks[number](features)
            if number == level - 1 and share < 1:
                features = torch.lerp(self.from_image[number](self.pool(image)), features, share)
        with torch.autocast(image.device.type, enabled=False):
            return self.last(features.float())[:, 0]


def faded_in(growth: float) -> tuple[int, float]:
    """The doubling that is being faded in, or was last, and how far (0 to 1)."""
    level = math.ceil(growth)
    return level, 1.0 if level == growth else growth - (level - 1)


def grown(image: torch.Tensor, levels: int, growth: float) -> torch.Tensor:
    """Images (B, 1, D, H, W) or (B, 1, H, W) of the full size as they look at that growth, faded in alike."""
    pool = F.avg_pool3d if image.dim() == 5 else F.avg_pool2d
    level, share = faded_in(growth)
    for _ in range(levels - level):
        image = pool(image, 2)
    return image if share == 1 else torch.lerp(F.interpolate(pool(image, 2), scale_factor=2.0), image, share)
