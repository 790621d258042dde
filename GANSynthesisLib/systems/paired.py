"""Paired translation: plain regression, and the conditional GAN it becomes with an adversarial weight."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.image import gradient_difference, masked_l1
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import TranslationSettings, middle, translation_error


@dataclasses.dataclass(frozen=True)
class PairedSettings(TranslationSettings):
    sources: tuple[str, ...] = setting(("source",), "roles of the input images; several for several modalities")
    l1_weight: float = setting(1.0, "weight of the mean absolute error", low=0, high=1000, common=True)
    adversarial_weight: float = setting(
        0.0, "weight of the adversarial loss; 0 is plain regression (pix2pix: 0.01 at L1 1)", low=0, high=1000,
        common=True,
    )
    gradient_difference_weight: float = setting(0.0, "weight of the gradient difference loss", low=0, high=1000)


class Paired(System):
    """Image-to-image translation from registered pairs, by regression or with a conditional discriminator.

    Needs cases with `source` (one or several modalities) and `target` on the same anatomy; gives `target`. With
    adversarial weight 0 it is L1 regression, the baseline every paired GAN must be held against; above 0 it is pix2pix
    (Isola 2017) with the L1 term kept at weight 1 and the adversarial one scaled instead.
    """

    name = "paired"
    title = "Paired translation (regression, conditional GAN)"
    task = "synthesize"
    roles = ("source", "target")
    turns = ("generator", "discriminator")
    citation = "Isola P. et al. Image-to-Image Translation with Conditional Adversarial Networks. CVPR 2017."
    Settings = PairedSettings
    criterion = "mae"

    def __init__(self, settings: PairedSettings):
        super().__init__(settings)
        self.roles = (*settings.sources, "target")
        count = len(settings.sources)
        shape = {"context": settings.context, "slab": settings.slab}
        self.generator = Translator(
            count, 1, **shape, width=settings.width, backbone=settings.backbone, levels=settings.levels,
            blocks=settings.blocks,
        )
        self.players = {"generator": ("generator",)}
        self.turns = ("generator",)
        if settings.adversarial_weight > 0:
            self.discriminator = PatchDiscriminator(
                count + 1, **shape, width=settings.discriminator_width, layers=settings.discriminator_layers
            )
            self.players["discriminator"] = ("discriminator",)
            self.turns = ("generator", "discriminator")

    def source(self, batch: Batch) -> torch.Tensor:
        return torch.cat([batch[role] for role in self.settings.sources], 1)

    def generator_turn(self, batch: Batch) -> Losses:
        source, target = self.source(batch), batch["target"]
        fake = self.generator(source)
        losses = {"l1": masked_l1(fake, target)}
        if self.settings.gradient_difference_weight > 0:
            losses["gradient_difference"] = gradient_difference(fake, target)
        if self.settings.adversarial_weight > 0:
            pair = torch.cat([source, fake], 1)
            losses["adversarial"] = generator_loss(self.settings.adversarial, self.discriminator(pair))
            self.fakes["pair"] = pair.detach()
        return losses

    def discriminator_turn(self, batch: Batch) -> Losses:
        real = torch.cat([self.source(batch), batch["target"]], 1)
        fake = self.pooled("pair", self.fakes["pair"])
        loss = discriminator_loss(self.settings.adversarial, self.discriminator(real), self.discriminator(fake))
        return {"discriminator": loss / 2}

    def validate(self, batch: Batch) -> dict[str, float]:
        source, context = self.source(batch), self.settings.context
        fake = self.generator(source)
        return {"mae": translation_error(middle(fake, context), middle(batch["target"], context),
                                         middle(source, context))}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        source = self.source(batch)
        return {"source": source[:, :1], "synthetic": self.generator(source), "target": batch["target"]}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"target": self.generator(self.source(inputs))}

    @classmethod
    def needs(cls, settings: PairedSettings) -> dict[str, tuple[str, ...]]:
        return {"target": settings.sources}

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
