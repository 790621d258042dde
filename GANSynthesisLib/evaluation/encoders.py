"""Encoders of images: what describes an image in a vector, so that sets of images can be compared."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.models import Model, ModelError, load_model
from GANSynthesisLib.networks.features import VGGFeatures
from GANSynthesisLib.training.features import TORCHVISION_SUFFIX

AT_ONCE = 64  # images
DEPTHS = (3, 4, 5)  # of VGG: what is finer is texture that scanners differ in

Encoder = Callable[[torch.Tensor], np.ndarray]


def load_encoder(given: str | Path | Model, device: str = "cpu") -> Encoder:
    """Images (N, 1, D, H, W) in [−1, 1] -> features (N, F), from a trained classifier, or from VGG16 or VGG19 weights
    in torchvision's format (`.pth`), whose feature maps are averaged over the image and over slices.

    Raises ModelError for a model of another task, or a file that holds neither.
    """
    where = torch_device(device)
    if isinstance(given, Model) or not str(given).endswith(TORCHVISION_SUFFIX):
        model = given if isinstance(given, Model) else load_model(given)
        if model.card.task != "classify":
            raise ModelError(f"The model '{model.card.name}' does not classify, so it describes no images: name a "
                             "classifier as the encoder.")
        return classifier_encoder(model.build().to(where).eval(), where)
    if not Path(given).is_file():
        raise ModelError(f"There is no file {given} with the weights of an encoder: check the path.")
    try:
        state = torch.load(given, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping):
            raise ValueError("it holds no weights by name.")
        network = VGGFeatures(state, DEPTHS).to(where)
    except (ValueError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ModelError(f"{given} does not hold the weights of VGG16 or VGG19 as torchvision saves them: give such a "
                         "file, or a classifier of ours.") from error
    return _in_parts(lambda images: _pooled(network(images), len(images)), where)


def classifier_encoder(system, device: torch.device) -> Encoder:
    """The features of a built `classifier`; images are scaled to the size that it was trained on."""
    window = system.settings.window()

    def features(images: torch.Tensor) -> torch.Tensor:
        if tuple(images.shape[2:]) != window:
            images = F.interpolate(images, window, mode="trilinear", align_corners=False)
        return system.features(images)

    return _in_parts(features, device)


def _pooled(maps: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """(count, F): the means of feature maps (count · D, C, h, w), joined."""
    return torch.cat([each.flatten(2).mean(2).view(count, -1, each.shape[1]).mean(1) for each in maps], 1)


def _in_parts(features: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> Encoder:
    def encode(images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            parts = [features(part.to(device)).float().cpu() for part in images.split(AT_ONCE)]
        return torch.cat(parts).numpy()

    return encode
