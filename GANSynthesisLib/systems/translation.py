"""What the systems that turn one image into another share: their settings and how an image is compared."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.translation import BACKBONES
from GANSynthesisLib.objectives.image import masked_l1
from GANSynthesisLib.systems.settings import Settings, setting

RANGE_HELP = (
    "percentile:LOW:HIGH or median:LOW:HIGH (multiples; both of the foreground), window:LOW:HIGH, "
    "hounsfield (−1024:3071) or as_is (−1:1)"
)


@dataclasses.dataclass(frozen=True)
class ImageSettings(Settings):
    """What the networks see of a source image."""

    modality: str = setting("source", "modality of the source, for the card (T1, CT, …)", common=True)
    intensity: str = setting("percentile:0.5:99.5", "source intensities that become −1…1: " + RANGE_HELP, common=True)
    anatomy: str = setting("", "anatomy and preparation of the training images, for the card", common=True)


@dataclasses.dataclass(frozen=True)
class TranslatorSettings(ImageSettings):
    """Settings of systems whose generator turns images into an image, and of who judges it."""

    mask_background: bool = setting(True, "voxels outside the source's foreground get the target's lowest value")
    backbone: str = setting(
        "unet", "generator: unet, the residual one of CycleGAN, or fcn, without pooling (Nie 2017)", choices=BACKBONES,
        common=True,
    )
    levels: int = setting(4, "halvings of a U-Net", low=1, high=6)
    blocks: int = setting(9, "residual blocks of a residual generator", low=1, high=16)
    discriminator_width: int = setting(32, "channels of the discriminators' first layer", low=4, high=256)
    discriminator_layers: int = setting(3, "stride-2 layers of the PatchGAN; 3 see 70 voxels", low=1, high=5)
    adversarial: str = setting(
        "least-squares", "adversarial objective", choices=("minimax", "non-saturating", "least-squares", "hinge")
    )


@dataclasses.dataclass(frozen=True)
class TranslationSettings(TranslatorSettings):
    """Settings of systems that turn the images of one modality into those of another."""

    target_modality: str = setting("target", "modality of the target, for the card", common=True)
    target_intensity: str = setting(
        "percentile:0.5:99.5", "target intensities that become −1…1: " + RANGE_HELP, common=True
    )
    target_unit: str = setting("", "unit of the target's intensities, for the card (HU, say)")


def middle(image: torch.Tensor, context: str) -> torch.Tensor:
    """The middle slice of a slab, the whole of anything else."""
    return image[:, :, image.shape[2] // 2 : image.shape[2] // 2 + 1] if context == "2.5D" else image


def translation_error(fake: torch.Tensor, real: torch.Tensor, source: torch.Tensor) -> float:
    """Mean absolute error over the source's foreground, as a fraction of the target's range (−1…1 is 1)."""
    foreground = (source[:, :1] > -1).float()
    return float(masked_l1(fake.clamp(-1, 1), real, foreground)) / 2
