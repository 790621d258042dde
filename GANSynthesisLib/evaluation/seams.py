"""Whether one sees in a result where the windows met that it was computed in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def seam_ratio(image: np.ndarray, planes: Sequence[Sequence[int]], reference: np.ndarray | None = None) -> float:
    """Gradient jump on window planes over that elsewhere, for an image (D, H, W): about 1 where no seam shows.

    planes: per axis, indices p where a window begins or ends between the voxels p − 1 and p. The jump is the mean
    absolute second difference across them, which the image's own smooth gradients leave alone; the largest ratio of
    the three axes counts. reference: the same image made without windows; its own ratio, which the anatomy has by
    chance at these planes, is divided out. Raises ValueError where no axis has planes inside the image.
    """
    ratios = [
        _ratio(image, axis, at) / (1.0 if reference is None else _ratio(reference, axis, at))
        for axis, at in enumerate(planes) if _inner(at, image.shape[axis])
    ]
    if not ratios:
        raise ValueError(f"no window begins or ends inside an image of {image.shape}: there is no seam to look for.")
    return max(ratios)


def window_planes(starts: Sequence[Sequence[int]], window: Sequence[int]) -> list[list[int]]:
    """Per axis, where windows of that size begin and end."""
    return [
        sorted({plane for at in axis for plane in (at, at + side)}) for axis, side in zip(starts, window, strict=True)
    ]


def _inner(planes: Sequence[int], size: int) -> list[int]:
    return [plane for plane in planes if 2 <= plane <= size - 2]


def _ratio(image: np.ndarray, axis: int, planes: Sequence[int]) -> float:
    along = np.moveaxis(np.asarray(image, np.float64), axis, 0)
    jumps = np.abs(np.diff(along, n=2, axis=0)).mean(axis=(1, 2))  # entry n: around the voxel n + 1
    there = sorted({index for plane in _inner(planes, len(along)) for index in (plane - 2, plane - 1)})
    elsewhere = np.setdiff1d(np.arange(len(jumps)), there)
    usual = jumps[elsewhere].mean() if elsewhere.size else jumps.mean()
    return float(jumps[there].mean() / max(usual, 1e-12))
