"""Noise to image: generators of 2D images and 3D patches that double the size again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from GANSynthesisLib.networks.translation import convolution, group_norm

ARCHITECTURES = ("residual", "strided")
NORMALIZATIONS = ("none", "batch", "group")
SMALLEST = 4  # pixels along the shortest axis that an image begins with, and that a discriminator ends with


def doublings(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """From about 4 pixels along every axis to an image of this shape: factors of 2, or 1, for the axes, step by step.

    Short axes are doubled last, where there are fewest channels.
    """
    counts = [max(int(math.log2(size / SMALLEST)), 0) for size in shape]
    steps = max(*counts, 1)
    return [tuple(2 if step >= steps - count else 1 for count in counts) for step in range(steps)]


def smallest_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """What such an image begins with, and what a discriminator ends with; of sizes that can be halved so often."""
    halved = [math.prod(factors) for factors in zip(*doublings(shape), strict=True)]
    return tuple(size // factor for size, factor in zip(shape, halved, strict=True))


def kernel_of(factors: Sequence[int]) -> tuple[int, ...]:
    """Kernel, with padding 1, of a (transposed) convolution with that stride: no pixel is seen more than others."""
    return tuple(4 if factor == 2 else 3 for factor in factors)


def normalization(kind: str, dimensions: int, channels: int) -> nn.Module:
    """A normalization layer by its name, of `NORMALIZATIONS`."""
    if kind == "batch":
        return {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions](channels)
    return group_norm(channels) if kind == "group" else nn.Identity()


class NoiseGenerator(nn.Module):
    """z (B, latent) -> image (B, 1, D, H, W) in [−1, 1]; D = 1 in 2D. Sizes can be halved as `doublings` has it.

    architecture: residual upsampling blocks as in the WGAN-GP paper (Gulrajani 2017), or strided transposed
    convolutions (Radford 2016), which take a third of the time. norm: GroupNorm also trains 3D at batch 1–2. A mask
    (B, mask_channels, D, H, W) is shown to every block at its resolution.
    """

    def __init__(
        self, shape: Sequence[int], latent: int = 128, width: int = 32, architecture: str = "residual",
        norm: str = "group", mask_channels: int = 0,
    ):
        super().__init__()
        self.shape, self.mask_channels = tuple(shape), mask_channels
        steps, dimensions = doublings(shape), len(shape)
        self.seed_shape = smallest_shape(shape)
        channels = [width * min(2 ** (len(steps) - level), 8) for level in range(len(steps) + 1)]
        self.seed = nn.Linear(latent, channels[0] * math.prod(self.seed_shape))
        block = {"residual": UpBlock, "strided": TransposedBlock}[architecture]
        self.blocks = nn.ModuleList(
            block(factors, a + mask_channels, b, norm)
            for factors, a, b in zip(steps, channels, channels[1:], strict=False)
        )
        self.last = nn.Sequential(
            normalization(norm, dimensions, channels[-1]), nn.ReLU(),
            convolution(dimensions)(channels[-1], 1, 3, padding=1),
        )

    def forward(self, noise: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        features = self.seed(noise).view(noise.shape[0], -1, *self.seed_shape)
        for block in self.blocks:
            features = block(features if mask is None else torch.cat([features, self._resized(mask, features)], 1))
        with torch.autocast(noise.device.type, enabled=False):
            image = torch.tanh(self.last(features.float()))
        return image if image.dim() == 5 else image[:, :, None]

    def _resized(self, mask: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Parts of every structure in the larger voxels of the features."""
        pool = F.adaptive_avg_pool3d if features.dim() == 5 else F.adaptive_avg_pool2d
        return pool(mask if features.dim() == 5 else mask[:, :, 0], features.shape[2:])


class UpBlock(nn.Module):
    """Doubles sizes: normalization, ReLU, upsampling, two convolutions, and an upsampled shortcut."""

    def __init__(self, factors: tuple[int, ...], in_channels: int, out_channels: int, norm: str):
        super().__init__()
        dimensions = len(factors)
        layer = convolution(dimensions)
        self.body = nn.Sequential(
            normalization(norm, dimensions, in_channels), nn.ReLU(), nn.Upsample(scale_factor=factors),
            layer(in_channels, out_channels, 3, padding=1),
            normalization(norm, dimensions, out_channels), nn.ReLU(), layer(out_channels, out_channels, 3, padding=1),
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=factors), layer(in_channels, out_channels, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.body(features) + self.shortcut(features)


class TransposedBlock(nn.Sequential):
    """Doubles sizes: normalization, ReLU, a transposed convolution of stride 2 (Radford 2016)."""

    def __init__(self, factors: tuple[int, ...], in_channels: int, out_channels: int, norm: str):
        layer = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[len(factors)]
        super().__init__(normalization(norm, len(factors), in_channels), nn.ReLU(),
                         layer(in_channels, out_channels, kernel_of(factors), factors, 1))


@torch.no_grad()
def start_as_dcgan(network: nn.Module) -> None:
    """Weights from N(0, 0.02), those of batch normalization from N(1, 0.02) (Radford 2016)."""
    linear = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for layer in network.modules():
        if isinstance(layer, linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.normal_(layer.weight, 1.0, 0.02)
