"""Images of a class, of a value, or with given structures."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import ImageDiscriminator
from GANSynthesisLib.networks.generation import NoiseGenerator
from GANSynthesisLib.systems.base import Batch
from GANSynthesisLib.systems.conditions import class_names
from GANSynthesisLib.systems.dcgan import StridedSettings
from GANSynthesisLib.systems.generation import Generation
from GANSynthesisLib.systems.settings import SettingsError, setting

KNOTS = 8  # steps that the range of a value is divided by
CONDITIONS = ("class", "value", "labels")


@dataclasses.dataclass(frozen=True)
class CGANSettings(StridedSettings):
    conditioning: tuple[str, ...] = setting(
        ("class",), "what images are asked for: class, value (a slice level, an age), labels (structures of a mask), "
        "or several of them", common=True,
    )
    labels: tuple[str, ...] = setting(
        ("background", "structure"), "names of the values 0, 1, … of the masks", common=True
    )
    judging: str = setting(
        "projection", "how the discriminator is shown class and value: projected on its features (Miyato and Koyama "
        "2018), or as further channels of the image", choices=("projection", "channels"),
    )


class CGAN(Generation):
    """Images or 3D patches that are what is asked for: of a class, of a value, with structures (Mirza 2014).

    Needs cases with `image` and what `conditioning` names: `class`, `value`, `labels`. Both players see it: the
    generator beside its noise, masks at every resolution; the discriminator projected on its features, or as further
    channels (masks always), so that a good image of something else is a bad one. Changed: networks as of `dcgan`;
    a value is told as its distances to nine steps of its range, so that it need not act linearly.
    """

    name = "cgan"
    title = "Conditional GAN (images of a class, of a value, with structures)"
    roles = ("image", "class")
    citation = (
        "Mirza M., Osindero S. Conditional Generative Adversarial Nets. arXiv 2014. "
        "Miyato T., Koyama M. cGANs with Projection Discriminator. ICLR 2018."
    )
    Settings = CGANSettings

    def __init__(self, settings: CGANSettings):
        if not settings.conditioning or not set(settings.conditioning) <= set(CONDITIONS):
            raise SettingsError(
                f"conditioning is '{','.join(settings.conditioning)}'; it must be one or several of "
                f"{', '.join(CONDITIONS)}."
            )
        super().__init__(settings)

    @classmethod
    def conditions(cls, settings: CGANSettings) -> tuple[str, ...]:
        return tuple(role for role in ("class", "value") if role in settings.conditioning)

    @classmethod
    def needs(cls, settings: CGANSettings) -> dict[str, tuple[str, ...]]:
        return {"image": tuple(role for role in ("labels",) if role in settings.conditioning)}

    def _sizes(self) -> tuple[int, int]:
        """Numbers that class and value are told by, and channels that a mask has."""
        settings, count = self.settings, 0
        if "class" in settings.conditioning:
            count += len(class_names(settings))
        if "value" in settings.conditioning:
            count += KNOTS + 1
        return count, len(settings.labels) if "labels" in settings.conditioning else 0

    def make_generator(self) -> NoiseGenerator:
        return super().make_generator(*self._sizes())

    def make_judge(self) -> ImageDiscriminator:
        numbers, structures = self._sizes()
        if self.settings.judging == "channels":
            return super().make_judge(more_channels=numbers + structures)
        return super().make_judge(condition=numbers, more_channels=structures)

    def condition(self, asked: Batch) -> torch.Tensor:
        told = [asked["noise"][:, :0]] if "noise" in asked else []
        if "class" in self.roles:
            told.append(F.one_hot(asked["class"], len(self.settings.classes)).float())
        if "value" in self.roles:
            told.append(hats(asked["value"]))
        return torch.cat(told, 1) if told else asked["image"].new_zeros(len(asked["image"]), 0)

    def mask(self, asked: Batch) -> torch.Tensor | None:
        if "labels" not in self.roles:
            return None
        hot = F.one_hot(asked["labels"][:, 0].long(), len(self.settings.labels))
        return hot.movedim(-1, 1).float()

    def judged(self, image: torch.Tensor, asked: Batch) -> tuple[torch.Tensor, None]:
        seen, told = [image], self.condition(asked)
        if "labels" in self.roles:
            seen.append(self.mask(asked))
        if self.settings.judging == "channels":
            seen.append(told[:, :, None, None, None].expand(-1, -1, *image.shape[2:]))
        return self.judge(self.flat(torch.cat(seen, 1)), told)


def hats(value: torch.Tensor) -> torch.Tensor:
    """(B,) in [−1, 1] -> (B, KNOTS + 1): 1 at the step that a value lies on, shared by the two it lies between."""
    steps = torch.arange(KNOTS + 1, device=value.device)
    return (1 - ((value[:, None] + 1) * KNOTS / 2 - steps).abs()).clamp(min=0)
