"""Our networks computed as their papers write them: what the benchmarks' peers and references work with.

Same layers and weights, and the same answer to rounding; but upsampled and concatenated images are made before they
are convolved, volumes are passed whole, and small ones are left to torch.
"""

from __future__ import annotations

import torch
from torch import nn

from GANSynthesisLib.networks.convolution import Conv3d
from GANSynthesisLib.networks.slabs import flatten_slab, unflatten_slab
from GANSynthesisLib.networks.translation import Translator, UNetBody, pad_to_multiple


class PlainTranslator(nn.Module):
    """A translator's layers (`of`, taken over) as they are written down; in and out as those of `Translator`."""

    def __init__(self, of: Translator):
        super().__init__()
        for layer in of.modules():
            if isinstance(layer, Conv3d):
                layer.__class__ = nn.Conv3d
        self.body, self.last, self.slices, self.volumetric = of.body, of.last, of.slices, of.volumetric

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        padded, crop = pad_to_multiple(image if self.volumetric else flatten_slab(image, self.slices),
                                       self.body.multiple)
        work = self._unet if isinstance(self.body, UNetBody) else self._resnet
        answer = self.last(work(padded)[crop])
        return answer if self.volumetric else unflatten_slab(answer, self.slices)

    def _unet(self, image: torch.Tensor) -> torch.Tensor:
        *skips, features = self.body.encode(image)
        for decoder, skip in zip(reversed(self.body.decoders), reversed(skips), strict=True):
            larger = nn.functional.interpolate(features, scale_factor=2, mode="nearest")
            features = decoder(torch.cat([skip, larger], 1))
        return features

    def _resnet(self, image: torch.Tensor) -> torch.Tensor:
        return self.body.up(self.body.blocks(self.body.down(image)))
