"""Ray integrals through a volume: differentiable in voxels and pose, on any device, in bounded memory."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from GANSynthesisLib.radiographs.geometry import rays
from GANSynthesisLib.radiographs.projection import Projection

WATER = 0.02  # linear attenuation of water per mm near 65 keV (0.0206 at 60 keV, 0.0184 at 80 keV)
SAMPLES_AT_ONCE = 2_000_000


def attenuation(hounsfield: torch.Tensor, water: float = WATER) -> torch.Tensor:
    """Linear attenuation per mm of Hounsfield units: water × (1 + HU / 1000), 0 at −1000 HU (air) and below."""
    return (water * (1 + hounsfield / 1000)).clamp(min=0)


def ray_integrals(
    fields: torch.Tensor, ijk_to_ras, projection: Projection, pose: torch.Tensor | None = None, isocenter=None
) -> torch.Tensor:
    """Integrals of `fields` (C, K, J, I) along the rays of a projection, (C, rows, columns): value × mm.

    ijk_to_ras: (4, 4) of the voxels; pose: (4, 4) from patient to room (`patient_pose`), by default unturned;
    isocenter: the point in RAS mm about which the patient is posed, by default the center of the voxels. Voxels are
    interpolated trilinearly and fall to 0 within one voxel outside of the volume. Gradients flow to `fields` and
    `pose`. The samples on a ray lie at most `projection.step` mm apart.
    """
    device, size = fields.device, fields.new_tensor(fields.shape[:0:-1])
    ijk_to_ras = np.asarray(ijk_to_ras, np.float64)
    if isocenter is None:
        isocenter = ijk_to_ras[:3, :3] @ ((np.array(fields.shape[:0:-1]) - 1) / 2) + ijk_to_ras[:3, 3]
    centered = ijk_to_ras.copy()
    centered[:3, 3] -= isocenter
    to_index = torch.as_tensor(np.linalg.inv(centered), device=device)
    if pose is not None:
        to_index = to_index @ torch.linalg.inv(pose.to(device, torch.float64))
    starts, ends = rays(projection, device)
    length = (ends - starts).norm(dim=1).to(fields.dtype)
    begin, end = (
        (points.double() @ to_index[:3, :3].T + to_index[:3, 3]).to(fields.dtype) for points in (starts, ends)
    )
    enter, leave = _inside(begin, end, size)
    counts = ((leave - enter) * length / projection.step).detach().ceil()
    follow = torch.is_grad_enabled() and (fields.requires_grad or begin.requires_grad)
    # grid_sample's coordinates, not aligned at the corners: the formula then holds for a single slice, too.
    first_points, ways = (2 * begin + 1) / size - 1, 2 * (end - begin) / size
    parts = []
    at_once = max(1, int(SAMPLES_AT_ONCE // max(float(counts.max()), 1)))
    for first in range(0, len(length), at_once):
        part = slice(first, first + at_once)
        count = max(1, int(counts[part].max()))
        share = (torch.arange(count, device=device, dtype=fields.dtype) + 0.5) / count
        at = enter[part, None] + (leave - enter)[part, None] * share
        weight = ((leave - enter) * length)[part] / count
        arguments = fields, first_points[part], ways[part], at, weight
        # With gradients the samples are taken again on the way back instead of being kept.
        parts.append(checkpoint(_sums, *arguments, use_reentrant=False) if follow else _sums(*arguments))
    return torch.cat(parts, 1).unflatten(1, (projection.rows, projection.columns))


def _sums(fields, begin, way, at, weight) -> torch.Tensor:
    """(C, rays): weighted sums of the samples at the fractions `at` (rays, samples) of the rays begin + at × way."""
    points = torch.addcmul(begin[:, None], at[..., None], way[:, None])
    samples = F.grid_sample(fields[None], points[None, :, :, None], padding_mode="zeros", align_corners=False)
    return samples[0, ..., 0].sum(2) * weight


def _inside(begin: torch.Tensor, end: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fractions of each ray (N,) at which it enters and leaves the voxels, which reach one step beyond their centers.

    Equal where a ray passes by.
    """
    way = end - begin
    way = torch.where(way.abs() < 1e-9, 1e-9, way)
    low, high = (-1 - begin) / way, (size - begin) / way
    enter = torch.minimum(low, high).amax(1).clamp(0, 1)
    leave = torch.maximum(low, high).amin(1).clamp(0, 1)
    return enter, torch.maximum(enter, leave)
