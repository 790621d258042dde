"""One pass of a volumetric network in a fraction of the memory: every convolution is worked through in slabs of rows.

A feature map is kept as its convolution left it, together with the normalization and activation that whoever reads it
applies; so are upsampled, pooled and concatenated maps never whole in memory. GroupNorm sees the statistics of the
whole volume, gathered slab by slab: the result is that of the plain pass to rounding, without overlap and without
seams. A U-Net keeps its skips, and one full-size map in and one out of the layer at work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from GANSynthesisLib.networks.convolution import TAKEN_BY_TORCH

FEWEST_ROWS = 4  # of a slab: with fewer, much of it is read for its neighbors only


class Rows(Protocol):
    """Anything that a convolution can read: (1, C, D, H, W) by rows of its depth."""

    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> torch.Tensor: ...


@dataclass(frozen=True)
class FeatureMap:
    """(1, C, D, H, W) as a convolution left it; whoever reads it normalizes and activates what they read.

    mean, variance: (C,) in fp32, of the group of each channel over the whole map; None where nothing is normalized.
    slope: of a leaky ReLU below zero; 0 is a ReLU, 1 none.
    """

    raw: torch.Tensor
    norm: nn.GroupNorm | None = None
    mean: torch.Tensor | None = None
    variance: torch.Tensor | None = None
    slope: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.raw.shape)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        part = self.raw[:, :, start:stop]
        if self.norm is None:
            return part
        # Group normalization with given statistics is batch normalization in evaluation mode.
        part = nn.functional.batch_norm(
            part, self.mean, self.variance, self.norm.weight, self.norm.bias, eps=self.norm.eps
        )
        return part if self.slope == 1 else nn.functional.leaky_relu_(part, self.slope)

    def whole(self) -> torch.Tensor:
        return self.rows(0, self.raw.shape[2])

    def cropped(self, crop: tuple) -> FeatureMap:
        return replace(self, raw=self.raw[crop])


@dataclass(frozen=True)
class Pooled:
    """A map averaged over blocks of 2 × 2 × 2."""

    source: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.source.shape[:2], *(size // 2 for size in self.source.shape[2:]))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        part = self.source.rows(2 * start, 2 * stop)
        part = part[:, :, ::2] + part[:, :, 1::2]  # torch's pooling knows no channels-last maps and would copy them
        part = part[:, :, :, ::2] + part[:, :, :, 1::2]
        return (part[..., ::2] + part[..., 1::2]).mul_(1 / 8)


@dataclass(frozen=True)
class Doubled:
    """A map with every voxel repeated 2 × 2 × 2 times."""

    source: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.source.shape[:2], *(size * 2 for size in self.source.shape[2:]))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        first = start // 2
        part = nn.functional.interpolate(self.source.rows(first, -(-stop // 2)), scale_factor=2, mode="nearest")
        return part[:, :, start - 2 * first : stop - 2 * first]


def convolved(
    sources: Sequence[Rows], layer: nn.Conv3d, norm: nn.GroupNorm | None = None, slope: float = 1.0, *, slab_bytes: int
) -> FeatureMap:
    """The convolution of the concatenated sources, in slabs of about `slab_bytes` of input; read, it is normalized.

    Only cubic kernels with equal strides and paddings, without dilation or groups.
    """
    depth, height, width = sources[0].shape[2:]
    channels = sum(source.shape[1] for source in sources)
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    sizes = [(size + 2 * padding - kernel) // stride + 1 for size in (depth, height, width)]
    fewest = max(FEWEST_ROWS, TAKEN_BY_TORCH // (channels * height) + 1)  # fewer go to a slow kernel
    step = max(fewest, slab_bytes // (4 * channels * height * width * stride))
    count = max(1, sizes[0] // step)
    raw, sums = None, 0
    for start, stop in itertools.pairwise(sizes[0] * number // count for number in range(count + 1)):
        low, high = start * stride - padding, (stop - 1) * stride - padding + kernel
        slab = [source.rows(max(low, 0), min(high, depth)) for source in sources]
        slab = slab[0] if len(slab) == 1 else torch.cat(slab, 1)
        if not torch.is_autocast_enabled(slab.device.type):
            slab = slab.to(layer.weight.dtype)
        if count == 1:
            answer = layer(slab)
        else:
            if low < 0 or high > depth:
                slab = nn.functional.pad(slab, (0, 0, 0, 0, max(-low, 0), max(high - depth, 0)))
            answer = nn.functional.conv3d(slab, layer.weight, layer.bias, stride, (0, padding, padding))
        if norm is not None:
            flat = answer.permute(0, 2, 3, 4, 1).reshape(-1, answer.shape[1]).float()
            sums = torch.stack([flat.sum(0), flat.square().sum(0)]).double() + sums
        if raw is None:
            raw = answer if count == 1 else torch.empty(
                (1, layer.out_channels, *sizes), dtype=answer.dtype, device=answer.device,
                memory_format=torch.channels_last_3d,
            )
        if count > 1:
            raw[:, :, start:stop] = answer
    if norm is None:
        return FeatureMap(raw)
    return FeatureMap(raw, norm, *_statistics(norm, sums / math.prod(sizes)), slope)


def _statistics(norm: nn.GroupNorm, means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) of the group of each channel, from the channels' means and mean squares (2, C)."""
    mean, square = means.reshape(2, norm.num_groups, -1).mean(2)
    each = norm.num_channels // norm.num_groups
    return tuple(part.float().repeat_interleave(each) for part in (mean, (square - mean.square()).clamp(min=0)))
