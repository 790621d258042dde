"""Unconditional generation with a Wasserstein critic."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.discriminators import Critic
from GANSynthesisLib.networks.generation import NoiseGenerator
from GANSynthesisLib.objectives.adversarial import (
    clip_weights,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import SettingsError, setting
from GANSynthesisLib.systems.translation import ImageSettings


@dataclasses.dataclass(frozen=True)
class WGANSettings(ImageSettings):
    context: str = setting("2D", "2D images or 3D patches", choices=("2D", "3D"), common=True)
    patch: tuple[int, ...] = setting((64, 64), "size of the generated image, multiples of 16", low=16, high=512)
    batch: int = setting(16, "images per turn", low=1, high=256, common=True)
    learning_rate: float = setting(1e-4, "learning rate (penalty: 1e-4; clipping: 5e-5)", low=1e-7, high=1.0)
    beta1: float = setting(0.0, "first moment decay of Adam", low=0, high=0.999)
    beta2: float = setting(0.9, "second moment decay of Adam", low=0, high=0.9999)
    lipschitz: str = setting(
        "penalty", "how the critic is kept 1-Lipschitz: gradient penalty, or the original's weight clipping",
        choices=("penalty", "clipping"), common=True,
    )
    gradient_penalty_weight: float = setting(10.0, "weight of the gradient penalty", low=0, high=1000)
    clip: float = setting(0.01, "bound of the critic's weights under clipping", low=1e-4, high=1)
    critic_turns: int = setting(5, "turns of the critic for one of the generator", low=1, high=20)
    latent: int = setting(128, "numbers of the noise vector", low=2, high=1024)
    critic_width: int = setting(32, "channels of the critic's first layer", low=4, high=256)


class WGAN(System):
    """Images or 3D patches from noise, with a Wasserstein critic (Arjovsky 2017; penalty: Gulrajani 2017).

    Needs cases with `image`; gives new images. `lipschitz=clipping optimizer=rmsprop learning_rate=5e-5` is the
    original; the penalty is the default because clipping starves the critic of capacity. The critic has no
    normalization layer, and its loss (an estimate of the Wasserstein distance) falls as images get better.
    """

    name = "wgan"
    title = "Wasserstein GAN (image and patch generation)"
    task = "generate"
    roles = ("image",)
    turns = ("critic",) * 5 + ("generator",)
    citation = (
        "Arjovsky M. et al. Wasserstein GAN. ICML 2017. Gulrajani I. et al. Improved Training of Wasserstein GANs. "
        "NeurIPS 2017."
    )
    Settings = WGANSettings

    def __init__(self, settings: WGANSettings):
        super().__init__(settings)
        window = settings.window()
        shape = window if settings.context == "3D" else window[1:]
        if any(size % 16 for size in shape):
            raise SettingsError(f"patch is {shape}: the generator doubles sizes four times, so give multiples of 16.")
        self.volumetric = settings.context == "3D"
        self.generator = NoiseGenerator(shape, settings.latent, settings.width)
        self.critic = Critic(1, len(shape), settings.critic_width)
        self.turns = ("critic",) * settings.critic_turns + ("generator",)
        self.players = {"critic": ("critic",), "generator": ("generator",)}

    def _judge(self, image: torch.Tensor) -> torch.Tensor:
        return self.critic(image if self.volumetric else image[:, :, 0])

    def _noise(self, count: int, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(count, self.settings.latent, device=like.device)

    def critic_turn(self, batch: Batch) -> Losses:
        real = batch["image"]
        with torch.no_grad():
            fake = self.generator(self._noise(real.shape[0], real))
        losses = {"critic": discriminator_loss("wasserstein", self._judge(real), self._judge(fake))}
        if self.settings.lipschitz == "penalty":
            losses["gradient_penalty"] = gradient_penalty(self._judge, real, fake)
        return losses

    def generator_turn(self, batch: Batch) -> Losses:
        fake = self.generator(self._noise(batch["image"].shape[0], batch["image"]))
        return {"generator": generator_loss("wasserstein", self._judge(fake))}

    def after_turn(self, turn: str) -> None:
        if turn == "critic" and self.settings.lipschitz == "clipping":
            clip_weights(self.critic, self.settings.clip)

    def validate(self, batch: Batch) -> dict[str, float]:
        real = batch["image"]
        noise = torch.Generator().manual_seed(0)
        fake = self.generator(torch.randn(real.shape[0], self.settings.latent, generator=noise).to(real.device))
        return {
            "wasserstein_estimate": float(self._judge(real).mean() - self._judge(fake).mean()),
            # Over voxels: validation batches hold a single image.
            "deviation_ratio": float(fake.flatten(1).std(1).mean() / real.flatten(1).std(1).mean().clamp(min=1e-6)),
        }

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        noise = torch.Generator().manual_seed(0)
        fakes = self.generator(torch.randn(4, self.settings.latent, generator=noise).to(batch["image"].device))
        return {"real": batch["image"], **{f"generated {i + 1}": fakes[i : i + 1] for i in range(4)}}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"image": self.generator(inputs["noise"])}

    @classmethod
    def needs(cls, settings: WGANSettings) -> dict[str, tuple[str, ...]]:
        return {"image": ()}

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
