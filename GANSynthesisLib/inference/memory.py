"""How much a window may hold, and what counts as out of memory."""

from __future__ import annotations

import torch

from GANSynthesisLib.memory import free_host_bytes

LIVE_FEATURES = 8  # feature maps of the first layer's width that are alive at once in a U-Net without gradients


def available_bytes(device: torch.device) -> int:
    """Memory that is free on the device (host memory for the CPU)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def fits(shape: tuple[int, int, int], width: int, device: torch.device) -> bool:
    """Whether a volumetric network of that width is expected to take the whole volume in one pass."""
    voxels = shape[0] * shape[1] * shape[2]
    return voxels * width * 4 * LIVE_FEATURES < 0.6 * available_bytes(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "alloc" in text


def halved(window: tuple[int, int, int], multiple: int = 16) -> tuple[int, int, int] | None:
    """The window with its longest side halved (to a multiple of 16); None when it cannot get smaller."""
    longest = max(range(3), key=lambda axis: window[axis])
    if window[longest] <= multiple:
        return None
    size = max(multiple, -(-window[longest] // 2 // multiple) * multiple)
    return tuple(size if axis == longest else w for axis, w in enumerate(window))
