"""Image-to-image networks: U-Net (Ronneberger 2015), the residual generator of CycleGAN (Johnson 2016), and a
convolutional network without pooling (Nie 2017)."""

from __future__ import annotations

import math

import torch
from torch import nn

from GANSynthesisLib.networks.convolution import Conv3d, convolve_doubled, convolve_joined
from GANSynthesisLib.networks.slabs import flatten_slab, unflatten_slab
from GANSynthesisLib.networks.streamed import Doubled, FeatureMap, Pooled, convolved

BACKBONES = ("unet", "resnet", "fcn")


def convolution(dimensions: int) -> type[nn.Module]:
    return {2: nn.Conv2d, 3: Conv3d}[dimensions]


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm (Wu and He 2018): the same at every batch size, unlike BatchNorm at the batch of 1–2 of 3D."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Translator(nn.Module):
    """Image in, image or class scores out, in one of the three contexts.

    Forward: (B, in_channels, D, H, W) -> (B, out_channels, D, H, W) in fp32. 2D (D = 1) and 2.5D (D = slab) fold the
    slices into channels of a 2D network and give back as many slices; 3D is volumetric. The last layer is linear and
    runs in fp32: bf16 steps of ±1 would be 8 HU wide on a CT range.

    slab_bytes: 0, or how much of a volume each layer may hold at a time where no gradients are asked for (see
    `networks.streamed`); the answer is the same to rounding.
    """

    slab_bytes = 0

    def __init__(self, in_channels, out_channels, context="2D", slab=1, width=32, backbone="unet", levels=4, blocks=9):
        super().__init__()
        self.volumetric = context == "3D"
        dimensions, slices = (3, 1) if self.volumetric else (2, slab if context == "2.5D" else 1)
        self.slices, self.in_channels, self.out_channels = slices, in_channels, out_channels
        body = {"unet": UNetBody, "resnet": ResNetBody, "fcn": FCNBody}[backbone]
        extent = {"unet": {"levels": levels}, "resnet": {"blocks": blocks}, "fcn": {}}[backbone]
        self.body = body(dimensions, in_channels * slices, width, **extent)
        self.last = convolution(dimensions)(width, out_channels * slices, kernel_size=1 if backbone == "unet" else 3,
                                            padding=0 if backbone == "unet" else 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.slab_bytes and self.volumetric and not torch.is_grad_enabled():
            return torch.cat([self._streamed(one[None]) for one in image])
        flat = image if self.volumetric else flatten_slab(image, self.slices)
        features = self.body(flat)
        with torch.autocast(image.device.type, enabled=False):
            answer = self.last(features.float())
        return answer if self.volumetric else unflatten_slab(answer, self.slices)

    def _streamed(self, image: torch.Tensor) -> torch.Tensor:
        features = self.body.streamed(image, self.slab_bytes)
        with torch.autocast(image.device.type, enabled=False):
            return convolved([features], self.last, slab_bytes=self.slab_bytes).raw


class Retouch(nn.Module):
    """A translator that says what is to be added to its input; at first nothing. (B, 1, D, H, W) in and out."""

    def __init__(self, translator: Translator):
        super().__init__()
        self.translator = translator
        nn.init.zeros_(translator.last.weight)
        nn.init.zeros_(translator.last.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.translator(image)


class UNetBody(nn.Module):
    """Encoder-decoder with skips; `levels` halvings, channels doubling to 8 × width. Any input size."""

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int = 4):
        super().__init__()
        channels = [width * min(2**level, 8) for level in range(levels + 1)]
        self.levels, self.dimensions, self.multiple = levels, dimensions, 2**levels
        self.encoders = nn.ModuleList(
            [DoubleConvolution(dimensions, in_channels, channels[0])]
            + [DoubleConvolution(dimensions, a, b) for a, b in zip(channels, channels[1:], strict=False)]
        )
        self.decoders = nn.ModuleList(
            [DoubleConvolution(dimensions, a + b, a) for a, b in zip(channels, channels[1:], strict=False)]
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        padded, crop = pad_to_multiple(image, self.multiple)
        skips = self.encode(padded)
        features = skips[-1]
        for level in reversed(range(self.levels)):
            features = self.decoders[level].joined(skips[level], features)
        return features[crop]

    def encode(self, image: torch.Tensor, levels: int | None = None) -> list[torch.Tensor]:
        """Features of every level, fine to coarse, or of the first ones only; sizes are such as can be halved."""
        pool = nn.functional.avg_pool2d if self.dimensions == 2 else nn.functional.avg_pool3d
        found: list[torch.Tensor] = []
        for encoder in self.encoders[:levels]:
            found.append(encoder(pool(found[-1], 2) if found else image))
        return found

    def streamed(self, image: torch.Tensor, slab_bytes: int) -> FeatureMap:
        """The same of a volume (1, C, D, H, W), layer by layer in slabs."""
        padded, crop = pad_to_multiple(image, self.multiple)
        features, skips = FeatureMap(padded), []
        for level, encoder in enumerate(self.encoders):
            features = encoder.streamed([Pooled(features) if level else features], slab_bytes)
            skips.append(features)
        skips.pop()
        for decoder in reversed(self.decoders):
            features = decoder.streamed([skips.pop(), Doubled(features)], slab_bytes)
        return features.cropped(crop)


class DoubleConvolution(nn.Sequential):
    """Twice convolution, GroupNorm, leaky ReLU."""

    def __init__(self, dimensions: int, in_channels: int, out_channels: int):
        layer = convolution(dimensions)
        super().__init__(
            layer(in_channels, out_channels, 3, padding=1, bias=False), group_norm(out_channels), nn.LeakyReLU(0.1),
            layer(out_channels, out_channels, 3, padding=1, bias=False), group_norm(out_channels), nn.LeakyReLU(0.1),
        )

    def joined(self, skip: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Of a skip and the features below it, which are doubled by repeating voxels: free transposed convolutions
        leave checkerboards (Odena 2016)."""
        first, *others = self
        answer = convolve_joined(first, skip, features)
        for step in others:
            answer = step(answer)
        return answer

    def streamed(self, sources: list, slab_bytes: int) -> FeatureMap:
        first, first_norm, activation, second, second_norm, _ = self
        inner = convolved(sources, first, first_norm, activation.negative_slope, slab_bytes=slab_bytes)
        sources.clear()  # the second layer does without them, and a skip is large
        return convolved([inner], second, second_norm, activation.negative_slope, slab_bytes=slab_bytes)


class ResNetBody(nn.Module):
    """Two stride-2 convolutions, residual blocks, two upsamplings (Johnson 2016; 9 blocks in Zhu 2017)."""

    multiple = 4

    def __init__(self, dimensions: int, in_channels: int, width: int, blocks: int = 9):
        super().__init__()
        layer, deep = convolution(dimensions), 4 * width

        def step(a, b, size, stride=1):
            return nn.Sequential(layer(a, b, size, stride, size // 2, bias=False), group_norm(b), nn.ReLU())

        self.down = nn.Sequential(
            step(in_channels, width, 7 if dimensions == 2 else 5), step(width, 2 * width, 3, 2),
            step(2 * width, deep, 3, 2),
        )
        self.blocks = nn.Sequential(*[ResidualBlock(dimensions, deep) for _ in range(blocks)])
        up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up = nn.Sequential(up, step(deep, 2 * width, 3), up, step(2 * width, width, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        padded, crop = pad_to_multiple(image, self.multiple)
        features = self.blocks(self.down(padded))
        for layer, norm, activation in (self.up[1], self.up[3]):  # behind the doubling that self.up[0] and [2] name
            features = activation(norm(convolve_doubled(features, layer.weight)))
        return features[crop]

    def streamed(self, image: torch.Tensor, slab_bytes: int) -> FeatureMap:
        """The same of a volume (1, C, D, H, W), layer by layer in slabs."""
        padded, crop = pad_to_multiple(image, self.multiple)
        features = FeatureMap(padded)
        for step in self.down:
            features = convolved([features], *step[:2], 0.0, slab_bytes=slab_bytes)
        for block in self.blocks:
            features = FeatureMap(block.streamed(features, slab_bytes).add_(features.whole()))
        for step in (self.up[1], self.up[3]):
            features = convolved([Doubled(features)], *step[:2], 0.0, slab_bytes=slab_bytes)
        return features.cropped(crop)


class ResidualBlock(nn.Module):
    def __init__(self, dimensions: int, channels: int):
        super().__init__()
        layer = convolution(dimensions)
        self.body = nn.Sequential(
            layer(channels, channels, 3, padding=1, bias=False), group_norm(channels), nn.ReLU(),
            layer(channels, channels, 3, padding=1, bias=False), group_norm(channels),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.body(features)

    def streamed(self, features: FeatureMap, slab_bytes: int) -> torch.Tensor:
        inner = convolved([features], *self.body[:2], 0.0, slab_bytes=slab_bytes)
        return convolved([inner], *self.body[3:5], slab_bytes=slab_bytes).whole()


class FCNBody(nn.Module):
    """Eight convolutions that all keep the image's resolution, without pooling (Nie 2017); the last layer is a ninth.

    The sizes of the kernels are ours: together with a last layer of 3 a voxel sees 25 along each axis.
    """

    multiple = 1
    KERNELS = (5, 3, 3, 3, 5, 3, 3, 5)
    WIDTHS = (1, 1, 1, 2, 2, 2, 1, 1)

    def __init__(self, dimensions: int, in_channels: int, width: int):
        super().__init__()
        layer, channels = convolution(dimensions), [in_channels, *(width * factor for factor in self.WIDTHS)]
        self.steps = nn.Sequential(*[
            nn.Sequential(layer(a, b, size, padding=size // 2, bias=False), group_norm(b), nn.ReLU())
            for a, b, size in zip(channels, channels[1:], self.KERNELS, strict=False)
        ])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.steps(image)

    def streamed(self, image: torch.Tensor, slab_bytes: int) -> FeatureMap:
        """The same of a volume (1, C, D, H, W), layer by layer in slabs."""
        features = FeatureMap(image)
        for step in self.steps:
            features = convolved([features], *step[:2], 0.0, slab_bytes=slab_bytes)
        return features


def pad_to_multiple(image: torch.Tensor, multiple: int) -> tuple[torch.Tensor, tuple]:
    """Edge-padded at the far sides so that every spatial size divides; with the slices that crop it back."""
    sizes = image.shape[2:]
    padding = [amount for size in reversed(sizes) for amount in (0, -size % multiple)]
    crop = (slice(None), slice(None), *(slice(0, size) for size in sizes))
    return (nn.functional.pad(image, padding, mode="replicate") if any(padding) else image), crop
