"""One pass of a volumetric network in a fraction of the memory: every convolution is worked through in slabs of rows.

A feature map is kept as its convolution left it, and normalized and activated in place when it is first read; pooled
maps are made slab by slab, and upsampled and concatenated ones not at all. GroupNorm sees the statistics of the whole
volume, gathered on the way: the result is that of the plain pass to rounding, without overlap and without seams. A
U-Net keeps its skips, and one full-size map in and one out of the layer at work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn

from GANSynthesisLib.networks.convolution import convolve, doubled_kernel


class Rows(Protocol):
    """Anything that a convolution can read: (1, C, D, H, W) by rows of its depth."""

    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> torch.Tensor: ...


@dataclass
class FeatureMap:
    """(1, C, D, H, W) as a convolution left it; it is normalized and activated in place, as far as it is read.

    mean, variance: (C,) in fp32, of the group of each channel over the whole map; None where nothing is normalized.
    slope: of a leaky ReLU below zero; 0 is a ReLU, 1 none. ready: rows that are normalized.
    """

    raw: torch.Tensor
    norm: nn.GroupNorm | None = None
    mean: torch.Tensor | None = None
    variance: torch.Tensor | None = None
    slope: float = 1.0
    ready: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.raw.shape)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        if self.norm is not None and self.ready < stop:
            self._normalize(self.raw[:, :, self.ready : stop])
            self.ready = stop
        return self.raw[:, :, start:stop]

    def whole(self) -> torch.Tensor:
        return self.rows(0, self.raw.shape[2])

    def cropped(self, crop: tuple) -> FeatureMap:
        return replace(self, raw=self.raw[crop])

    def _normalize(self, part: torch.Tensor) -> None:
        scale = self.norm.weight / (self.variance + self.norm.eps).sqrt()
        shift = self.norm.bias - self.mean * scale
        scale, shift = (each.repeat(part.shape[-1]) for each in (scale, shift))
        for row in _rows_of_lines(part):
            torch.addcmul(shift, row, scale, out=row)
            if self.slope != 1:
                nn.functional.leaky_relu_(row, self.slope)


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
    """A map with every voxel repeated 2 × 2 × 2 times; only convolutions read it, and they do so on the small grid."""

    source: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.source.shape[:2], *(size * 2 for size in self.source.shape[2:]))


def convolved(
    sources: Sequence[Rows | Doubled], layer: nn.Conv3d, norm: nn.GroupNorm | None = None, slope: float = 1.0, *,
    slab_bytes: int,
) -> FeatureMap:
    """The convolution of the concatenated sources, in slabs of about `slab_bytes` of input; read, it is normalized.

    Only cubic kernels with equal strides and paddings, without dilation or groups; of doubled maps those of 3 only.
    """
    depth, height, width = sources[0].shape[2:]
    channels = [source.shape[1] for source in sources]
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    sizes = [(size + 2 * padding - kernel) // stride + 1 for size in (depth, height, width)]
    step = 2 * max(1, slab_bytes // (8 * sum(channels) * height * width * stride))  # doubled rows go in pairs
    weights = layer.weight.split(channels, 1)
    weights = [doubled_kernel(w) if isinstance(s, Doubled) else w for s, w in zip(sources, weights, strict=True)]
    raw, gathered = None, 0
    for start in range(0, sizes[0], step):
        stop = min(start + step, sizes[0])
        answer = _slab(sources, weights, layer, start, stop)
        if norm is not None:
            gathered = gathered + _gathered(answer)
        if stop - start == sizes[0]:
            raw = answer
            break
        if raw is None:
            raw = torch.empty(
                (1, layer.out_channels, *sizes), dtype=answer.dtype, device=answer.device,
                memory_format=torch.channels_last_3d,
            )
        raw[:, :, start:stop] = answer
    if norm is None:
        return FeatureMap(raw)
    return FeatureMap(raw, norm, *_statistics(norm, gathered / math.prod(sizes)), slope)


def _slab(sources, weights, layer: nn.Conv3d, start: int, stop: int) -> torch.Tensor:
    """Rows `start` to `stop` of what a layer gives: the sum of what its weights give for each source."""
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    parts = []
    for source, weight in zip(sources, weights, strict=True):
        bias = None if parts else layer.bias
        if isinstance(source, Doubled):
            part = _read(source.source, start // 2 - 1, -(-stop // 2) + 1, layer)
            parts.append(nn.functional.conv_transpose3d(part, weight, bias, 2, (3, 1, 1)))
        else:
            part = _read(source, start * stride - padding, (stop - 1) * stride - padding + kernel, layer)
            parts.append(convolve(part, weight, bias, stride, (0, padding, padding)))
    answer, *others = parts
    for part in others:
        answer.add_(part)
    return answer.to(memory_format=torch.channels_last_3d)


def _read(source: Rows, low: int, high: int, layer: nn.Conv3d) -> torch.Tensor:
    """Rows of a source, zeros beyond its ends; channels last, and of the layer's precision."""
    depth = source.shape[2]
    part = source.rows(max(low, 0), min(high, depth))
    if low < 0 or high > depth:
        part = nn.functional.pad(part, (0, 0, 0, 0, max(-low, 0), max(high - depth, 0)))
    if not torch.is_autocast_enabled(part.device.type):
        part = part.to(layer.weight.dtype)
    return part.to(memory_format=torch.channels_last_3d)


def _gathered(part: torch.Tensor) -> torch.Tensor:
    """Sums (2, C) over the voxels of a slab: of the values and of their squares, in double precision."""
    sums = 0
    for row in _rows_of_lines(part):
        row = row.float()
        sums = sums + torch.stack([row.sum(0), row.square().sum(0)]).double()
    return sums.view(2, part.shape[-1], part.shape[1]).sum(1)


def _rows_of_lines(part: torch.Tensor) -> Sequence[torch.Tensor]:
    """Views (H, W·C) of the rows of a map: torch is slow on a few channels at a time, and a row fits the cache."""
    return part.movedim(1, -1).view(*part.shape[2:4], -1).unbind(0)


def _statistics(norm: nn.GroupNorm, means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (C,) of the group of each channel, from the channels' means and mean squares (2, C)."""
    mean, square = means.reshape(2, norm.num_groups, -1).mean(2)
    each = norm.num_channels // norm.num_groups
    return tuple(part.float().repeat_interleave(each) for part in (mean, (square - mean.square()).clamp(min=0)))
