"""The GAN whose networks grow while they learn."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.growing import GrowingCritic, GrowingGenerator, grown
from GANSynthesisLib.systems.base import Batch
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.wgan import Wasserstein, WassersteinSettings


@dataclasses.dataclass(frozen=True)
class ProgressiveSettings(WassersteinSettings):
    batch: int = setting(16, "images per turn", low=1, high=256, common=True)
    learning_rate: float = setting(1e-3, "learning rate of both players", low=1e-7, high=1.0, common=True)
    beta2: float = setting(0.99, "second moment decay of Adam", low=0, high=0.9999)
    decay_from: float = setting(1.0, "fraction of the run after which the rate falls linearly to 0", low=0, high=1)
    ema: float = setting(0.999, "decay of the averaged weights the model is saved with", low=0, high=0.99999)
    drift_weight: float = setting(
        0.001, "weight of the squared score of real images, which else drifts away from 0", low=0, high=10
    )
    critic_turns: int = setting(1, "turns of the critic for one of the generator", low=1, high=20)
    grown_at: float = setting(
        0.5, "part of the run after which images have their full size; before that every size is kept, and the next "
        "one faded in, for the same number of steps", low=0, high=1, common=True,
    )
    architecture: str = setting("growing", "networks of their own kind", choices=("growing",))


class Progressive(Wasserstein):
    """Images or 3D patches from noise, of 4 pixels at first and doubled again and again (Karras 2018).

    Needs cases with `image`. Every new size is faded in; Wasserstein loss with gradient penalty and drift; equalized
    learning rate, pixel normalization, deviation of the minibatch; Adam 1e-3 with β 0 and 0.99; the model is the
    average of the weights (0.999). Changed: the time for each size is a part of the run, whatever its length, and all
    sizes have the same number of images per turn; also in 3D.
    """

    name = "progressive"
    title = "Progressive GAN (image and patch generation)"
    citation = (
        "Karras T. et al. Progressive Growing of GANs for Improved Quality, Stability, and Variation. ICLR 2018."
    )
    Settings = ProgressiveSettings

    def __init__(self, settings: ProgressiveSettings):
        super().__init__(settings)
        self.rounds = 0  # of the run; 0 outside training
        self.register_buffer("played", torch.tensor(0))  # rounds; whole numbers are not averaged

    def make_generator(self) -> GrowingGenerator:
        return GrowingGenerator(self.shape, self.settings.latent, self.settings.width)

    def make_judge(self) -> GrowingCritic:
        return GrowingCritic(self.shape, self.settings.critic_width)

    def use_rounds(self, count: int) -> None:
        self.rounds = count

    def start_anew(self) -> None:
        self.played.zero_()

    def after_turn(self, turn: str) -> None:
        if turn == "generator":
            self.played += 1

    @property
    def growth(self) -> float:
        """Doublings done, that which is being faded in counted in part."""
        levels, growing = self.generator.levels, self.settings.grown_at * self.rounds
        if self.played >= growing:
            return float(levels)
        # In turn a size is kept, and the next one faded in.
        level, within = divmod(2 * levels * float(self.played) / growing, 2)
        return level + max(within - 1, 0.0)

    def make(self, asked: Batch) -> torch.Tensor:
        return self.generator(asked["noise"], self.growth)

    def judged(self, image: torch.Tensor, asked: Batch) -> tuple[torch.Tensor, None]:
        return self.judge(self.flat(image), self.growth), None

    def real(self, batch: Batch) -> torch.Tensor:
        image = grown(self.flat(batch["image"]), self.generator.levels, self.growth)
        return image if self.volumetric else image[:, :, None]
