"""What `side_by_side.py` measures of a translation, slice by slice, with and without the edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from side_by_side_cases import Head

from GANSynthesisLib.evaluation import masked_mae, masked_psnr, masked_ssim
from GANSynthesisLib.evaluation.bootstrap import interval

STRONG = 90  # percentile of the gradient's magnitude from which on the true image has an edge
MEASURES = {"MAE %": 2, "PSNR dB": 2, "SSIM": 3, "edge MAE %": 2}  # and their digits
Scores = dict[str, np.ndarray]  # measure -> one value for each slice


def edges(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: the strongest edges inside of `mask`, and their neighbors in the slice."""
    across, down = np.gradient(truth, axis=2), np.gradient(truth, axis=1)
    inner = _neighbors(mask, np.logical_and)
    strength = np.where(inner, np.hypot(across, down), 0)  # the border of the head is told to every method
    least = max(np.percentile(strength[inner], STRONG), np.finfo(np.float32).tiny)
    return _neighbors(strength >= least, np.logical_or) & mask


def _neighbors(mask: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """`mask` combined with itself moved by one voxel, in the slice."""
    found = mask
    for axis in (1, 2):
        found = combine.reduce([np.roll(found, step, axis) for step in (-1, 0, 1)])
    return found


def score(answer: np.ndarray, head: Head) -> Scores:
    """Measures of an answer (K, J, I) in percent, for every slice of the head."""
    truth, band = head.target.voxels, edges(head.target.voxels, head.mask)
    answer = np.where(head.mask, np.clip(answer, 0, 100), 0)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for k in head.shown():
        ours, real, mask = answer[k : k + 1], truth[k : k + 1], head.mask[k : k + 1]
        values = (masked_mae(ours, real, mask), masked_psnr(ours, real, mask, 100), masked_ssim(ours, real, mask, 100),
                  masked_mae(ours, real, band[k : k + 1]) if band[k].any() else np.nan)
        for name, value in zip(MEASURES, values, strict=True):
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def joined(scores: Sequence[Scores]) -> Scores:
    """The slices of several patients as those of one."""
    return {name: np.concatenate([each[name] for each in scores]) for name in MEASURES}


def with_interval(values: np.ndarray, digits: int, sign: str = "") -> str:
    values = values[~np.isnan(values)]
    low, high = interval([np.array([value]) for value in values], np.mean)
    return f"{values.mean():{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
