"""Translation learned from paired and unpaired cases at once (MR-GAN)."""

from __future__ import annotations

import dataclasses
import random

import torch
import torch.nn.functional as F

from GANSynthesisLib.objectives.adversarial import discriminator_loss
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.cyclegan import CycleGAN, CycleGANSettings
from GANSynthesisLib.systems.settings import setting

PAIR = ("paired_source", "paired_target")


@dataclasses.dataclass(frozen=True)
class MRGANSettings(CycleGANSettings):
    voxel_weight: float = setting(
        100.0, "weight of the voxel-wise error of paired cases (pix2pix: 100 beside an adversarial weight of 1)",
        low=0, high=1000, common=True,
    )
    paired_fraction: float = setting(
        1.0, "part of the cases with both images that are used as pairs, at least one; 0 trains without pairs", low=0,
        high=1, common=True,
    )


class MRGAN(CycleGAN):
    """Translation from few registered pairs and many unpaired images, through shared networks (MR-GAN, Jin 2018).

    Needs `source` and `target` cases: those of the same name in both folders are registered pairs, the others are
    unpaired, and the images of pairs are drawn as unpaired ones, too. Gives what `cyclegan` gives. Each round has an
    unpaired turn of the generators (adversarial and cycle loss) and a paired one (adversarial, cycle and voxel-wise
    loss, in both directions): the cycle is a dual one, and the voxel-wise loss is for pairs alone. A larger
    `paired_fraction` takes the cases of a smaller one and others besides. Changed from the paper: 2.5D and 3D as well
    as 2D; the discriminators look at one image, not at a pair, so that both kinds of batch share them; the weights of
    the losses are ours.
    """

    name = "mr_gan"
    title = "MR-GAN: paired and unpaired cases together"
    advice = "set paired_fraction=0 to train without pairs"
    citation = "Jin C.-B. et al. Deep CT to MR Synthesis Using Paired and Unpaired Data. Sensors 2019 (arXiv 2018)."
    Settings = MRGANSettings

    def __init__(self, settings: MRGANSettings):
        super().__init__(settings)
        self.pairs = settings.paired_fraction > 0
        if self.pairs:
            self.players["paired_generators"] = ("to_target", "to_source")
            self.turns = ("generators", "paired_generators", "discriminators")
            self.criterion = "mae"

    def drawn_together(self) -> tuple[tuple[str, ...], ...]:
        return (*super().drawn_together(), PAIR) if self.pairs else super().drawn_together()

    def drawn_from(self, group: tuple[str, ...], names: list[str]) -> list[str]:
        if group != PAIR or not names:
            return names
        shuffled = random.Random(0).sample(sorted(names), len(names))
        return shuffled[: max(1, round(self.settings.paired_fraction * len(names)))]

    def paired_generators_turn(self, batch: Batch) -> Losses:
        source, target = (batch[role] for role in PAIR)
        fakes = self.translations(source, target)
        self.fakes |= {f"paired_{role}": fake.detach() for role, fake in fakes.items()}
        voxel = F.l1_loss(fakes["target"], target) + F.l1_loss(fakes["source"], source)
        return {"voxel": voxel, **self.cycle_losses(source, target, fakes)}

    def discriminators_turn(self, batch: Batch) -> Losses:
        if not self.pairs:
            return super().discriminators_turn(batch)
        losses = {}
        for role, judge in (("target", self.judge_target), ("source", self.judge_source)):
            real = torch.cat([batch[role], batch[f"paired_{role}"]])
            fake = torch.cat([self.pooled(name, self.fakes[name]) for name in (role, f"paired_{role}")])
            losses[f"judge_{role}"] = discriminator_loss(self.settings.adversarial, judge(real), judge(fake)) / 2
        return losses
