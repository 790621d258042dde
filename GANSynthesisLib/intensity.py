"""Intensity ranges: which physical values -1 ... 1 stand for, and the foreground over which they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.opening import opened

if TYPE_CHECKING:
    from GANSynthesisLib.volumes import Volume

MEASURED_VOXELS = 4_000_000  # percentiles are measured on at most about this many voxels
HOUNSFIELD_BODY = -500.0  # between air and any tissue but lung


def sampled(voxels: np.ndarray, count: int) -> np.ndarray:
    """Every n-th voxel of (K, J, I) along each axis, about `count` in all: enough to look at intensities."""
    step = max(1, round((voxels.size / count) ** (1 / 3)))
    return voxels[::step, ::step, ::step]


def foreground(voxels: np.ndarray) -> np.ndarray:
    """(K, J, I) bool foreground of an array in canonical axes; see `volumes.body_mask`."""
    if _zero_border(voxels):  # masked, unless much of what is not zero is noise around the body
        few = voxels[tuple(slice(None, None, 2 if size > 64 else 1) for size in voxels.shape)]
        if np.count_nonzero((few != 0) & ~_body(few)) < 0.1 * np.count_nonzero(few):
            return _without_holes(voxels != 0)
    return _body(voxels)


def _body(voxels: np.ndarray) -> np.ndarray:
    """The largest connected part above the threshold, without what hangs on it by a thread, its holes filled."""
    bright = voxels > (HOUNSFIELD_BODY if voxels.min() < HOUNSFIELD_BODY else _threshold(voxels))
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray(opened(bright).astype(np.uint8)))  # a table is cut off
    body = _filled(sitk.GetArrayFromImage(sitk.RelabelComponent(parts) == 1))
    return body if body.any() else bright


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """(K, J, I) bool `mask` and what it encloses: dark fluid of a masked image may be exactly zero, too."""
    return _filled_in_its_box(mask, _fill)


def _filled(body: np.ndarray) -> np.ndarray:
    """(K, J, I) bool `body` with the holes of every axial slice (of a single slice: its own plane) filled."""
    across = body.shape.index(1) if 1 in body.shape else 0

    def filled_in_slices(part: np.ndarray) -> np.ndarray:
        slices = np.moveaxis(part, across, 0)
        apart = np.ones((2 * len(slices) + 1, *slices.shape[1:]), bool)  # walls between slices: one call fills all
        apart[1::2] = slices
        return np.moveaxis(_fill(apart)[1::2], 0, across)

    return _filled_in_its_box(body, filled_in_slices)


def _filled_in_its_box(mask: np.ndarray, fill) -> np.ndarray:
    """`fill` of the smallest box around a mask; what lies outside of it is no hole."""
    if not mask.any():
        return mask
    box = tuple(
        slice(at[0], at[-1] + 1) for at in (np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    whole = mask.astype(bool)
    whole[box] = fill(mask[box])
    return whole


def _fill(mask: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)))).astype(bool)


def _zero_border(voxels: np.ndarray) -> bool:
    """Whether most voxels on the faces of the array are exactly zero, as in skull-stripped and masked images."""
    faces = [voxels.take(end, axis).ravel() for axis in range(3) if voxels.shape[axis] > 2 for end in (0, -1)]
    return bool(np.mean((np.concatenate(faces) if faces else voxels) == 0) >= 0.5)


def _threshold(voxels: np.ndarray) -> float:
    """Half way from the darkest value to the threshold of minimum cross entropy (Li and Tam 1998).

    Half, because dark tissue belongs to the foreground and the noise of the background is darker still.
    """
    low, high = np.percentile(voxels, [0.1, 99.9])
    counts, edges = np.histogram(np.clip(voxels, low, high), bins=256)
    values = (np.arange(256) + 0.5) / 256
    cut = float(np.average(values, weights=counts))
    for _ in range(100):
        dark = values <= cut
        if not counts[dark].any() or not counts[~dark].any():
            break
        below = np.average(values[dark], weights=counts[dark])
        above = np.average(values[~dark], weights=counts[~dark])
        before, cut = cut, (above - below) / (np.log(above) - np.log(below))
        if abs(cut - before) < 1e-3:
            break
    return float(low + (high - low) * cut / 2)


@dataclass(frozen=True)
class Intensity:
    """The physical range, `lower` to `upper`, that -1 … 1 stands for."""

    lower: float
    upper: float

    def normalize(self, array) -> np.ndarray:
        """float32 in [-1, 1]; values outside the range are clipped."""
        scaled = np.asarray(array, dtype=np.float32) - np.float32(self.lower)
        scaled *= np.float32(2 / self._width())
        scaled -= 1
        return np.clip(scaled, -1, 1, out=scaled)

    def denormalize(self, array) -> np.ndarray:
        """float32 in physical units: the inverse of `normalize`, not clipped."""
        return (np.asarray(array, dtype=np.float32) + 1) * np.float32(self._width() / 2) + np.float32(self.lower)

    def _width(self) -> float:
        return max(float(self.upper) - float(self.lower), 1e-6)


_RANGES = {
    "percentile": (0.5, 99.5),
    "median": (0.0, 3.0),
    "window": (None, None),
    "hounsfield": (-1024.0, 3071.0),
    "as_is": (-1.0, 1.0),
}


@dataclass(frozen=True)
class IntensityRange:
    """How the range of a volume is found.

    "percentile": `lower` and `upper` in percent of the voxels of the foreground (`body_mask`), default 0.5 and 99.5;
    "median": multiples of the median of the foreground, default 0 and 3 (steadier than percentiles where disease or
    fluid fills the tails);
    "window": the given physical values; "hounsfield": likewise, default -1024 and 3071 HU; "as_is": the values lie in
    [-1, 1] already. ValueError for another kind, a missing or an inverted range.
    """

    kind: Literal["percentile", "median", "window", "hounsfield", "as_is"] = "percentile"
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self):
        if self.kind not in _RANGES:
            raise ValueError(f"an intensity range is one of {', '.join(_RANGES)}, not {self.kind!r}")
        lower, upper = _RANGES[self.kind]
        if self.kind != "as_is":
            lower = lower if self.lower is None else float(self.lower)
            upper = upper if self.upper is None else float(self.upper)
        if lower is None or upper is None or not lower < upper:
            raise ValueError(f"a {self.kind} range needs lower < upper, not {lower} and {upper}")
        if self.kind == "percentile" and not (0 <= lower and upper <= 100):
            raise ValueError(f"percentiles lie between 0 and 100, not {lower} and {upper}")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def measure(self, volume: Volume) -> Intensity:
        """The physical range of `volume`; the same for every order and sense of its axes."""
        if self.kind not in ("percentile", "median"):
            return Intensity(self.lower, self.upper)
        voxels = volume.canonical().voxels
        step = max(1, int(np.ceil((voxels.size / MEASURED_VOXELS) ** (1 / 3))))
        voxels = voxels[tuple(slice(None, None, min(step, max(n // 16, 1))) for n in voxels.shape)]
        values = voxels[foreground(voxels)]
        values = values if values.size else voxels
        if self.kind == "median":
            low, high = np.median(values) * np.array([self.lower, self.upper])
        else:
            low, high = np.percentile(values, [self.lower, self.upper])
        if not low < high:
            low, high = voxels.min(), voxels.max()
        return Intensity(float(low), float(high))
