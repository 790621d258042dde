"""Unsupervised registration whose only measure of similarity is a discriminator."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.discriminators import Critic
from GANSynthesisLib.networks.registration import DisplacementGenerator, sample
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.deformation import bending_energy
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.registration import Registration, RegistrationSettings
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class AdversarialRegistrationSettings(RegistrationSettings):
    blend: float = setting(
        0.15, "part of the moving image in the reference that counts as aligned (one modality; Fan: 0.1 to 0.2)",
        low=0, high=0.5,
    )
    simulated_shift: float = setting(4.0, "largest simulated shift in mm", low=0, high=100)
    simulated_rotation: float = setting(4.0, "largest simulated rotation in degrees", low=0, high=90)
    simulated_scale: float = setting(0.04, "largest simulated scaling, as a fraction", low=0, high=0.5)
    adversarial_weight: float = setting(1.0, "weight of the adversarial loss", low=0, high=1000, common=True)


class AdversarialRegistration(Registration):
    """Deformable registration without a similarity measure: a discriminator tells aligned from unaligned pairs, and
    its verdict alone, with smoothness, teaches the displacement (Fan 2018).

    Needs `fixed` and `moving` that are roughly aligned. What counts as aligned: for images of one modality the fixed
    image with a little of the moving one blended in, so that the two need not look the same; with `aligned` pairs, of
    one or two modalities, the pair itself before its misalignment is simulated. Labels are not used, except to measure
    validation cases. Changed from Fan: bending energy in place of the displacement's gradient, a discriminator of
    whole images in place of patches, non-saturating loss.
    """

    name = "adversarial_registration"
    title = "Unsupervised adversarial registration (deformable)"
    citation = (
        "Fan J. et al. Adversarial Similarity Network for Evaluating Image Alignment in Deep Learning based "
        "Registration. MICCAI 2018."
    )
    Settings = AdversarialRegistrationSettings

    def __init__(self, settings: AdversarialRegistrationSettings):
        super().__init__(settings)
        self.generator = DisplacementGenerator(self.spacing, settings.width, settings.diffeomorphic)
        self.critic = Critic(2, 3, settings.critic_width)

    def _drawn(self, batch: Batch) -> Batch:
        """Aligned pairs are misaligned first; others are as they are, but for the sides and the gain."""
        return self.misaligned(batch) if self.settings.aligned else self.augmented(batch)

    def _judged(self, pair: Batch, points: torch.Tensor) -> torch.Tensor:
        return torch.cat([pair["fixed"], sample(pair["moving"], points, self.spacing, -1)], 1)

    def critic_turn(self, batch: Batch) -> Losses:
        pair = self._drawn(batch)
        with torch.no_grad():
            fake = self._judged(pair, self.register(pair)["points"])
            if self.settings.aligned:
                real = self._judged(pair, pair["truth"])
            else:
                blend = self.settings.blend
                real = torch.cat([pair["fixed"], (1 - blend) * pair["fixed"] + blend * pair["moving"]], 1)
        return {"critic": discriminator_loss("non-saturating", self.critic(real), self.critic(fake))}

    def generator_turn(self, batch: Batch) -> Losses:
        pair = self._drawn(batch)
        result = self.register(pair)
        return {
            "adversarial": generator_loss("non-saturating", self.critic(self._judged(pair, result["points"]))),
            "smoothness": bending_energy(result["displacement"], self.spacing),
        }

    def quality(self, inputs: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """The discriminator's probability that the pair is aligned, 0 … 1."""
        return self.critic(self._judged(inputs, points)).sigmoid()
