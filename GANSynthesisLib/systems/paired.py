"""Paired translation: plain regression, and the conditional GAN it becomes with an adversarial weight."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.features import FeatureDiscriminator
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.image import feature_difference, gradient_difference, masked_l1
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import SettingsError, setting
from GANSynthesisLib.systems.translation import TranslationSettings, middle, translation_error


@dataclasses.dataclass(frozen=True)
class PairedSettings(TranslationSettings):
    sources: tuple[str, ...] = setting(("source",), "roles of the input images; several for several modalities")
    l1_weight: float = setting(1.0, "weight of the mean absolute error", low=0, high=1000, common=True)
    l2_weight: float = setting(0.0, "weight of the mean squared error", low=0, high=1000)
    adversarial_weight: float = setting(
        0.0, "weight of the adversarial loss; 0 is plain regression (pix2pix: 0.01 at L1 1)", low=0, high=1000,
        common=True,
    )
    gradient_difference_weight: float = setting(0.0, "weight of the gradient difference loss", low=0, high=1000)
    feature_weight: float = setting(
        0.0, "weight of the difference of a frozen network's features; keeps structures that it knows (1, say)", low=0,
        high=1000, common=True,
    )
    feature_model: str = setting(
        "", "that frozen network: a segmentor of the target (name or model file), or VGG16 or VGG19 weights as "
        "torchvision saves them (.pth); only training needs it", common=True,
    )
    feature_depths: tuple[int, ...] = setting(
        (1, 2, 3), "depths of its features; 1 is the image's resolution, each further one half of it", low=1, high=7
    )
    discriminator: str = setting(
        "patch", "what the discriminator sees: patches of source and target, or the frozen network's features of the "
        "target at each depth (Zhao 2018)", choices=("patch", "features"),
    )

    def __post_init__(self):
        super().__post_init__()
        if not any((self.l1_weight, self.l2_weight, self.adversarial_weight, self.feature_weight)):
            raise SettingsError("l1_weight, l2_weight, adversarial_weight and feature_weight are 0: raise one.")
        if self.uses_features and not self.feature_model:
            raise SettingsError(
                "feature_model is empty, but feature_weight or the discriminator needs features: name a segmentor of "
                "the target, such as brain-t2-tissue, or a file with VGG16 or VGG19 weights (.pth)."
            )
        if self.uses_features and not self.feature_depths:
            raise SettingsError("feature_depths is empty: give at least one depth, such as 1,2,3.")

    @property
    def uses_features(self) -> bool:
        judged = self.discriminator == "features" and self.adversarial_weight > 0
        return judged or self.feature_weight > 0


class Paired(System):
    """Image-to-image translation from registered pairs, by regression or with a discriminator.

    Needs cases with `source` (one or several modalities) and `target` on the same anatomy; gives `target`. With
    adversarial weight 0 it is L1 regression, the baseline every paired GAN must be held against; above 0 it is pix2pix
    (Isola 2017) with the L1 term kept at weight 1 and the adversarial one scaled instead. With a feature weight, the
    features that a frozen segmentor has of target and translation are compared, too (Longuefosse 2025, as the best
    regression of SynthRAD2025 does); with discriminator=features, it judges such features at several depths, and only
    its heads are trained (deep supervision, Zhao 2018, there with VGG16). Changed from the papers: features are
    compared in units of their magnitude; the frozen network may be one of our own segmentors, so that nothing has to
    be downloaded. The model does not need it any more.
    """

    name = "paired"
    title = "Paired translation (regression, conditional GAN)"
    task = "synthesize"
    roles = ("source", "target")
    turns = ("generator", "discriminator")
    citation = (
        "Isola P. et al. Image-to-Image Translation with Conditional Adversarial Networks. CVPR 2017. "
        "Zhao M. et al. Craniomaxillofacial Bony Structures Segmentation from MRI with Deep-Supervision Adversarial "
        "Learning. MICCAI 2018. "
        "Longuefosse A. et al. Anatomical Feature-Prioritized Loss for Enhanced MR to CT Translation. arXiv 2024."
    )
    Settings = PairedSettings
    criterion = "mae"

    def __init__(self, settings: PairedSettings):
        super().__init__(settings)
        self.roles = (*settings.sources, "target")
        self.wants_features = settings.uses_features
        self.generator = self._make_generator()
        self.players = {"generator": ("generator",)}
        self.turns = ("generator",)
        if settings.adversarial_weight > 0:
            self.players["discriminator"] = ("discriminator",)
            self.turns = ("generator", "discriminator")
            if settings.discriminator == "patch":
                self.discriminator = PatchDiscriminator(
                    len(settings.sources) + 1, settings.context, settings.slab, settings.discriminator_width,
                    settings.discriminator_layers,
                )

    def _make_generator(self) -> torch.nn.Module:
        return self._make_translator(len(self.settings.sources))

    def _make_translator(self, channels: int) -> Translator:
        settings = self.settings
        return Translator(channels, 1, settings.context, settings.slab, settings.width, settings.backbone,
                          settings.levels, settings.blocks)

    def use_features(self, features) -> None:
        super().use_features(features)
        if self.settings.adversarial_weight > 0 and self.settings.discriminator == "features":
            self.discriminator = FeatureDiscriminator(features, self.settings.discriminator_width)

    def source(self, batch: Batch) -> torch.Tensor:
        return torch.cat([batch[role] for role in self.settings.sources], 1)

    def generator_turn(self, batch: Batch) -> Losses:
        source, target = self.source(batch), batch["target"]
        fake = self.generator(source)
        if self.settings.adversarial_weight > 0:
            self.fakes["pair"] = torch.cat([source, fake], 1).detach()
        return self.translation_losses(source, fake, target)

    def translation_losses(self, source: torch.Tensor, fake: torch.Tensor, target: torch.Tensor) -> Losses:
        """What a generator minimizes whose translation of the source is `fake`."""
        settings, losses = self.settings, {}
        if settings.l1_weight > 0:
            losses["l1"] = masked_l1(fake, target)
        if settings.l2_weight > 0:
            losses["l2"] = F.mse_loss(fake, target)
        if settings.gradient_difference_weight > 0:
            losses["gradient_difference"] = gradient_difference(fake, target)
        if settings.feature_weight > 0:
            with torch.no_grad():
                real = self._features(target)
            losses["feature"] = feature_difference(self._features(fake), real)
        if settings.adversarial_weight > 0:
            judged = [generator_loss(settings.adversarial, logits) for logits in self.judge(source, fake)]
            losses["adversarial"] = sum(judged) / len(judged)
        return losses

    def judge(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Raw logits of the discriminator: of the pair, or of the image's features at each depth."""
        if self.settings.discriminator == "features":
            return self.discriminator(self._features(image))
        return [self.discriminator(torch.cat([source, image], 1))]

    def discriminator_turn(self, batch: Batch) -> Losses:
        pair = self.pooled("pair", self.fakes["pair"])
        real = self.judge(self.source(batch), batch["target"])
        fake = self.judge(pair[:, :-1], pair[:, -1:])
        losses = [discriminator_loss(self.settings.adversarial, a, b) for a, b in zip(real, fake, strict=True)]
        return {"discriminator": sum(losses) / len(losses) / 2}

    def validate(self, batch: Batch) -> dict[str, float]:
        source, context = self.source(batch), self.settings.context
        fake = self.generator(source)
        return {"mae": translation_error(middle(fake, context), middle(batch["target"], context),
                                         middle(source, context))}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        source = self.source(batch)
        return {"source": source[:, :1], "synthetic": self.generator(source), "target": batch["target"]}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"target": self.generator(self.source(inputs))}

    @classmethod
    def needs(cls, settings: PairedSettings) -> dict[str, tuple[str, ...]]:
        return {"target": settings.sources}

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
