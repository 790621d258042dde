"""Segmentation of radiographs without labels of theirs: a segmentor of DRRs, frozen, inside a CycleGAN (TD-GAN)."""

from __future__ import annotations

import copy
import dataclasses
import math

import torch

from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.translation import Retouch
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.segmentation import dice_cross_entropy
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.cyclegan import CycleGAN, CycleGANSettings
from GANSynthesisLib.systems.segmentor import label_image, overlap
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import middle

GAMMA = math.log(2)  # the exponents lie between 1 / 2 and 2 at full strength


@dataclasses.dataclass(frozen=True)
class TDGANSettings(CycleGANSettings):
    context: str = setting("2D", "radiographs have one slice; stacks work as in other systems",
                           choices=("2D", "2.5D", "3D"), common=True)
    mask_background: bool = setting(False, "pixels outside the source's foreground get the target's lowest value")
    segmentation_weight: float = setting(
        1.0, "weight of the segmentation loss on DRRs that were translated and came back", low=1e-6, high=1000,
        common=True)
    parsing_weight: float = setting(
        1.0, "weight of the adversarial loss on DRRs together with their segmentation; 0 leaves it out", low=0,
        high=1000, common=True)
    segmentor_steps: int = setting(
        500, "steps of the segmentor on DRRs alone, before it is frozen and the others begin", low=1, high=1000000,
        common=True)


