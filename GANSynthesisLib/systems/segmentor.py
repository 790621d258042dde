"""Supervised segmentation: the network a segmentation loss trains, on its own."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.segmentation import dice_cross_entropy
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import ImageSettings, middle


@dataclasses.dataclass(frozen=True)
class SegmentorSettings(ImageSettings):
    labels: tuple[str, ...] = setting(
        ("background", "structure"), "names of the label values 0, 1, 2, … in order", common=True
    )
    segmentor_width: int = setting(16, "channels of the segmentor's first layer", low=4, high=256)


def build_segmentor(settings) -> Translator:
    """The segmentor of a system's settings: one image in, class scores out, same context as the generators."""
    return Translator(
        1, len(settings.labels), settings.context, settings.slab, settings.segmentor_width, "unet", levels=4
    )


def overlap(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean Dice over the classes present in the labels, background left out; NaN when there is none."""
    answer, values = scores.argmax(1, keepdim=True), []
    for value in range(1, scores.shape[1]):
        reference, found = labels == value, answer == value
        if reference.any():
            values.append(float(2 * (reference & found).sum() / (reference.sum() + found.sum())))
    return sum(values) / len(values) if values else float("nan")


def label_image(scores: torch.Tensor) -> torch.Tensor:
    """Class scores (B, C, …) as an image (B, 1, …) of their labels, −1 the first and 1 the last."""
    return scores.argmax(1, keepdim=True) / (scores.shape[1] - 1) * 2 - 1.0


class Segmentor(System):
    """Segmentation trained on labeled images of one modality, without any translation.

    Needs cases with `source` and `labels`; gives `segmentation`. It is the yardstick of the segmentation loss (the
    same network trained on the other modality and applied as it is), and the form in which a segmentor trained through
    translation is deployed (Huo 2018).
    """

    name = "segmentor"
    title = "Segmentor (supervised, or trained through translation)"
    task = "segment"
    roles = ("source", "labels")
    turns = ("segmentor",)
    citation = "Ronneberger O. et al. U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI 2015."
    Settings = SegmentorSettings
    criterion = "one_minus_dice"

    def __init__(self, settings: SegmentorSettings):
        super().__init__(settings)
        self.segmentor = build_segmentor(settings)
        self.players = {"segmentor": ("segmentor",)}

    def segmentor_turn(self, batch: Batch) -> Losses:
        return {"segmentation": dice_cross_entropy(self.segmentor(batch["source"]), batch["labels"])}

    def validate(self, batch: Batch) -> dict[str, float]:
        context = self.settings.context
        scores = self.segmentor(batch["source"])
        return {"one_minus_dice": 1 - overlap(middle(scores, context), middle(batch["labels"], context))}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        last = len(self.settings.labels) - 1
        return {"source": batch["source"], "segmentation": label_image(self.segmentor(batch["source"])),
                "labels": batch["labels"] / last * 2 - 1.0}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"segmentation": self.segmentor(inputs["source"]).softmax(1)}

    @classmethod
    def needs(cls, settings: SegmentorSettings) -> dict[str, tuple[str, ...]]:
        return {"segmentation": ("source",)}

    def deployed(self) -> tuple[str, ...]:
        return ("segmentor",)
