"""From a critic's score to millimeters: what error results with such a score had on cases kept for that purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

KNOTS = 12


def calibrate_quality(scores: Sequence[float], errors_mm: Sequence[float]) -> dict:
    """Calibration in plain JSON values from scores and true errors of the same results (N,) each, N at least 8.

    scores, expected_mm, spread_mm: knots of the error that falls as the score rises (isotonic regression, pool
    adjacent violators; Ayer 1955), and of the mean absolute deviation from it. doubtful_above_mm: expected error of
    the worst tenth of the scores. spearman: rank correlation of −score and error.
    """
    scores, errors = np.asarray(scores, np.float64), np.asarray(errors_mm, np.float64)
    if scores.shape != errors.shape or scores.ndim != 1 or len(scores) < 8:
        raise ValueError("a calibration needs at least eight scores and as many errors")
    if not (np.isfinite(scores).all() and np.isfinite(errors).all()):
        raise ValueError("scores and errors of a calibration must be finite")
    order = np.argsort(scores)
    expected = -_isotonic(-errors[order])
    parts = [part for part in np.array_split(np.arange(len(scores)), min(KNOTS, len(scores) // 4)) if len(part)]
    deviation = np.abs(errors[order] - expected)
    return {
        "scores": [float(scores[order][part].mean()) for part in parts],
        "expected_mm": [float(expected[part].mean()) for part in parts],
        "spread_mm": [float(deviation[part].mean()) for part in parts],
        "doubtful_above_mm": float(np.quantile(expected, 0.9)),
        "spearman": rank_correlation(-scores, errors),
        "results": len(scores),
    }


def expected_error(calibration: Mapping, score: float) -> tuple[float, float]:
    """(error, spread) in mm for a score; beyond the outer knots as at them."""
    knots = calibration["scores"]
    return tuple(float(np.interp(score, knots, calibration[name])) for name in ("expected_mm", "spread_mm"))


def rank_correlation(a, b) -> float:
    """Spearman's rho of two samples (N,), ties sharing their mean rank; 0 where either is constant."""
    ranks = [_ranks(np.asarray(each, np.float64)) for each in (a, b)]
    if min(np.ptp(each) for each in ranks) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[group]


def _isotonic(values: np.ndarray) -> np.ndarray:
    """Nondecreasing values nearest to these in least squares."""
    blocks: list[list[float]] = []  # mean, count
    for value in values:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (before, earlier) = blocks.pop(), blocks.pop()
            blocks.append([(mean * count + before * earlier) / (count + earlier), count + earlier])
    return np.concatenate([np.full(int(count), mean) for mean, count in blocks])
