"""A small residual network that says of which class an image is, and describes it in a vector."""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.translation import convolution, group_norm

LEVELS = 4


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, normalization and activation first (He 2016, "Identity Mappings")."""

    def __init__(self, dimensions: int, before: int, channels: int, stride: int):
        super().__init__()
        layer = convolution(dimensions)
        self.first_norm, self.second_norm = group_norm(before), group_norm(channels)
        self.first = layer(before, channels, 3, stride, 1, bias=False)
        self.second = layer(channels, channels, 3, padding=1, bias=False)
        changes = stride > 1 or before != channels
        self.shortcut = layer(before, channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        prepared = self.first_norm(image).relu()
        inner = self.second_norm(self.first(prepared)).relu()
        return self.shortcut(prepared) + self.second(inner)


class ResidualClassifier(nn.Module):
    """Scores of classes, (B, C, H, W) or (B, C, D, H, W) -> (B, classes) in fp32.

    GroupNorm, because batches are small in 3D and an answer must not depend on the images beside it; each of four
    levels halves the image, and the mean over what is left goes into one linear layer, which makes `features`, the
    description that the distances of generated images are measured in, as good as linearly separable.
    """

    def __init__(self, in_channels: int, dimensions: int, classes: int, width: int = 16, dropout: float = 0.0):
        super().__init__()
        channels = [width * min(2**level, 8) for level in range(LEVELS)]
        self.stem = convolution(dimensions)(in_channels, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(
            ResidualBlock(dimensions, before, after, stride=2)
            for before, after in zip([width, *channels], channels, strict=False)
        ))
        self.norm = group_norm(channels[-1])
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(channels[-1], classes)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, F): the last feature maps averaged over the image."""
        return self.norm(self.blocks(self.stem(image))).relu().float().flatten(2).mean(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        described = self.dropout(self.features(image))
        with torch.autocast(image.device.type, enabled=False):
            return self.scores(described)
