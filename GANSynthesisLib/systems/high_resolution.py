"""High from low resolution: what a longer measurement, or a stronger magnet, would have shown."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.systems.acquisition import truncated, with_rician_noise, zero_filled
from GANSynthesisLib.systems.base import Batch
from GANSynthesisLib.systems.reconstruction import ACQUIRED, Reconstruction, ReconstructionSettings
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class HighResolutionSettings(ReconstructionSettings):
    patch: tuple[int, ...] = setting(
        (48, 48, 48), "depth, rows, columns of a training patch, in fine voxels", low=8, high=512
    )
    factor: int = setting(2, "times that the resolution is to be higher, along every axis", low=2, high=8, common=True)
    noise: float = setting(0.02, "noise of the images given, as a part of their range", low=0, high=0.5, common=True)

    def seen(self) -> tuple[str, ...]:
        return ("low", ACQUIRED)


class HighResolution(Reconstruction):
    """An image of higher resolution and less noise, from one of which less of k-space was measured.

    Needs volumes of high resolution, `image`; gives `high` for a volume of `low` resolution, be it on coarse voxels or
    on fine ones already, as scanners interpolate. Low resolution is simulated: the outer part of k-space is set to
    zero, and Rician noise is added. Stands in for 3 T to 7 T (Nie 2018), of which there are few pairs: of what another
    field strength changes, only resolution and noise are simulated.
    """

    name = "high_resolution"
    title = "High from low resolution"
    citation = (
        "Nie D. et al. Medical Image Synthesis with Deep Convolutional Adversarial Networks. IEEE TBME 2018. "
        "Gudbjartsson H. and Patz S. The Rician Distribution of Noisy MRI Data. Magn Reson Med 1995."
    )
    Settings = HighResolutionSettings
    output = "high"
    all_axes = True
    interpolate = staticmethod(zero_filled)

    def acquire(self, image: torch.Tensor) -> Batch:
        noise, factor = self.settings.noise, self.settings.factor
        low = with_rician_noise(truncated(image, factor), noise, factor).clamp(-1, 1)
        return {"low": low, ACQUIRED: torch.zeros_like(image), "target": image}
