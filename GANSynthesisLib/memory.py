"""How much of the machine's memory is free, and about how much a run will take."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from GANSynthesisLib.card import Card
from GANSynthesisLib.grid import Grid

_WORKING = 24  # bytes per voxel of the working grid: images, accumulators and weights
_GPU = 256 << 20  # bytes of the networks and of the smallest window, on a GPU
_PROCESS = 400 << 20  # bytes of a worker with its imports and networks, before any image
_UNKNOWN = 4 << 30  # of systems that do not tell


def free_host_bytes() -> int:
    """Bytes of memory that programs can still take; 4 GB where the system does not tell."""
    if os.name == "nt":
        return _free_windows() or _UNKNOWN
    try:
        with open("/proc/meminfo") as stream:
            for line in stream:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return _UNKNOWN


def needed_bytes(card: Card, grids: Iterable[Grid]) -> int:
    """About what applying a model to volumes on these grids takes at its peak, beside the features of the network.

    Per voxel of an input: the image, a floating-point copy of it and the result on its grid; per voxel of the working
    grid: images, accumulators and weights. On 256³ that is 0.95 GB where 0.87 GB were measured.
    """
    total = _PROCESS
    for grid in grids:
        total += 28 * math.prod(grid.shape) + _working_bytes(card, grid)
    return total


def needed_gpu_bytes(card: Card, grids: Iterable[Grid]) -> int:
    """About what it takes at least on a GPU: the working grids there, and the smallest windows."""
    return _GPU + sum(_working_bytes(card, grid) for grid in grids)


def _working_bytes(card: Card, grid: Grid) -> int:
    return _WORKING * math.prod(card.shape if card.task == "register" else grid.with_spacing(card.spacing).shape)


def _free_windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    return int(status.free) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else 0
