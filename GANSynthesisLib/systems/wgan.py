"""The GAN whose critic estimates a Wasserstein distance."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.objectives.adversarial import clip_weights, discriminator_loss, gradient_penalty
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.generation import Generation, GenerationSettings
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class WassersteinSettings(GenerationSettings):
    """Settings of games with a critic, whose gradient is penalized."""

    learning_rate: float = setting(
        1e-4, "learning rate (penalty: 1e-4; clipping: 5e-5)", low=1e-7, high=1.0, common=True
    )
    beta1: float = setting(0.0, "first moment decay of Adam", low=0, high=0.999)
    beta2: float = setting(0.9, "second moment decay of Adam", low=0, high=0.9999)
    gradient_penalty_weight: float = setting(10.0, "weight of the gradient penalty", low=0, high=1000)
    drift_weight: float = setting(
        0.0, "weight of the squared score of real images, which else drifts away from 0", low=0, high=10
    )
    critic_turns: int = setting(5, "turns of the critic for one of the generator", low=1, high=20)


@dataclasses.dataclass(frozen=True)
class WGANSettings(WassersteinSettings):
    batch: int = setting(16, "images per turn", low=1, high=256, common=True)
    lipschitz: str = setting(
        "penalty", "how the critic is kept 1-Lipschitz: gradient penalty, or the original's weight clipping",
        choices=("penalty", "clipping"), common=True,
    )
    clip: float = setting(0.01, "bound of the critic's weights under clipping", low=1e-4, high=1)


class Wasserstein(Generation):
    """A game with a critic, whose gradient is kept near 1 by a penalty (Gulrajani 2017)."""

    turns = ("critic",) * 5 + ("generator",)
    adversarial = "wasserstein"
    Settings = WassersteinSettings

    def __init__(self, settings: WassersteinSettings):
        super().__init__(settings)
        self.turns = ("critic",) * settings.critic_turns + ("generator",)
        self.players = {"critic": ("judge",), "generator": ("generator",)}
        self.penalized = True

    def critic_turn(self, batch: Batch) -> Losses:
        asked, real = self.asked(batch), self.real(batch)
        with torch.no_grad():
            fake = self.make(asked)
        score = self.judged(real, asked)[0]
        losses = {"critic": discriminator_loss(self.adversarial, score, self.judged(fake, asked)[0])}
        if self.penalized:
            losses["gradient_penalty"] = gradient_penalty(lambda image: self.judged(image, asked)[0], real, fake)
        if self.settings.drift_weight > 0:
            losses["drift"] = score.square().mean()
        return losses

    def validate(self, batch: Batch) -> dict[str, float]:
        numbers = super().validate(batch)
        return {"wasserstein_estimate": numbers.pop("logit_gap"), **numbers}


class WGAN(Wasserstein):
    """Images or 3D patches from noise, with a Wasserstein critic (Arjovsky 2017; penalty: Gulrajani 2017).

    Needs cases with `image`. `lipschitz=clipping optimizer=rmsprop learning_rate=5e-5` is the original; the penalty
    is the default because clipping starves the critic of capacity. The critic has no normalization layer, and its loss
    (an estimate of the Wasserstein distance) falls as images get better. Changed: group normalization in the
    generator.
    """

    name = "wgan"
    title = "Wasserstein GAN (image and patch generation)"
    citation = (
        "Arjovsky M. et al. Wasserstein GAN. ICML 2017. Gulrajani I. et al. Improved Training of Wasserstein GANs. "
        "NeurIPS 2017."
    )
    Settings = WGANSettings

    def __init__(self, settings: WGANSettings):
        super().__init__(settings)
        self.penalized = settings.lipschitz == "penalty"

    def after_turn(self, turn: str) -> None:
        if turn == "critic" and not self.penalized:
            clip_weights(self.judge, self.settings.clip)
