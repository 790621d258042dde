"""Images whose kinds are found without labels."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import ImageDiscriminator
from GANSynthesisLib.networks.generation import NoiseGenerator
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.dcgan import StridedSettings
from GANSynthesisLib.systems.generation import SHOWN, Generation
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class InfoGANSettings(StridedSettings):
    latent: int = setting(16, "numbers of the noise vector; many leave little to the codes", low=2, high=1024)
    categories: int = setting(
        10, "kinds of images to be found: values of the categorical code", low=2, high=100, common=True
    )
    continuous: int = setting(2, "continuous codes, each from −1 to 1", low=0, high=20, common=True)
    category_weight: float = setting(1.0, "weight of the information of the categorical code", low=0, high=1000)
    continuous_weight: float = setting(1.0, "weight of the information of the continuous codes", low=0, high=1000)


class InfoGAN(Generation):
    """Images or 3D patches from noise and codes that turn out to mean something (Chen 2016).

    Needs cases with `image`. The trunk of the discriminator also tells which codes a made image was made of, a lower
    bound of their mutual information: the categorical one comes to be the kind of image, the continuous ones what else
    varies. Neither player sees a label. Where the cases have classes and the setting `classes` names them, a code is
    called after the class that it is found in most often in training, and `code_error` says how often that is wrong of
    the validation images. Changed: networks as of `dcgan`; codes are as long as the noise; continuous codes have a
    fixed variance, which makes their loss weaker, and so a weight of 1 instead of 0.1.
    """

    name = "infogan"
    title = "InfoGAN (images of kinds found without labels)"
    optional_roles = ("class",)
    citation = (
        "Chen X. et al. InfoGAN: Interpretable Representation Learning by Information Maximizing Generative "
        "Adversarial Nets. NeurIPS 2016."
    )
    Settings = InfoGANSettings

    def __init__(self, settings: InfoGANSettings):
        super().__init__(settings)
        # How often training images of a class were found to be of a category, those long ago forgotten.
        self.register_buffer("found", torch.zeros(settings.categories, max(len(settings.classes), 1)))

    def make_generator(self) -> NoiseGenerator:
        return super().make_generator(condition=self.settings.categories + self.settings.continuous)

    def make_judge(self) -> ImageDiscriminator:
        return super().make_judge(answers=self.settings.categories + self.settings.continuous)

    # --- codes (B, categories + continuous): one category is 1, the others 0

    def asked(self, batch: Batch) -> Batch:
        asked, settings, device = super().asked(batch), self.settings, batch["image"].device
        count = len(asked["noise"])
        category = torch.randint(settings.categories, (count,), device=device)
        values = 2 * torch.rand(count, settings.continuous, device=device) - 1
        return {**asked, "code": torch.cat([F.one_hot(category, settings.categories).float(), values], 1)}

    def shown(self, batch: Batch, count: int = SHOWN) -> Batch:
        asked, settings = super().shown(batch, count), self.settings
        category = torch.arange(count, device=batch["image"].device) % settings.categories
        return {**asked, "code": F.pad(F.one_hot(category, settings.categories).float(), (0, settings.continuous))}

    def condition(self, asked: Batch) -> torch.Tensor:
        # As long as the noise, which else decides the kind of image and leaves the code what nobody sees.
        return asked["code"] * math.sqrt(self.settings.latent)

    # --- turns

    def discriminator_turn(self, batch: Batch) -> Losses:
        if "class" in batch and self.settings.classes:
            self._count(batch)
        return super().discriminator_turn(batch)

    def answer_losses(self, made: torch.Tensor, asked: Batch, real: torch.Tensor | None = None) -> Losses:
        categories, settings = self.settings.categories, self.settings
        losses = {"category": F.cross_entropy(made[:, :categories], asked["code"][:, :categories])}
        if settings.continuous:
            losses["continuous"] = F.mse_loss(made[:, categories:], asked["code"][:, categories:]) / 2
        return losses

    # --- looking

    @torch.no_grad()
    def _count(self, batch: Batch) -> None:
        """Which categories training images of each class are found to be of; nothing is learned from it."""
        classes = F.one_hot(batch["class"], self.found.shape[1]).float()
        categories = F.one_hot(self.category(batch["image"]), self.settings.categories).float()
        self.found.mul_(0.99).add_(categories.T @ classes)

    def category(self, image: torch.Tensor) -> torch.Tensor:
        """The category (B,) that images are found to be of."""
        return self.judge(self.flat(image))[1][:, : self.settings.categories].argmax(1)

    def validate(self, batch: Batch) -> dict[str, float]:
        numbers = super().validate(batch)
        if "class" in batch and self.settings.classes:
            called = self.found.argmax(1)[self.category(batch["image"])]
            numbers["code_error"] = float((called != batch["class"]).float().mean())
        return numbers
