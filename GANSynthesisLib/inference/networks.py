"""What is measured of a system's networks before they are applied: the memory they take, the faster memory format."""

from __future__ import annotations

import math
import time

import torch

from GANSynthesisLib.inference.memory import MemoryModel, measured_memory
from GANSynthesisLib.inference.plan import Sizes, WindowPlan
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.systems.base import System

UNKNOWN_MULTIPLE = 16  # of networks that do not tell how often they halve
UNKNOWN_MEMORY = MemoryModel(4 * 8 * 32)  # eight maps of 32 channels in fp32
GENEROUS_MAPS = 12  # of the first layer's width
WORTH_MEASURING = 1 << 22  # voxels of work, below which a better format could not pay for its measurement
WORTH_CHANGING = 0.9  # time in the other format, as a part of that in the usual one
THINNEST = 1  # byte: slabs of as few rows as they may have
TILE = 128  # side of the slices that are measured

_memory: dict[tuple, MemoryModel] = {}
_formats: dict[tuple, bool] = {}


class Networks:
    """The translators of a system on a device, and what has been measured of their kind: once per process."""

    def __init__(self, system: System, device: torch.device):
        self.system, self.device = system, device
        self.translators = [module for module in system.modules() if isinstance(module, Translator)]
        self.streamed = any(each.volumetric for each in self.translators)
        self.multiple = max((each.body.multiple for each in self.translators), default=UNKNOWN_MULTIPLE)
        self.memory_format = "contiguous"

    def certainly_fits(self, window: Sizes, batch: int, free: float) -> bool:
        """Whether no measurement is needed: so many bytes would do for many more feature maps than are ever kept."""
        width = max((each.last.in_channels for each in self.translators), default=0)
        return bool(width) and batch * math.prod(window) * 4 * width * GENEROUS_MAPS <= free

    @property
    def memory(self) -> MemoryModel:
        """Of the largest network; they work one after the other."""
        models = [_measured_once(_memory, each, _memory_of) for each in self.translators]
        return max(models, key=lambda model: model.per_voxel, default=UNKNOWN_MEMORY)

    def prepare(self, device: torch.device, slab_bytes: int, precision: str, work: WindowPlan) -> None:
        """Put the networks on the device, in slabs of that size (3D) or in the faster format (2D)."""
        self.system.to(device)
        repays = work.work * math.prod(work.shape) >= WORTH_MEASURING
        for each in self.translators:
            each.slab_bytes = slab_bytes
            if each.volumetric:
                self.memory_format = "channels last, in slabs"
            else:
                faster = repays and _measured_once(_formats, each, _is_faster_channels_last, device, precision)
                each.to(memory_format=torch.channels_last if faster else torch.contiguous_format)
                self.memory_format = "channels last" if faster else "contiguous"


def _measured_once(known: dict, network: Translator, measure, *where):
    key = (*_kind(network), *map(str, where))
    if key not in known:
        known[key] = measure(network, *where)
    return known[key]


def _kind(network: Translator) -> tuple:
    """What time and memory depend on: the sizes of the weights, not their values."""
    return network.slices, *(tuple(weight.shape) for weight in network.parameters())


def _memory_of(network: Translator) -> MemoryModel:
    slab_bytes, network.slab_bytes = network.slab_bytes, THINNEST
    try:
        windows = ((24, 256, 16), (48, 256, 16)) if network.volumetric else (
            (network.slices, 64, 64), (network.slices, 128, 128))
        return measured_memory(network, *windows, network.in_channels)
    finally:
        network.slab_bytes = slab_bytes


def _is_faster_channels_last(network: Translator, device: torch.device, precision: str) -> bool:
    tile = torch.zeros(2, network.in_channels, network.slices, TILE, TILE, device=device)
    seconds = {torch.contiguous_format: [], torch.channels_last: []}
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(3):  # in turns, so that what else the machine does meets both
            for memory_format, found in seconds.items():
                network.to(memory_format=memory_format)
                network(tile)  # the first run in a format prepares it
                begin = time.perf_counter()
                network(tile)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                found.append(time.perf_counter() - begin)
    usual, other = (min(found) for found in seconds.values())
    return other < WORTH_CHANGING * usual
