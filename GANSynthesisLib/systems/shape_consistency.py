"""Translation and segmentation that teach each other: two generators, two segmentors, consistent shapes."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.objectives.segmentation import dice_cross_entropy
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.cyclegan import CycleGAN, CycleGANSettings
from GANSynthesisLib.systems.segmentor import build_segmentor, overlap
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import middle


@dataclasses.dataclass(frozen=True)
class ShapeConsistencySettings(CycleGANSettings):
    segmentation_weight: float = setting(
        1.0, "weight of the shape consistency (Zhang 2018: 1)", low=0.001, high=1000, common=True
    )
    target_labeled: bool = setting(
        True, "labels of the target are given, too (Zhang 2018 needs them); without, its segmentor learns from "
        "translations alone", common=True,
    )
    segmentor_warmup: int = setting(
        200, "first steps, in which the segmentors learn from real images and the generators play without them: a "
        "segmentor that knows nothing says nothing about shapes", low=0, high=1000000,
    )


class ShapeConsistency(CycleGAN):
    """Translation and segmentation of two modalities at once (Zhang Z. 2018).

    Needs unpaired `source` and `target` cases with `labels` of the source and `target_labels` of the target, of the
    same structures; with `target_labeled` off, labels of the source alone, and then nothing but the cycle holds the
    shapes on the way from target to source. Gives `target` from a source and `segmentation` of a real target image.
    Turns alternate: the generators are told by fixed segmentors whether the labels survived the translation, in both
    directions; then the segmentors learn from real and from just translated images. They start on real images alone.
    Changed from the paper: cross-entropy plus Dice in place of cross-entropy; one run with a warm start in place of
    networks trained beforehand; the source's segmentor does not travel with the model.
    """

    name = "shape_consistency"
    title = "Translation and segmentation with shape consistency"
    roles = ("source", "target", "labels")
    optional_roles = ("target_labels",)
    turns = ("generators", "discriminators", "segmentors")
    advice = "set target_labeled=false where only the source has labels"
    citation = (
        "Zhang Z. et al. Translating and Segmenting Multimodal Medical Volumes with Cycle- and Shape-Consistency "
        "Generative Adversarial Network. CVPR 2018."
    )
    Settings = ShapeConsistencySettings

    def __init__(self, settings: ShapeConsistencySettings):
        super().__init__(settings)
        self.source_segmentor = build_segmentor(settings)
        # Unlike Huo's, the segmentors have a turn of their own: in the generators' they only judge.
        self.players["generators"] = ("to_target", "to_source")
        self.players["segmentors"] = ("segmentor", "source_segmentor")
        self.roles = ("source", "target", "labels", *(("target_labels",) if settings.target_labeled else ()))
        self.register_buffer("segmentor_turns", torch.zeros((), dtype=torch.long))

    def drawn_together(self) -> tuple[tuple[str, ...], ...]:
        return ("source", "labels"), (("target", "target_labels") if self.settings.target_labeled else ("target",))

    def start_anew(self) -> None:
        self.segmentor_turns.zero_()

    def after_turn(self, turn: str) -> None:
        if turn == "segmentors":
            self.segmentor_turns += 1

    def _warming_up(self) -> bool:
        return int(self.segmentor_turns) < self.settings.segmentor_warmup

    def segmentation_losses(self, batch: Batch, fakes: Batch) -> Losses:
        if self._warming_up():
            return {}
        shape = dice_cross_entropy(self.segmentor(fakes["target"]), batch["labels"])
        if "target_labels" in batch:
            shape = shape + dice_cross_entropy(self.source_segmentor(fakes["source"]), batch["target_labels"])
        return {"segmentation": shape}

    def segmentors_turn(self, batch: Batch) -> Losses:
        """Real images of each modality; after the warm start also translations with the labels of their originals.

        Without labels of its own, the target's segmentor has nothing but translations, and learns from them at once.
        """
        labels, warm = batch["labels"], not self._warming_up()
        losses = {"source": dice_cross_entropy(self.source_segmentor(batch["source"]), labels)}
        if "target_labels" in batch:
            losses["target"] = dice_cross_entropy(self.segmentor(batch["target"]), batch["target_labels"])
            if warm:
                fake = self.fakes["source"]
                losses["synthetic_source"] = dice_cross_entropy(self.source_segmentor(fake), batch["target_labels"])
        if warm or "target_labels" not in batch:
            losses["synthetic_target"] = dice_cross_entropy(self.segmentor(self.fakes["target"]), labels)
        return losses

    def validate(self, batch: Batch) -> dict[str, float]:
        numbers, context = super().validate(batch), self.settings.context
        if "target_labels" in batch:
            scores = middle(self.segmentor(batch["target"]), context)
            numbers["dice_on_target"] = overlap(scores, middle(batch["target_labels"], context))
        return numbers
