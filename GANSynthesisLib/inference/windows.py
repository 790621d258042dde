"""Windows over a volume, blended with Gaussian weights, accumulated in fp32."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch

from GANSynthesisLib.progress import Cancelled, IsCancelled, Progress

Tensors = dict[str, torch.Tensor]


def starts(size: int, window: int, stride: int) -> list[int]:
    """First voxels of windows that cover `size` voxels; the last one ends at the border."""
    if window >= size:
        return [0]
    return [*range(0, size - window, stride), size - window]


def axis_weights(size: int, margin: int, inner: tuple[bool, bool], device) -> torch.Tensor:
    """(size,) Gaussian, 1 in the middle; 0 within `margin` of an end that is `inner`, not at the volume's border.

    There a network has seen too little of the neighborhood; some other window has it in its middle.
    """
    at = torch.arange(size, device=device, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((at - (size - 1) / 2) / (size / 5)).square()).clamp(min=1e-2)
    weights[: margin * inner[0]] = 0
    weights[size - margin * inner[1] :] = 0
    return weights


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
    margins = [min(size // 8, (size - step) // 2) for size, step in zip(window, stride, strict=True)]

    @functools.cache
    def weights(inner: tuple[tuple[bool, bool], ...]) -> torch.Tensor:
        d, h, w = (axis_weights(*each, device) for each in zip(window, margins, inner, strict=True))
        return d[:, None, None] * h[:, None] * w

    def weights_at(corner: tuple[int, int, int]) -> torch.Tensor:
        return weights(tuple(
            (first > 0, first + size < whole) for first, size, whole in zip(corner, window, padded, strict=True)
        ))

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
            for corner, box, one in zip(chosen, boxes, answer.float(), strict=True):
                sums[name][(slice(None), *box)] += weights_at(corner) * one
        for corner, box in zip(chosen, boxes, strict=True):
            total[box] += weights_at(corner)
        progress(min(start + batch, len(corners)) / len(corners), "applying the model")
    crop = (slice(None), *(slice(0, size) for size in shape))
    return {name: (value / total)[crop].cpu() for name, value in sums.items()}


def _repeat_border(image: torch.Tensor, missing: list[int]) -> torch.Tensor:
    padding = [amount for extra in reversed(missing) for amount in (0, extra)]
    return torch.nn.functional.pad(image[None], padding, mode="replicate")[0]
