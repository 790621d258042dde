"""Patches cut out of tensors: drawn first, read and interpolated when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from GANSynthesisLib.variation import Contrast, contrasted


@dataclass(frozen=True)
class Cut:
    """A patch of a role's tensor (C, D, H, W) at voxel coordinates (d, h, w, 3) in the order x, y, z; without them the
    whole tensor. contrast: exponent and factor of an input image's intensities, drawn with the patch."""

    role: str
    tensor: torch.Tensor
    points: torch.Tensor | None = None
    contrast: Contrast | None = None

    def patch(self) -> torch.Tensor:
        """(C, d, h, w); the tensor is read where the patch lies."""
        found = self.tensor if self.points is None else _at(self.tensor, self.points, self.role)
        return found if self.contrast is None else contrasted(found, self.contrast)


def cut_batch(cuts: list[dict[str, Cut]], roles: list[str]) -> dict[str, torch.Tensor]:
    """Role -> (B, C, d, h, w)."""
    return {role: torch.stack([each[role].patch() for each in cuts]) for role in roles}


def foreground_box(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Corners (D, H, W) of what lies above the lowest value, per role; `any` is the first role's."""
    boxes = {}
    for role, tensor in tensors.items():
        mask = (tensor[0] > tensor.min() + 1e-3).numpy()
        across = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis})) if mask.any() else np.ones(size))
                  for axis, size in enumerate(mask.shape)]
        boxes[role] = (np.array([at[0] for at in across], float), np.array([at[-1] for at in across], float))
    first = next(role for role in (*tensors,) if role != "labels")
    return {"any": boxes[first], **boxes}


def _at(tensor: torch.Tensor, points: torch.Tensor, role: str) -> torch.Tensor:
    """Voxels, or samples between them; the lowest value outside of the image; labels by nearest neighbor."""
    lowest, mode = (0.0, "nearest") if role.endswith("labels") else (-1.0, "bilinear")
    points, block = points.float(), []
    for axis, size in enumerate(reversed(tensor.shape[1:])):  # x, y, z
        along = points[..., axis]
        low = min(max(int(along.min().floor()) - 1, 0), max(size - 2, 0))
        block.append((low, max(min(int(along.max().ceil()) + 2, size), min(low + 2, size))))
    (x, right), (y, bottom), (z, end) = block
    near, inner = tensor[:, z:end, y:bottom, x:right], points - torch.tensor([x, y, z], dtype=torch.float32)
    if torch.equal(inner, inner.round()):  # not turned: copies, a tenth of the work
        return _voxels(near, [inner[:, 0, 0, 2], inner[0, :, 0, 1], inner[0, 0, :, 0]], lowest)
    sizes = torch.tensor([max(size - 1, 1) for size in reversed(near.shape[1:])], dtype=torch.float32)
    scaled = 2 * inner / sizes - 1
    # A single slice has no extent: every point with that index lies on it.
    scaled = torch.where(torch.tensor([size == 1 for size in reversed(near.shape[1:])]), 0 * scaled, scaled)
    shifted = (near - lowest)[None]
    return F.grid_sample(shifted, scaled[None], mode=mode, padding_mode="zeros", align_corners=True)[0] + lowest


def _voxels(image: torch.Tensor, indices: list[torch.Tensor], lowest: float) -> torch.Tensor:
    """(C, d, h, w) at whole indices along each axis; `lowest` where one lies outside; a single slice lies anywhere."""
    outside = torch.zeros(1, dtype=torch.bool)
    for axis, index in enumerate(indices, start=1):
        size = image.shape[axis]
        if size > 1:
            beyond = (index < 0) | (index > size - 1)
            outside = outside | beyond.view([-1 if other == axis else 1 for other in range(4)])
        image = image.index_select(axis, index.long().clamp(0, size - 1))
    return image.masked_fill(outside, lowest)