class TDGAN(CycleGAN):
    """Task driven GAN (Zhang Y. 2018): a segmentor learns on DRRs, is frozen, and then steers a CycleGAN between DRRs
    and real radiographs.

    Needs `source`, DRRs with `labels` (`python -m GANSynthesisLib drr` makes both out of a labeled CT), and `target`,
    real radiographs without labels. Gives `segmentation` of a radiograph, on its own grid: it is translated to a DRR,
    which the segmentor knows; and `target`, a synthetic radiograph of a DRR. Two terms tie the translation to the
    task: a DRR that was translated and came back must still be segmented as its labels say, and DRRs made of
    radiographs must, together with their segmentation, look like real DRRs with theirs. The first `segmentor_steps`
    steps train the segmentor alone; the mean of its weights over the second half of them is frozen (Izmailov 2018).
    Changed from the paper: a U-Net in place of the dense image-to-image network; the translators add to their input,
    since both kinds of image show the same; the discriminator of DRRs with their segmentation, for radiographs that
    have no labels, is our choice, and stands beside that of DRRs alone.
    """

    name = "tdgan"
    title = "TD-GAN: segmentation of radiographs through DRRs"
    turns = ("segmentor", "generators", "discriminators")
    roles = ("source", "target", "labels")
    optional_roles = ()
    advice = "`python -m GANSynthesisLib drr CT --labels LABELS --cases N` makes source and labels out of a CT"
    citation = (
        "Zhang Y. et al. Task Driven Generative Modeling for Unsupervised Domain Adaptation: Application to X-ray "
        "Image Segmentation. MICCAI 2018."
    )
    Settings = TDGANSettings

    def __init__(self, settings: TDGANSettings):
        super().__init__(settings)
        self.to_target, self.to_source = Retouch(self.to_target), Retouch(self.to_source)
        self.segments = False  # as a CycleGAN: its segmentor would learn on translations
        # What is frozen in the end: at a full learning rate the last weights alone are noisy.
        self.segmentor_mean = copy.deepcopy(self.segmentor).requires_grad_(False)
        self.register_buffer("segmentor_turns", torch.zeros((), dtype=torch.long))
        self.players = {
            "segmentor": ("segmentor",), "generators": ("to_target", "to_source"),
            "discriminators": ("judge_target", "judge_source"),
        }
        if settings.parsing_weight > 0:
            self.judge_parsing = PatchDiscriminator(
                1 + len(settings.labels), settings.context, settings.slab, settings.discriminator_width,
                settings.discriminator_layers,
            )
            self.players["discriminators"] += ("judge_parsing",)

    def drawn_together(self) -> tuple[tuple[str, ...], ...]:
        return ("source", "labels"), ("target",)

    @property
    def frozen(self) -> bool:
        return int(self.segmentor_turns) >= self.settings.segmentor_steps

    def segmentor_turn(self, batch: Batch) -> Losses:
        if self.frozen:
            return {}
        return {"segmentor": dice_cross_entropy(self.segmentor(self._contrasted(batch["source"])), batch["labels"])}

    def _contrasted(self, image: torch.Tensor) -> torch.Tensor:
        """Each image (B, …) in −1 … 1 with a random gamma, by `augment_intensity`; the translators see none of it."""
        shape = (len(image), *(1,) * (image.dim() - 1))
        exponent = torch.empty(shape, device=image.device).uniform_(-GAMMA, GAMMA) * self.settings.augment_intensity
        return ((image + 1) / 2).clamp(min=0) ** exponent.exp() * 2 - 1

    @torch.no_grad()
    def after_turn(self, turn: str) -> None:
        if turn != "segmentor":
            return
        self.segmentor_turns += 1
        counted = int(self.segmentor_turns) - self.settings.segmentor_steps // 2
        if counted > 0:
            for mean, now in zip(self.segmentor_mean.parameters(), self.segmentor.parameters(), strict=True):
                mean.lerp_(now, 1 / counted)
        if self.frozen:
            self.segmentor.load_state_dict(self.segmentor_mean.state_dict())

    def generators_turn(self, batch: Batch) -> Losses:
        return super().generators_turn(batch) if self.frozen else {}

    def segmentation_losses(self, batch: Batch, fakes: Batch) -> Losses:
        """DRRs that come back must show their labels; those made of radiographs must be parsed as real ones are."""
        back = self.translate(self.to_source, fakes["target"])
        losses = {"segmentation": dice_cross_entropy(self.segmentor(back), batch["labels"])}
        if self.settings.parsing_weight > 0:
            parsed = self._parsed(fakes["source"])
            losses["parsing"] = generator_loss(self.settings.adversarial, self.judge_parsing(parsed))
            self.fakes["parsing"] = parsed.detach()
        return losses

    def _parsed(self, drr: torch.Tensor) -> torch.Tensor:
        """(B, 1 + classes, D, H, W): a DRR and, in −1 … 1, the probabilities of its classes."""
        return torch.cat([drr, self.segmentor(drr).softmax(1) * 2 - 1], 1)

    def discriminators_turn(self, batch: Batch) -> Losses:
        if not self.frozen:
            return {}
        losses = super().discriminators_turn(batch)
        if self.settings.parsing_weight > 0:
            with torch.no_grad():
                real = self._parsed(batch["source"])
            fake = self.pooled("parsing", self.fakes["parsing"])
            losses["judge_parsing"] = discriminator_loss(
                self.settings.adversarial, self.judge_parsing(real), self.judge_parsing(fake)) / 2
        return losses

    def validate(self, batch: Batch) -> dict[str, float]:
        """Also the Dice of DRRs as they are, and of those that were translated and came back."""
        numbers, context = super().validate(batch), self.settings.context
        drr, labels = batch["source"], middle(batch["labels"], context)
        back = self.to_source(self.to_target(drr))
        numbers["dice_on_drr"] = overlap(middle(self.segmentor(drr), context), labels)
        numbers["dice_after_cycle"] = overlap(middle(self.segmentor(back), context), labels)
        return numbers

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        made = self.to_source(batch["target"])
        return {**super().preview(batch), "some target as DRR": made,
                "its segmentation": label_image(self.segmentor(made))}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """`target` of a DRR; `segmentation` of a radiograph, or of the DRR where no radiograph is given."""
        outputs = {"target": self.to_target(inputs["source"])} if "source" in inputs else {}
        drr = self.to_source(inputs["target"]) if "target" in inputs else inputs["source"]
        return outputs | {"segmentation": self.segmentor(drr).softmax(1)}

    @classmethod
    def needs(cls, settings: TDGANSettings) -> dict[str, tuple[str, ...]]:
        return {"segmentation": ("target",), "target": ("source",)}

    def deployed(self) -> tuple[str, ...]:
        return ("to_target", "to_source", "segmentor")
