"""Confidence intervals from resampled cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

DRAWS = 5000


def interval(
    cases: Sequence[np.ndarray], statistic: Callable[[np.ndarray], float], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of a statistic of all values of all cases.

    cases: the values (N_i, …) of each case, which may be none. Whole cases are drawn, since the values of one case
    (its landmarks) depend on each other.
    """
    random, kept = np.random.default_rng(seed), [np.asarray(each) for each in cases]
    drawn = []
    for _ in range(DRAWS):
        values = np.concatenate([kept[at] for at in random.integers(len(kept), size=len(kept))])
        if len(values):
            drawn.append(statistic(values))
    ends = [50 * (1 - level), 50 * (1 + level)]
    # Between two numbers of which one is infinite there is nothing to interpolate.
    low, high = np.percentile(drawn, ends, method="linear" if np.isfinite(drawn).all() else "nearest")
    return float(low), float(high)
