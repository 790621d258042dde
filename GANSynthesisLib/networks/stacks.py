"""Networks that make a finer volume: they add to an interpolated one what it lacks (residual learning)."""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.streamed import Doubled, FeatureMap, Pooled, convolved
from GANSynthesisLib.networks.translation import (
    DoubleConvolution,
    Retouch,
    UNetBody,
    convolution,
    group_norm,
    pad_to_multiple,
)


class Addition(Retouch):
    """An interpolated volume, with what a translator adds to it where nothing was acquired.

    Forward: (B, C, D, H, W) -> (B, 1, D, H, W). The first channel is the interpolated volume, the last one is 1 where
    a voxel was acquired and 0 elsewhere: acquired voxels are given back as they are. Nothing is added at first, so
    that training begins at interpolation.
    """

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return seen[:, :1] + (1 - seen[:, -1:]) * self.translator(seen)


class Refined(nn.Module):
    """Two additions in a row: the second sees what the first one made, as a further channel (Gu 2019).

    Forward: (B, C, D, H, W) -> (B, 1, D, H, W), of the second; `both` gives the two.
    """

    def __init__(self, fusion: nn.Module, refinement: nn.Module):
        super().__init__()
        self.fusion, self.refinement = fusion, refinement

    def both(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.fusion(seen)
        return first, self.refinement(torch.cat([first, seen], 1))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.both(seen)[1]


class YNetBody(nn.Module):
    """Two encoders, of a volume each, and one decoder that sees the features of both at every level (Gu 2019).

    Channels in: the two volumes, then those that both encoders see.
    """

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int = 3):
        super().__init__()
        self.arms = nn.ModuleList(UNetBody(dimensions, in_channels - 1, width, levels) for _ in range(2))
        self.multiple, self.levels = self.arms[0].multiple, levels
        for arm in self.arms:
            del arm.decoders
        widths = [encoder[3].out_channels for encoder in self.arms[0].encoders]
        deeper = [*widths[1:-1], 2 * widths[-1]]  # what comes from below: the lowest level has both encoders
        self.decoders = nn.ModuleList(
            DoubleConvolution(dimensions, 2 * own + below, own) for own, below in zip(widths, deeper, strict=False)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        padded, crop = pad_to_multiple(image, self.multiple)
        encoded = [arm.encode(part) for arm, part in zip(self.arms, _parts(padded), strict=True)]
        skips = [torch.cat(pair, 1) for pair in zip(*encoded, strict=True)]
        features = skips[-1]
        for level in reversed(range(self.levels)):
            features = self.decoders[level].joined(skips[level], features)
        return features[crop]

    def streamed(self, image: torch.Tensor, slab_bytes: int) -> FeatureMap:
        """The same of a volume (1, C, D, H, W), layer by layer in slabs."""
        padded, crop = pad_to_multiple(image, self.multiple)
        skips: list[list[FeatureMap]] = [[] for _ in range(self.levels + 1)]
        for arm, part in zip(self.arms, _parts(padded), strict=True):
            features = FeatureMap(part)
            for level, encoder in enumerate(arm.encoders):
                features = encoder.streamed([Pooled(features) if level else features], slab_bytes)
                skips[level].append(features)
        features = skips.pop()
        for decoder in reversed(self.decoders):
            features = [decoder.streamed([*skips.pop(), *map(Doubled, features)], slab_bytes)]
        return features[0].cropped(crop)


def _parts(image: torch.Tensor) -> list[torch.Tensor]:
    """What each of the two encoders sees."""
    return [torch.cat([image[:, own : own + 1], image[:, 2:]], 1) for own in (0, 1)]


class DenseUNetBody(UNetBody):
    """A U-Net whose blocks are dense: each layer sees all layers before it (Huang 2017; 3D DenseU-Net, Gu 2019)."""

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int = 3):
        super().__init__(dimensions, in_channels, width, levels)

        def dense(blocks) -> nn.ModuleList:
            return nn.ModuleList(
                DenseBlock(dimensions, block[0].in_channels, block[3].out_channels) for block in blocks
            )

        self.encoders, self.decoders = dense(self.encoders), dense(self.decoders)


class DenseBlock(nn.Module):
    """Two layers of half the channels out, then a third one that sees the input and both."""

    def __init__(self, dimensions: int, in_channels: int, out_channels: int):
        super().__init__()
        layer, growth = convolution(dimensions), out_channels // 2
        sizes = [(in_channels, growth), (in_channels + growth, growth), (in_channels + 2 * growth, out_channels)]
        self.steps = nn.ModuleList(
            nn.Sequential(layer(a, b, 3, padding=1, bias=False), group_norm(b), nn.LeakyReLU(0.1)) for a, b in sizes
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        *growing, last = self.steps
        for step in growing:
            features = torch.cat([features, step(features)], 1)
        return last(features)

    def joined(self, skip: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Of a skip and the features below it, which are doubled by repeating voxels."""
        return self(torch.cat([skip, nn.functional.interpolate(features, scale_factor=2, mode="nearest")], 1))

    def streamed(self, sources: list, slab_bytes: int) -> FeatureMap:
        seen = list(sources)
        sources.clear()
        for layer, norm, activation in self.steps:
            seen.append(convolved(seen, layer, norm, activation.negative_slope, slab_bytes=slab_bytes))
        return seen[-1]
