"""Classification of whole images: what synthetic images are to make better, and what measures them."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.classification import ResidualClassifier
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.conditions import ConditionSettings, class_names
from GANSynthesisLib.systems.settings import SettingsError, setting


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(ConditionSettings):
    context: str = setting("2D", "2D slices or 3D volumes", choices=("2D", "3D"), common=True)
    patch: tuple[int, ...] = setting((64, 64), "size of an image as the network sees it", low=8, high=512)
    width: int = setting(16, "channels of the first layer", low=4, high=256, common=True)
    batch: int = setting(16, "images per turn", low=1, high=256, common=True)
    learning_rate: float = setting(1e-3, "learning rate", low=1e-7, high=1.0, common=True)
    beta1: float = setting(0.9, "first moment decay of Adam", low=0, high=0.999)
    weight_decay: float = setting(1e-2, "decoupled L2 weight decay", low=0, high=1.0)
    dropout: float = setting(0.2, "part of the description that a training turn leaves out", low=0, high=0.9)
    class_weights: tuple[float, ...] = setting(
        (), "what an image of each class counts in the loss; empty: so much that rare and frequent classes count the "
        "same", low=0, high=1e4,
    )


class Classifier(System):
    """Says of which class an image is (a residual network, He 2016, with GroupNorm).

    Needs cases with `image` and a class: one folder per class, or a manifest with a column `class`; gives the
    probability of each class. Weighted cross-entropy keeps frequent classes from winning by being frequent. Its last
    features describe images to the measures of generated images (`evaluate --encoder`).
    """

    name = "classifier"
    title = "Classifier (of whole images, 2D or 3D)"
    task = "classify"
    roles = ("image", "class")
    turns = ("classifier",)
    citation = "He K. et al. Identity Mappings in Deep Residual Networks. ECCV 2016."
    Settings = ClassifierSettings
    criterion = "cross_entropy"

    def __init__(self, settings: ClassifierSettings):
        super().__init__(settings)
        names = class_names(settings)
        weights = settings.class_weights or (1.0,) * len(names)
        if len(weights) != len(names):
            raise SettingsError(f"class_weights has {len(weights)} numbers for {len(names)} classes: give one each.")
        self.weights = torch.tensor(weights)
        self.volumetric = settings.context == "3D"
        self.network = ResidualClassifier(1, 3 if self.volumetric else 2, len(names), settings.width, settings.dropout)
        self.players = {"classifier": ("network",)}

    def scores(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, D, H, W) -> (B, classes)."""
        return self.network(image if self.volumetric else image[:, :, 0])

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, D, H, W) -> (B, F), what the last layer decides from."""
        return self.network.features(image if self.volumetric else image[:, :, 0])

    def _cross_entropy(self, batch: Batch) -> torch.Tensor:
        each = F.cross_entropy(self.scores(batch["image"]), batch["class"], reduction="none")
        return (each * self.weights.to(each.device)[batch["class"]]).mean()

    def classifier_turn(self, batch: Batch) -> Losses:
        return {"classification": self._cross_entropy(batch)}

    def validate(self, batch: Batch) -> dict[str, float]:
        right = self.scores(batch["image"]).argmax(1) == batch["class"]
        return {"cross_entropy": float(self._cross_entropy(batch)), "accuracy": float(right.float().mean())}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"image": batch["image"]}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"class": self.scores(inputs["image"]).softmax(1)}

    @classmethod
    def needs(cls, settings: ClassifierSettings) -> dict[str, tuple[str, ...]]:
        return {"class": ("image",)}

    def deployed(self) -> tuple[str, ...]:
        return ("network",)
