"""Images of a class, by a discriminator that also classifies."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import ImageDiscriminator
from GANSynthesisLib.networks.generation import NoiseGenerator
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.conditions import class_names
from GANSynthesisLib.systems.dcgan import StridedSettings
from GANSynthesisLib.systems.generation import Generation
from GANSynthesisLib.systems.settings import setting

COMPARED = 8  # images of a class whose differences are reported


@dataclasses.dataclass(frozen=True)
class ACGANSettings(StridedSettings):
    class_weight: float = setting(1.0, "weight of telling the class", low=0, high=1000, common=True)


class ACGAN(Generation):
    """Images or 3D patches of a class that is asked for; the discriminator also tells the class (Odena 2017).

    Needs cases with `image` and `class`. Both players gain where the class of real and of made images is told right.
    That draws the images of a class to what is most typical of it, so `diversity of CLASS` is reported at every
    validation: the standard deviation between made images of that class, voxel by voxel, relative to the range of
    intensities; where it falls, lower class_weight. Changed: networks as of `dcgan`.
    """

    name = "acgan"
    title = "Auxiliary classifier GAN (images of a class)"
    roles = ("image", "class")
    citation = "Odena A. et al. Conditional Image Synthesis with Auxiliary Classifier GANs. ICML 2017."
    Settings = ACGANSettings

    def make_generator(self) -> NoiseGenerator:
        return super().make_generator(condition=len(class_names(self.settings)))

    def make_judge(self) -> ImageDiscriminator:
        return super().make_judge(answers=len(class_names(self.settings)))

    def condition(self, asked: Batch) -> torch.Tensor:
        return F.one_hot(asked["class"], len(self.settings.classes)).float()

    def answer_losses(self, made: torch.Tensor, asked: Batch, real: torch.Tensor | None = None) -> Losses:
        losses = [F.cross_entropy(scores, asked["class"]) for scores in (made, real) if scores is not None]
        return {"class": sum(losses) / len(losses)}

    def validate(self, batch: Batch) -> dict[str, float]:
        kind, noise = int(batch["class"][0]), self.shown(batch, COMPARED)
        alike = self.make({**noise, "class": torch.full_like(noise["class"], kind)})
        right = self.judged(batch["image"], batch)[1].argmax(1) == batch["class"]
        return {
            **super().validate(batch), "class_error": float((~right).float().mean()),
            f"diversity of {self.settings.classes[kind]}": float(alike.std(0).mean()) / 2,
        }
