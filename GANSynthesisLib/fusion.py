"""Two images in one, to look at them together: a checkerboard of both, and their difference."""

from __future__ import annotations

import numpy as np

from GANSynthesisLib.intensity import sampled
from GANSynthesisLib.volumes import Volume, resample

_SQUARE_MM = 20.0
_SAMPLE = 500_000  # voxels that an image's own range is measured on


def checkerboard(first: Volume, second: Volume) -> Volume:
    """On the grid of `first`: its intensities and those of `second` in alternating blocks of 2 cm, float32.

    Both are scaled to their own range (1 to 99 %), because they are of different kinds.
    """
    second = _on_grid_of(first, second)
    blocks = [index * step // _SQUARE_MM
              for index, step in zip(np.indices(first.shape, sparse=True), first.spacing[::-1], strict=True)]
    of_first = sum(blocks) % 2 == 0
    return first.with_voxels(np.where(of_first, _scaled(first), _scaled(second)), unit="")


def difference(reference: Volume, result: Volume) -> tuple[Volume, float]:
    """On the grid of the reference: the result less the reference, float32; and the 99th percentile of its size.

    In the unit of the two where it is the same known one, else both scaled to their own range (1 to 99 %).
    """
    result = _on_grid_of(reference, result)
    if reference.unit and reference.unit == result.unit:
        values, unit = result.voxels.astype(np.float32) - reference.voxels.astype(np.float32), reference.unit
    else:
        values, unit = _scaled(result) - _scaled(reference), ""
    return reference.with_voxels(values, unit=unit), float(np.percentile(np.abs(values), 99)) or 1.0


def _on_grid_of(first: Volume, second: Volume) -> Volume:
    return second if second.grid.same_as(first.grid) else resample(second, first.grid)


def _scaled(volume: Volume) -> np.ndarray:
    """Float32 in 0 … 1 from the 1st to the 99th percentile of a sample of the voxels."""
    low, high = np.percentile(sampled(volume.voxels, _SAMPLE), (1, 99))
    return np.clip((volume.voxels.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
