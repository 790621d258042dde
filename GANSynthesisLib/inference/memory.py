"""What a network takes of the memory, measured; how much there is; and what counts as out of memory."""

from __future__ import annotations

import math
import re
import weakref
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from GANSynthesisLib.inference.plan import Sizes
from GANSynthesisLib.memory import free_host_bytes

USABLE = 0.7  # of the free memory: the rest is for what libraries take beside the tensors, and for other programs
_OUT_OF_MEMORY = re.compile(
    r"\bout of memory\b|DefaultCPUAllocator: (can't allocate|not enough) memory|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED"
    r"|std::bad_alloc"
)


def available_bytes(device: torch.device) -> int:
    """Memory that is free on the device (host memory for the CPU)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or Python ran out of memory; no other error that merely speaks of allocations."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


@dataclass(frozen=True)
class MemoryModel:
    """Bytes that tensors take at their peak while a network works on a window: a straight line through two windows."""

    per_voxel: float
    constant: float = 0.0

    def window_bytes(self, window: Sizes) -> float:
        return self.per_voxel * math.prod(window) + self.constant

    def most_voxels(self, free: float) -> float:
        """Voxels of the largest window that so many bytes suffice for."""
        return max(free - self.constant, 0) / self.per_voxel


def measured_memory(network: torch.nn.Module, small: Sizes, large: Sizes, channels: int) -> MemoryModel:
    """From the peaks of two windows."""
    device = next(network.parameters()).device
    low, high = (_peak_bytes(network, torch.zeros(1, channels, *window, device=device)) for window in (small, large))
    slope = max((high - low) / (math.prod(large) - math.prod(small)), 1.0)
    return MemoryModel(slope, max(low - slope * math.prod(small), 0.0))


def _peak_bytes(network: torch.nn.Module, tile: torch.Tensor) -> int:
    with torch.inference_mode(), _LiveBytes() as live:
        network(tile)
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make, for as long as they live."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        answer = function(*args, **(kwargs or {}))
        for each in answer if isinstance(answer, (tuple, list)) else (answer,):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return answer

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
