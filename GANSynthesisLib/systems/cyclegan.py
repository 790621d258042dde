"""Unpaired translation with cycle consistency, gradient consistency and the segmentation loss."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.image import gradient_consistency
from GANSynthesisLib.objectives.segmentation import dice_cross_entropy
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.segmentor import build_segmentor, label_image, overlap
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import TranslationSettings, middle, translation_error


@dataclasses.dataclass(frozen=True)
class CycleGANSettings(TranslationSettings):
    adversarial_weight: float = setting(1.0, "weight of the adversarial loss", low=0, high=1000)
    cycle_weight: float = setting(10.0, "weight of the cycle loss (Zhu: 10)", low=0, high=1000, common=True)
    identity_weight: float = setting(
        0.0, "weight of the identity loss (Zhu: half the cycle's); 0 where the two modalities share no meaning of "
        "intensity, as MR and CT", low=0, high=1000, common=True,
    )
    gradient_consistency_weight: float = setting(
        0.0, "weight of the gradient consistency (Hiasa 2018), about a tenth of the cycle's; ties the edges of a "
        "translation to its input's", low=0, high=1000, common=True,
    )
    segmentation_weight: float = setting(
        0.0, "weight of the segmentation loss (Huo 2018: 1); needs labels of the source", low=0, high=1000, common=True
    )
    labels: tuple[str, ...] = setting(
        ("background", "structure"), "names of the label values 0, 1, 2, …, for the segmentation loss"
    )
    segmentor_width: int = setting(16, "channels of the segmentor's first layer", low=4, high=256)
    cycle_noise: float = setting(
        0.0, "noise on the translation before the way back, so that it cannot carry hidden information", low=0, high=1
    )


class CycleGAN(System):
    """Unpaired translation source <-> target with cycle consistency (Zhu 2017), optionally with gradient consistency
    (Hiasa 2018) and a segmentation loss (SynSeg-Net, Huo 2018).

    Needs `source` and `target` cases of the same anatomy, in any number and not of the same subjects; `labels` of the
    source for the segmentation loss. Gives `target` from a source and, with the segmentation loss, `segmentation` of a
    real target image: the segmentor learns on translated images with the source's labels, and its gradient flows into
    the generator, so no label of the target modality is ever used. Changed from the papers: GroupNorm in place of
    InstanceNorm; the generator ends in a linear layer.
    """

    name = "cyclegan"
    title = "CycleGAN, with gradient consistency and segmentation loss"
    task = "synthesize"
    roles = ("source", "target")
    optional_roles = ("labels",)
    turns = ("generators", "discriminators")
    paired = False
    advice = "labels are only needed with segmentation_weight above 0"
    citation = (
        "Zhu J.-Y. et al. Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks. ICCV 2017. "
        "Hiasa Y. et al. Cross-modality image synthesis from unpaired data using CycleGAN. SASHIMI 2018. "
        "Huo Y. et al. SynSeg-Net: Synthetic Segmentation Without Target Modality Ground Truth. IEEE TMI 2019."
    )
    Settings = CycleGANSettings

    def __init__(self, settings: CycleGANSettings):
        super().__init__(settings)
        shape = {"context": settings.context, "slab": settings.slab}
        body = {"width": settings.width, "backbone": settings.backbone, "levels": settings.levels,
                "blocks": settings.blocks}
        judge = {"width": settings.discriminator_width, "layers": settings.discriminator_layers}
        self.to_target = Translator(1, 1, **shape, **body)
        self.to_source = Translator(1, 1, **shape, **body)
        self.judge_target = PatchDiscriminator(1, **shape, **judge)
        self.judge_source = PatchDiscriminator(1, **shape, **judge)
        self.players = {
            "generators": ("to_target", "to_source"), "discriminators": ("judge_target", "judge_source"),
        }
        self.segments = settings.segmentation_weight > 0
        if self.segments:
            self.segmentor = build_segmentor(settings)
            # One optimizer over generators and segmentor: the segmentation loss is theirs together.
            self.players["generators"] += ("segmentor",)
            self.roles = ("source", "target", "labels")

    def drawn_together(self) -> tuple[tuple[str, ...], ...]:
        return (("source", "labels") if self.segments else ("source",)), ("target",)

    def generators_turn(self, batch: Batch) -> Losses:
        source, target = batch["source"], batch["target"]
        fakes = self.translations(source, target)
        self.fakes = {role: fake.detach() for role, fake in fakes.items()}
        return self.cycle_losses(source, target, fakes) | self.segmentation_losses(batch, fakes)

    def translations(self, source: torch.Tensor, target: torch.Tensor) -> Batch:
        """`target` made of the source, and `source` made of the target."""
        return {"target": self.translate(self.to_target, source), "source": self.translate(self.to_source, target)}

    def cycle_losses(self, source: torch.Tensor, target: torch.Tensor, fakes: Batch) -> Losses:
        """What both generators minimize; `fakes` are the translations of these very images."""
        kind = self.settings.adversarial
        losses = {
            "adversarial": generator_loss(kind, self.judge_target(fakes["target"]))
            + generator_loss(kind, self.judge_source(fakes["source"])),
            "cycle": F.l1_loss(self.translate(self.to_source, self._noisy(fakes["target"]), like=source), source)
            + F.l1_loss(self.translate(self.to_target, self._noisy(fakes["source"]), like=target), target),
        }
        if self.settings.identity_weight > 0:
            losses["identity"] = F.l1_loss(self.to_target(target), target) + F.l1_loss(self.to_source(source), source)
        if self.settings.gradient_consistency_weight > 0:
            losses["gradient_consistency"] = (
                gradient_consistency(source, fakes["target"]) + gradient_consistency(target, fakes["source"])
            ) / 2
        return losses

    def segmentation_losses(self, batch: Batch, fakes: Batch) -> Losses:
        """What a segmentor says of the translations: they must show the labels of what they were made of."""
        if not self.segments:
            return {}
        return {"segmentation": dice_cross_entropy(self.segmentor(fakes["target"]), batch["labels"])}

    def translate(
        self, translator: Translator, image: torch.Tensor, like: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The translation; with `mask_background`, −1 stays −1 where the image (or `like`) is background.

        Nothing else tells the generators which end of the range is air, and a cycle may be closed with both inverted.
        """
        answer = translator(image)
        if not self.settings.mask_background:
            return answer
        return torch.where((image if like is None else like) > -1, answer, -1.0)

    def _noisy(self, image: torch.Tensor) -> torch.Tensor:
        strength = self.settings.cycle_noise
        return image + strength * torch.randn_like(image) if strength > 0 else image

    def discriminators_turn(self, batch: Batch) -> Losses:
        kind = self.settings.adversarial
        fake_target = self.pooled("target", self.fakes["target"])
        fake_source = self.pooled("source", self.fakes["source"])
        # Half: discriminators learn at half the generators' speed (Zhu 2017).
        return {
            "judge_target": discriminator_loss(
                kind, self.judge_target(batch["target"]), self.judge_target(fake_target)) / 2,
            "judge_source": discriminator_loss(
                kind, self.judge_source(batch["source"]), self.judge_source(fake_source)) / 2,
        }

    def validate(self, batch: Batch) -> dict[str, float]:
        source, context = batch["source"], self.settings.context
        fake = self.translate(self.to_target, source)
        numbers = {"cycle": translation_error(self.translate(self.to_source, fake, like=source), source, source)}
        if "paired_target" in batch:
            numbers["mae"] = translation_error(middle(fake, context), middle(batch["paired_target"], context),
                                               middle(source, context))
        if self.segments and "labels" in batch:
            scores = middle(self.segmentor(fake), context)
            numbers["dice_on_synthetic"] = overlap(scores, middle(batch["labels"], context))
        return numbers

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        fake = self.translate(self.to_target, batch["source"])
        images = {"source": batch["source"], "synthetic": fake, "back": self.to_source(fake),
                  "some target": batch["target"]}
        if self.segments:
            images["segmentation"] = label_image(self.segmentor(batch["target"]))
        return images

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """`target` of a source; `segmentation` of a real target, or of the translation where none is given."""
        outputs = {}
        if "source" in inputs:
            # Not masked here: the body mask of the whole volume decides better than single dark voxels do.
            outputs["target"] = self.to_target(inputs["source"])
        if self.segments:
            image = inputs["target"] if "target" in inputs else self.translate(self.to_target, inputs["source"])
            outputs["segmentation"] = self.segmentor(image).softmax(1)
        return outputs

    @classmethod
    def needs(cls, settings: CycleGANSettings) -> dict[str, tuple[str, ...]]:
        needs = {"target": ("source",)}
        if settings.segmentation_weight > 0:
            needs["segmentation"] = ("target",)
        return needs

    def deployed(self) -> tuple[str, ...]:
        return ("to_target", "segmentor") if self.segments else ("to_target",)
