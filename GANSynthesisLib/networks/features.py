"""Frozen networks that look at images: their feature maps say how alike two images are, and what is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from GANSynthesisLib.networks.slabs import flatten_slab
from GANSynthesisLib.networks.translation import Translator, convolution, group_norm, pad_to_multiple

VGG_CONVOLUTIONS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}  # per block: columns D and E of the table
VGG_CHANNELS = (64, 128, 256, 512, 512)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenFeatures(nn.Module):
    """A network that is never trained. Forward: (B, 1, D, H, W) in [−1, 1] -> feature maps at `depths`, in that order.

    depths: 1 is the image's own resolution, each further one half of it. channels: of these maps. dimensions: 2 where
    the maps are (N, C, h, w), of slices or slabs; 3 where they are (N, C, d, h, w).
    """

    dimensions: int
    channels: tuple[int, ...]

    def __init__(self, depths: Sequence[int], deepest: int):
        super().__init__()
        if max(depths) > deepest:
            raise ValueError(f"it has {deepest} depths, and {max(depths)} was asked for: lower feature_depths.")
        self.depths = tuple(depths)

    def freeze(self) -> FrozenFeatures:
        return self.eval().requires_grad_(False)


class VGGFeatures(FrozenFeatures):
    """Features of VGG16 or VGG19 (Simonyan and Zisserman 2015), slice by slice: after the last layer of each block.

    state: weights as torchvision names them (`features.0.weight`, …), of the variants without batch normalization,
    trained on ImageNet. Raises ValueError for any others.
    """

    dimensions = 2

    def __init__(self, state: Mapping[str, torch.Tensor], depths: Sequence[int]):
        super().__init__(depths, len(VGG_CHANNELS))
        own = {name.removeprefix("features."): each for name, each in state.items() if name.startswith("features.")}
        self.variant, self.layers = self._fitting(own)
        self.layers.load_state_dict(own)
        self.channels = tuple(VGG_CHANNELS[depth - 1] for depth in depths)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1))
        self.freeze()

    @staticmethod
    def _fitting(weights: Mapping[str, torch.Tensor]) -> tuple[str, nn.Sequential]:
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        for variant, counts in VGG_CONVOLUTIONS.items():
            layers = vgg_layers(counts)
            if shapes == {name: tuple(weight.shape) for name, weight in layers.state_dict().items()}:
                return variant, layers
        raise ValueError("its weights are not those of VGG16 or VGG19 as torchvision names them (without batch norm).")

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        slices = image.transpose(1, 2).flatten(0, 1)
        features = ((slices + 1) / 2 - self.mean) / self.deviation
        found = []
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                found.append(features)
                if len(found) == max(self.depths):
                    break
            features = layer(features)
        return [found[depth - 1] for depth in self.depths]


def vgg_layers(counts: Sequence[int]) -> nn.Sequential:
    """The convolutional part of VGG: blocks of 3×3 convolutions with ReLU, each block closed by max pooling."""
    layers: list[nn.Module] = []
    before = 3
    for count, channels in zip(counts, VGG_CHANNELS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class EncoderFeatures(FrozenFeatures):
    """Features of the encoder of a trained U-Net with one input, in that network's context."""

    def __init__(self, network: Translator, depths: Sequence[int]):
        super().__init__(depths, len(network.body.encoders))
        self.dimensions = 3 if network.volumetric else 2
        self.slices, self.body = network.slices, network.body
        with torch.no_grad():
            small = torch.zeros(1, *([1, 8, 8, 8] if network.volumetric else [1, self.slices, 8, 8]))
            self.channels = tuple(found.shape[1] for found in self(small))
        self.freeze()

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        levels = max(self.depths)
        padded, _ = pad_to_multiple(image if self.dimensions == 3 else flatten_slab(image, self.slices), 2**levels)
        found = self.body.encode(padded, levels)
        return [found[depth - 1] for depth in self.depths]


class FeatureDiscriminator(nn.Module):
    """Heads that tell real from made feature maps, one for each depth; feature maps -> raw logits at every place.

    The deep supervision of Zhao 2018: the features come from a frozen network, and only these heads are trained.
    judged: of the depths, so many from the first are looked at; by default all.
    """

    def __init__(self, features: FrozenFeatures, width: int = 32, judged: int | None = None):
        super().__init__()
        layer = convolution(features.dimensions)
        self.heads = nn.ModuleList(
            nn.Sequential(layer(channels, width, 3, padding=1, bias=False), group_norm(width), nn.LeakyReLU(0.2),
                          layer(width, 1, 1))
            for channels in features.channels[:judged]
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        logits = []
        for head, features in zip(self.heads, maps, strict=True):
            inner = head[:-1](features)
            with torch.autocast(inner.device.type, enabled=False):
                logits.append(head[-1](inner.float()))
        return logits
