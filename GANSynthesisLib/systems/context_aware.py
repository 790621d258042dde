"""Paired translation in stages that refine each other (context-aware GAN)."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.auto_context import AutoContext
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.paired import Paired, PairedSettings
from GANSynthesisLib.systems.settings import setting


def _changed(name: str, default):
    """A setting of paired translation with another default and the same meaning."""
    field = next(field for field in dataclasses.fields(PairedSettings) if field.name == name)
    return setting(default, **field.metadata)


@dataclasses.dataclass(frozen=True)
class ContextAwareSettings(PairedSettings):
    context: str = _changed("context", "3D")
    patch: tuple[int, ...] = _changed("patch", (32, 32, 32))
    backbone: str = _changed("backbone", "fcn")
    adversarial: str = _changed("adversarial", "non-saturating")
    l1_weight: float = _changed("l1_weight", 0.0)
    l2_weight: float = _changed("l2_weight", 1.0)
    gradient_difference_weight: float = _changed("gradient_difference_weight", 1.0)
    adversarial_weight: float = _changed("adversarial_weight", 0.01)
    stages: int = setting(
        2, "networks in a row, each of which sees the image and the prediction before it", low=1, high=5, common=True
    )
    folds: int = setting(
        2, "parts of the subjects; predictions for the next stage come from networks that do not learn from the part",
        low=2, high=10,
    )


class ContextAware(Paired):
    """Translation from registered pairs by a network without pooling, in stages of auto-context (Nie 2017, 2018).

    Needs cases with `source` and `target` on the same anatomy, of at least as many subjects as there are folds; gives
    `target`. The generator minimizes squared error, gradient difference and the cross-entropy of a discriminator; each
    stage sees the prediction of the stage before as a further channel, in training one by a network that has not
    learned from that subject. One model has all stages. Changed from the papers: all stages learn in one run, on
    predictions that improve meanwhile; stages before the last are the mean of their folds' networks; one local
    discriminator judges all stages; the weights of the losses, which are means over voxels, and the sizes of the
    kernels are ours.
    """

    name = "context_aware"
    title = "Context-aware GAN: stages without pooling"
    citation = (
        "Nie D. et al. Medical Image Synthesis with Context-Aware Generative Adversarial Networks. MICCAI 2017. "
        "Nie D. et al. Medical Image Synthesis with Deep Convolutional Adversarial Networks. IEEE TBME 2018."
    )
    Settings = ContextAwareSettings

    def __init__(self, settings: ContextAwareSettings):
        super().__init__(settings)
        self.folds = settings.folds if settings.stages > 1 else 0

    def _make_generator(self) -> AutoContext:
        settings = self.settings
        return AutoContext(self._make_translator, len(settings.sources), settings.stages, settings.folds)

    def generator_turn(self, batch: Batch) -> Losses:
        source, target = self.source(batch), batch["target"]
        fold = batch.get("fold", torch.zeros(len(source), dtype=torch.long, device=source.device))
        found, pairs = [], []
        for fake, of in self.generator.lessons(source, fold):
            found.append(self.translation_losses(source[of], fake, target[of]))
            pairs.append(torch.cat([source[of], fake.detach()], 1))
        self.fakes["pair"] = torch.cat(pairs)
        return {term: sum(losses[term] for losses in found) / len(found) for term in found[0]}
