"""Slices as channels: how 2D networks see one slice or a slab of neighbors."""

from __future__ import annotations

import torch


def flatten_slab(image: torch.Tensor, slices: int) -> torch.Tensor:
    """(B, C, slices, H, W) -> (B, C·slices, H, W)."""
    if image.dim() != 5 or image.shape[2] != slices:
        raise ValueError(f"expected a slab (B, C, {slices}, H, W), got {tuple(image.shape)}.")
    return image.flatten(1, 2)


def unflatten_slab(image: torch.Tensor, slices: int) -> torch.Tensor:
    """(B, C·slices, H, W) -> (B, C, slices, H, W)."""
    return image.unflatten(1, (-1, slices))
