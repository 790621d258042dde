"""Built networks, kept from run to run: reading, checking and filling them would be most of a small run's time."""

from __future__ import annotations

from collections import OrderedDict

import torch

from GANSynthesisLib.models import Model
from GANSynthesisLib.systems.base import System

_KEPT = 2  # models of a registration of something just synthesized, say
_systems: OrderedDict[tuple[str, str], System] = OrderedDict()


def built_system(model: Model, device: torch.device) -> System:
    """The model's trained system on the device, in evaluation mode; not to be changed. Raises as `Model.build`."""
    key = model.sha256, model.card.to_json()
    if key not in _systems:
        _systems[key] = model.build()
        while len(_systems) > _KEPT:
            _systems.popitem(last=False)
    _systems.move_to_end(key)
    return _systems[key].to(device)
