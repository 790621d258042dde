"""The best that can be said of a target image from the source's intensity alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 128


@dataclass(frozen=True, eq=False)
class IntensityMapping:
    """Source intensity -> target intensity, both in 0 … 1: linear between the `values` at `centers` (N,)."""

    centers: np.ndarray
    values: np.ndarray

    @staticmethod
    def fit(source, target, bins: int = BINS) -> IntensityMapping:
        """The median of `target` in each of `bins` equal bins of `source` (both (N,), voxels of all subjects).

        The median of a bin has the least mean absolute error there. Empty bins take no part.
        """
        source, target = np.asarray(source), np.asarray(target)
        at = np.minimum((source * bins).astype(int), bins - 1)
        order = np.argsort(at, kind="stable")
        used, first = np.unique(at[order], return_index=True)
        medians = [np.median(part) for part in np.split(target[order], first[1:])]
        return IntensityMapping((used + 0.5) / bins, np.array(medians))

    def __call__(self, source) -> np.ndarray:
        """Target intensities of any shape; beyond the outer bins as in them."""
        return np.interp(source, self.centers, self.values)
