"""Thick slices and low resolution, simulated of a fine volume, in its place: the truth is the volume itself."""

from __future__ import annotations

import numpy as np
import torch

from GANSynthesisLib.systems.acquisition import thick_slices, truncated, with_rician_noise
from GANSynthesisLib.volumes import Volume


def thick_stack(volume: Volume, axis: int, factor: int, profile: str = "gaussian") -> tuple[Volume, Volume]:
    """Slices `factor` times as thick across an axis (i, j, k) of a volume; and the part of the volume from the center
    of the first to that of the last of them, on its own fine grid."""
    image = torch.from_numpy(np.ascontiguousarray(volume.voxels, np.float32))[None, None]
    thick, covered = thick_slices(image, profile, factor, 4 - axis)
    at = [slice(None)] * 3
    at[2 - axis] = covered
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, axis] * covered.start
    fine = volume.with_voxels(volume.voxels[tuple(at)], ijk_to_ras=matrix)
    coarse = matrix.copy()
    coarse[:3, axis] *= factor
    return volume.with_voxels(thick[0, 0].numpy(), ijk_to_ras=coarse), fine


def low_resolution(volume: Volume, factor: float, noise: float, seed: int = 0) -> Volume:
    """The volume with its k-space cut to a part of 1 / factor along each axis and filled with zeros, and with Rician
    noise, in parts of the 99.5th percentile of what is not zero."""
    torch.manual_seed(seed)
    unit = np.float32(np.percentile(volume.voxels[volume.voxels > 0], 99.5))
    image = torch.from_numpy(np.ascontiguousarray(volume.voxels, np.float32))[None, None] / unit
    cut = with_rician_noise(2 * truncated(image, factor) - 1, noise, factor)
    return volume.with_voxels(((cut[0, 0].numpy() + 1) / 2 * unit).clip(0))
