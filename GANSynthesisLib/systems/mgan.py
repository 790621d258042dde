"""Texture learned from patches of frozen features."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.features import FeatureDiscriminator
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.image import feature_difference
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import SettingsError, setting
from GANSynthesisLib.systems.translation import TranslationSettings


@dataclasses.dataclass(frozen=True)
class MGANSettings(TranslationSettings):
    adversarial: str = setting(
        "hinge", "adversarial objective", choices=("minimax", "non-saturating", "least-squares", "hinge")
    )
    feature_model: str = setting(
        "", "frozen network whose features are judged: VGG19 or VGG16 weights as torchvision saves them (.pth), or a "
        "segmentor (name or model file); only training needs it", common=True,
    )
    feature_depths: tuple[int, ...] = setting(
        (3, 4), "depths of its features: that whose patches are judged, and a deeper one at which the content is "
        "compared; 1 is the image's resolution, each further one half of it", low=1, high=7,
    )
    content_weight: float = setting(
        1.0, "weight of the difference of the deeper features from those of the source; 0 frees the content", low=0,
        high=1000, common=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if len(self.feature_depths) != 2 or self.feature_depths[0] >= self.feature_depths[1]:
            raise SettingsError(f"feature_depths is {self.feature_depths}: give two, the deeper one last, as 3,4.")


class MGAN(System):
    """The texture of target images given to the content of source images (Markovian GAN, Li and Wand 2016).

    Needs unpaired cases with `source` and `target`, and a frozen network; gives `target`. The discriminator sees
    nothing but patches of feature maps, about relu3_1 of VGG19 in the paper, and so learns what is near to what, not
    where; hinge loss; a deeper layer keeps the content. VGG weights come from a local file. Changed: the source's
    features are the content, since no textured copy of it exists; any of our generators; the frozen network may be one
    of our own segmentors, in 3D, too; the model does not need it any more.
    """

    name = "mgan"
    title = "Markovian GAN (texture of one kind of image on another)"
    task = "synthesize"
    roles = ("source", "target")
    turns = ("generator", "discriminator")
    paired = False
    wants_features = True
    citation = (
        "Li C., Wand M. Precomputed Real-Time Texture Synthesis with Markovian Generative Adversarial Networks. "
        "ECCV 2016."
    )
    Settings = MGANSettings

    def __init__(self, settings: MGANSettings):
        super().__init__(settings)
        self.generator = Translator(1, 1, settings.context, settings.slab, settings.width, settings.backbone,
                                    settings.levels, settings.blocks)
        self.players = {"generator": ("generator",), "discriminator": ("discriminator",)}

    def use_features(self, features) -> None:
        super().use_features(features)
        self.discriminator = FeatureDiscriminator(features, self.settings.discriminator_width, judged=1)

    def _judged(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Raw logits of every patch."""
        return self.discriminator(maps[:1])[0]

    def _content(self, maps: list[torch.Tensor], source: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            kept = self._features(source)
        return feature_difference(maps[1:], kept[1:])

    def generator_turn(self, batch: Batch) -> Losses:
        fake = self.generator(batch["source"])
        self.fakes["target"] = fake.detach()
        maps = self._features(fake)
        losses = {"adversarial": generator_loss(self.settings.adversarial, self._judged(maps))}
        if self.settings.content_weight > 0:
            losses["content"] = self._content(maps, batch["source"])
        return losses

    def discriminator_turn(self, batch: Batch) -> Losses:
        with torch.no_grad():
            real = self._features(batch["target"])
            fake = self._features(self.pooled("target", self.fakes["target"]))
        loss = discriminator_loss(self.settings.adversarial, self._judged(real), self._judged(fake))
        return {"discriminator": loss / 2}

    def validate(self, batch: Batch) -> dict[str, float]:
        maps = self._features(self.generator(batch["source"]))
        gap = self._judged(self._features(batch["target"])).mean() - self._judged(maps).mean()
        return {"logit_gap": float(gap), "content": float(self._content(maps, batch["source"]))}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"source": batch["source"], "synthetic": self.generator(batch["source"]),
                "some target": batch["target"]}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"target": self.generator(inputs["source"])}

    @classmethod
    def needs(cls, settings: MGANSettings) -> dict[str, tuple[str, ...]]:
        return {"target": ("source",)}

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
