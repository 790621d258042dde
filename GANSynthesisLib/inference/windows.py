"""Windows over a volume, blended with Gaussian weights, accumulated in fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from GANSynthesisLib.progress import Cancelled, IsCancelled, Progress

Tensors = dict[str, torch.Tensor]


def starts(size: int, window: int, stride: int) -> list[int]:
    """First voxels of windows that cover `size` voxels; the last one ends at the border."""
    if window >= size:
        return [0]
    return [*range(0, size - window, stride), size - window]


def gaussian_weights(window: tuple[int, int, int], device) -> torch.Tensor:
    """(D, H, W) product of Gaussians, 1 in the middle; never so small that the blend loses digits."""
    weights = torch.ones(window, device=device)
    for axis, size in enumerate(window):
        at = (torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2) / (size / 5)
        shape = [1, 1, 1]
        shape[axis] = size
        weights = weights * torch.exp(-0.5 * at.square()).view(shape)
    return weights.clamp(min=1e-4)


def apply_in_windows(
    apply: Callable[[Tensors], Mapping[str, torch.Tensor]],
    inputs: Tensors,
    window: tuple[int, int, int],
    *,
    stride: tuple[int, int, int],
    batch: int,
    device: torch.device,
    progress: Progress,
    cancelled: IsCancelled,
) -> Tensors:
    """Apply a network over volumes, role -> (1, D, H, W), window by window; -> output name -> (C, D, H, W) in fp32.

    Windows larger than the volume are filled by repeating its border. Raises Cancelled between two batches.
    """
    shape = tuple(next(iter(inputs.values())).shape[1:])
    missing = [max(w - s, 0) for w, s in zip(window, shape, strict=True)]
    if any(missing):
        inputs = {role: _repeat_border(image, missing) for role, image in inputs.items()}
    padded = tuple(next(iter(inputs.values())).shape[1:])
    corners = [
        (d, h, w)
        for d in starts(padded[0], window[0], stride[0])
        for h in starts(padded[1], window[1], stride[1])
        for w in starts(padded[2], window[2], stride[2])
    ]
    weights = gaussian_weights(window, device)
    sums: Tensors = {}
    total = torch.zeros(padded, device=device)
    for start in range(0, len(corners), batch):
        if cancelled():
            raise Cancelled("The model was stopped before it had finished; nothing was changed.")
        chosen = corners[start : start + batch]
        boxes = [tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True)) for corner in chosen]
        tiles = {
            role: torch.stack([image[(slice(None), *box)] for box in boxes]).to(device)
            for role, image in inputs.items()
        }
        for name, answer in apply(tiles).items():
            if name not in sums:
                sums[name] = torch.zeros((answer.shape[1], *padded), device=device)
            for box, one in zip(boxes, answer.float(), strict=True):
                sums[name][(slice(None), *box)] += weights * one
        for box in boxes:
            total[box] += weights
        progress(min(start + batch, len(corners)) / len(corners), "applying the model")
    crop = (slice(None), *(slice(0, size) for size in shape))
    return {name: (value / total)[crop].cpu() for name, value in sums.items()}


def _repeat_border(image: torch.Tensor, missing: list[int]) -> torch.Tensor:
    padding = [amount for extra in reversed(missing) for amount in (0, extra)]
    return torch.nn.functional.pad(image[None], padding, mode="replicate")[0]
