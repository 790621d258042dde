"""The first generative adversarial network."""

from __future__ import annotations

import dataclasses

from GANSynthesisLib.systems.generation import Generation, GenerationSettings
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class GANSettings(GenerationSettings):
    adversarial: str = setting(
        "non-saturating", "what the generator minimizes: −log D (trains), or the log(1 − D) of the minimax game, "
        "whose gradient vanishes once the discriminator is sure", choices=("non-saturating", "minimax"), common=True,
    )


class GAN(Generation):
    """Images or 3D patches from noise by the original game (Goodfellow 2014), binary cross-entropy on raw logits.

    Needs cases with `image`. The generator minimizes −log D(G(z)), as the paper does in practice, or, with
    adversarial=minimax, log(1 − D(G(z))). Where the discriminator can only guess, its logit gap goes to 0. Changed:
    the paper's fully connected networks are residual convolutional ones, the same as those of `lsgan` and `wgan`, so
    that the three differ by their loss.
    """

    name = "gan"
    title = "GAN (image and patch generation)"
    citation = "Goodfellow I. et al. Generative Adversarial Nets. NeurIPS 2014."
    Settings = GANSettings

    def __init__(self, settings: GANSettings):
        super().__init__(settings)
        self.adversarial = settings.adversarial
