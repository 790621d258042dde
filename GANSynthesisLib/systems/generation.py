"""What all systems share that make images from noise: settings, noise, who judges, turns, validation, preview.

A method is a class below with its own objective (`adversarial`), networks (`make_generator`, `make_judge`), what its
images are asked for (`asked`, `condition`, `mask`), or what its judge is asked besides (`answer_losses`).
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from GANSynthesisLib.networks.discriminators import ImageDiscriminator
from GANSynthesisLib.networks.generation import ARCHITECTURES, NoiseGenerator, doublings, start_as_dcgan
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.conditions import ConditionSettings
from GANSynthesisLib.systems.settings import SettingsError, setting

SHOWN = 4  # made images in a preview
SMALLEST_NORMALIZED_BATCH = 4  # images, for batch normalization in 2D


@dataclasses.dataclass(frozen=True)
class GenerationSettings(ConditionSettings):
    """Settings of every system that makes images from noise."""

    context: str = setting("2D", "2D images or 3D patches", choices=("2D", "3D"), common=True)
    patch: tuple[int, ...] = setting(
        (64, 64), "size of the made image, which is doubled from 4 to 7 pixels along every axis: 32, 40, 48, 56, 64 …",
        low=8, high=512
    )
    batch: int = setting(32, "images per turn", low=1, high=256, common=True)
    augment: float = setting(
        0.0, "strength of random rotation, scaling and flips, which the made images then show, too", low=0, high=2
    )
    pool: int = setting(0, "past fakes are not shown again: made images have no source that they belong to", low=0,
                        high=0)
    latent: int = setting(64, "numbers of the noise vector", low=2, high=1024)
    critic_width: int = setting(32, "channels of the first layer of the discriminator or critic", low=4, high=256)
    architecture: str = setting(
        "residual", "residual blocks with upsampling, and no normalization in the judge (Gulrajani 2017), or strided "
        "convolutions with batch normalization (Radford 2016)", choices=ARCHITECTURES,
    )

    def image_shape(self) -> tuple[int, ...]:
        """Size of a made image, (D, H, W) or (H, W). Raises SettingsError unless it can be halved to about 4."""
        window = self.window()
        shape = window if self.context == "3D" else window[1:]
        multiples = [math.prod(factors) for factors in zip(*doublings(shape), strict=True)]
        if any(size % multiple for size, multiple in zip(shape, multiples, strict=True)):
            raise SettingsError(f"patch is {shape}: the generator doubles sizes, so give multiples of "
                                f"{' × '.join(map(str, multiples))}.")
        return shape

    @property
    def norm(self) -> str:
        """Of strided networks: over the batch, as in the paper, or over groups of channels where that is too small."""
        if self.architecture == "residual":
            return "group"
        return "batch" if self.context == "2D" and self.batch >= SMALLEST_NORMALIZED_BATCH else "group"


class Generation(System):
    """New images, or 3D patches, from noise; a judge learns to tell them from the real ones."""

    task = "generate"
    roles = ("image",)
    turns = ("discriminator", "generator")
    adversarial = "non-saturating"  # of objectives.adversarial.KINDS
    Settings = GenerationSettings

    def __init__(self, settings: GenerationSettings):
        super().__init__(settings)
        self.volumetric, self.shape = settings.context == "3D", settings.image_shape()
        asked = (*type(self).conditions(settings), *type(self).needed(settings))
        self.roles = ("image", *asked)
        self.generator, self.judge = self.make_generator(), self.make_judge()
        if settings.architecture == "strided":
            start_as_dcgan(self.generator)
            start_as_dcgan(self.judge)
        self.players = {"discriminator": ("judge",), "generator": ("generator",)}

    # --- networks

    def make_generator(self, condition: int = 0, mask_channels: int = 0) -> nn.Module:
        """condition: numbers that are appended to the noise; mask_channels: structures of a mask."""
        settings = self.settings
        return NoiseGenerator(self.shape, settings.latent + condition, settings.width, settings.architecture,
                              settings.norm, mask_channels)

    def make_judge(self, answers: int = 0, condition: int = 0, more_channels: int = 0) -> nn.Module:
        """answers, condition: as of `ImageDiscriminator`; more_channels: what it sees beside the image."""
        settings = self.settings
        norm = settings.norm if settings.architecture == "strided" and self.adversarial != "wasserstein" else "none"
        return ImageDiscriminator(self.shape, 1 + more_channels, settings.critic_width, norm, answers, condition)

    # --- what an image is asked for

    def asked(self, batch: Batch) -> Batch:
        """New noise for as many images as the batch has, and what else they are to be: the same as its real ones."""
        return {"noise": self._noise(len(batch["image"]), batch["image"].device),
                **{role: batch[role] for role in self.roles if role != "image"}}

    def shown(self, batch: Batch, count: int = SHOWN) -> Batch:
        """The same as `asked` for images to be looked at: always the same noise, and classes in turn."""
        device, noise = batch["image"].device, torch.Generator().manual_seed(0)
        asked = {"noise": torch.randn(count, self.settings.latent, generator=noise).to(device)}
        if "class" in self.roles:
            asked["class"] = torch.arange(count, device=device) % len(self.settings.classes)
        if "value" in self.roles:
            asked["value"] = torch.linspace(-1, 1, count, device=device)
        if "labels" in self.roles:
            asked["labels"] = batch["labels"][:1].expand(count, -1, -1, -1, -1)
        return asked

    def condition(self, asked: Batch) -> torch.Tensor:
        """What an image is to be beside its noise, as numbers (B, N)."""
        return asked["noise"][:, :0]

    def mask(self, asked: Batch) -> torch.Tensor | None:
        """Structures that an image is to have, as channels (B, N, D, H, W)."""
        return None

    def make(self, asked: Batch) -> torch.Tensor:
        """Images (B, 1, D, H, W)."""
        return self.generator(torch.cat([asked["noise"], self.condition(asked)], 1), self.mask(asked))

    def judged(self, image: torch.Tensor, asked: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (B,) and answers of the judge for images (B, 1, D, H, W) that are to be what was asked for."""
        return self.judge(self.flat(image))

    def flat(self, image: torch.Tensor) -> torch.Tensor:
        return image if self.volumetric else image[:, :, 0]

    def _noise(self, count: int, device) -> torch.Tensor:
        return torch.randn(count, self.settings.latent, device=device)

    # --- turns

    def real(self, batch: Batch) -> torch.Tensor:
        """The real images as the judge is to see them, of the same size as made ones."""
        return batch["image"]

    def answer_losses(self, made: torch.Tensor | None, asked: Batch, real: torch.Tensor | None = None) -> Losses:
        """Losses of what the judge answers besides, of made and, in its own turn, of real images."""
        return {}

    def discriminator_turn(self, batch: Batch) -> Losses:
        asked = self.asked(batch)
        with torch.no_grad():
            fake = self.make(asked)
        real_logits, real_answers = self.judged(self.real(batch), asked)
        fake_logits, fake_answers = self.judged(fake, asked)
        losses = {"discriminator": discriminator_loss(self.adversarial, real_logits, fake_logits)}
        return losses | self.answer_losses(fake_answers, asked, real_answers)

    def generator_turn(self, batch: Batch) -> Losses:
        asked = self.asked(batch)
        logits, answers = self.judged(self.make(asked), asked)
        return {"generator": generator_loss(self.adversarial, logits), **self.answer_losses(answers, asked)}

    # --- looking

    def validate(self, batch: Batch) -> dict[str, float]:
        real, asked = self.real(batch), self.shown(batch)
        fake = self.make(asked)
        as_real = {role: batch[role] for role in self.roles}
        gap = self.judged(real, as_real)[0].mean() - self.judged(fake, asked)[0].mean()
        return {
            "logit_gap": float(gap),  # 0 where the judge cannot tell them apart
            # Over voxels: validation batches hold a single image.
            "deviation_ratio": float(fake.flatten(1).std(1).mean() / real.flatten(1).std(1).mean().clamp(min=1e-6)),
        }

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        fakes = self.make(self.shown(batch))
        return {"real": batch["image"], **{f"generated {i + 1}": fakes[i : i + 1] for i in range(len(fakes))}}

    # --- the model

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """`image` (B, 1, D, H, W) of `noise` (B, latent) and what else the method's images are asked for."""
        return {"image": self.make(inputs)}

    @classmethod
    def needs(cls, settings: GenerationSettings) -> dict[str, tuple[str, ...]]:
        return {"image": ()}

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
