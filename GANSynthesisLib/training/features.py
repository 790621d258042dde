"""Frozen networks from files, for systems that compare or judge features in training."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from GANSynthesisLib.models import Card, ModelError, load_model
from GANSynthesisLib.networks.features import EncoderFeatures, FrozenFeatures, VGGFeatures
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.systems.segmentor import Segmentor
from GANSynthesisLib.systems.translation import TranslationSettings
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.working import intensity_range, parse_range

TORCHVISION_SUFFIX = ".pth"


@dataclasses.dataclass(frozen=True)
class LentFeatures:
    """A frozen network, and where it is from: its name and the SHA-256 of its weights (of a .pth: of the file)."""

    network: FrozenFeatures
    name: str
    sha256: str

    def noted(self, card: Card) -> Card:
        """The card with what taught the model, besides its cases."""
        note = {"model": self.name, "sha256": self.sha256, "depths": list(self.network.depths)}
        return dataclasses.replace(card, training={**card.training, "features": note})


def lend_features(system: System) -> LentFeatures | None:
    """Lend the system the frozen network that its setting `feature_model` names, if it wants one.

    A name or model file of the system `segmentor` gives its encoder; a .pth file VGG16 or VGG19. Raises DataError
    where the file is missing or another network's, or sees images in another way than the system makes them.
    """
    if not system.wants_features:
        return None
    settings = system.settings
    is_vgg = settings.feature_model.endswith(TORCHVISION_SUFFIX)
    lent = (_vgg if is_vgg else _encoder)(settings.feature_model, settings)
    system.use_features(lent.network)
    return lent


def _vgg(name: str, settings: TranslationSettings) -> LentFeatures:
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"There is no file {path} with VGG weights: correct the setting feature_model.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping):
            raise ValueError("it holds no weights by name.")
        network = VGGFeatures(state, settings.feature_depths)
    except (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error) if type(error) is ValueError else "it is damaged, or holds more than plain weights."
        raise DataError(f"The feature_model {path} cannot be used: {reason}") from error
    return LentFeatures(network, f"{network.variant} ({path.name})", hashlib.sha256(path.read_bytes()).hexdigest())


def _encoder(name: str, settings: TranslationSettings) -> LentFeatures:
    try:
        model = load_model(name)
        card = model.card
        if card.system != Segmentor.name:
            raise ModelError(f"it is of the system {card.system}: give a model of the system {Segmentor.name}.")
        _check_fit(card, settings)
        network = EncoderFeatures(model.build().segmentor, settings.feature_depths)
    except ValueError as error:  # ModelError is one
        raise DataError(f"The feature_model '{name}' cannot be used: {error}") from error
    return LentFeatures(network, card.name, model.sha256)


def _check_fit(card: Card, settings: TranslationSettings) -> None:
    """Raise ModelError unless the segmentor sees images as the system makes its targets."""
    slices = card.shape[0] if card.context == "2.5D" else 1
    own = settings.window()[0] if settings.context == "2.5D" else 1
    if (card.context, slices) != (settings.context, own):
        raise ModelError(
            f"it sees {card.context} images{f' of {slices} slices' * (slices > 1)}, and here they are "
            f"{settings.context}{f' of {own} slices' * (own > 1)}: set context and slab alike, or give another model."
        )
    seen, made = intensity_range(card.inputs[0]), parse_range(settings.target_intensity)
    if seen != made:
        raise ModelError(
            f"it sees intensities as {seen.kind}:{seen.lower:g}:{seen.upper:g}, and target_intensity is "
            f"{settings.target_intensity}: set it alike, or give another model."
        )
