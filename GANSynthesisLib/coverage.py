"""From the positions of a stack's slices to whether the stack is complete."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GANSynthesisLib.classes import Classification

FEWEST = 4  # slices from which a stack is judged
NEAR = 0.35  # part of the slices, at each end, from which is told where the stack begins or ends
STRETCHED = 1.5  # times that slices near an end may be farther apart, or nearer, than all of them
UNSURE = 0.01  # least standard deviation of where a stack ends, in parts of the whole


@dataclass(frozen=True)
class CoverageFound(Classification):
    """What is missing of a stack: `complete`, or one end, the other or both. missing: slices before the first and
    after the last. positions: of each slice from foot to head, 0 the first and 1 the last of a complete stack."""

    missing: tuple[int, int] = (0, 0)
    positions: tuple[float, ...] = ()
    remark: str = ""

    def __str__(self) -> str:
        below, above = self.missing
        lacking = [f"about {count} slices {where}" for count, where in ((below, "at its beginning"),
                                                                     (above, "at its end")) if count]
        told = f"; missing: {' and '.join(lacking)}" if lacking else ""
        return f"{super().__str__()}{told}{'; ' * bool(self.remark)}{self.remark}"

    def as_json(self) -> dict:
        return super().as_json() | {
            "missing_slices": {"first": self.missing[0], "last": self.missing[1]},
            "positions": [round(value, 4) if math.isfinite(value) else None for value in self.positions],
            "remark": self.remark,
        }


def judge_coverage(positions: Sequence[float], ends: Sequence[str] = ("lower end", "upper end"),
                   name: str = "") -> CoverageFound:
    """Which ends of a stack are there, from the positions of its slices, foot to head, evenly apart; NaN: an empty
    slice, as there are before and after what the stack shows.

    The distance of slices is the median slope between pairs of them (Theil–Sen), of all and of those near an end;
    where the stack begins and ends is the median of what the slices near that end tell, so that a few wrong ones do
    not matter. An end is missing where more than half a slice's distance lies before it. Raises ValueError for fewer
    than four slices that show something.
    """
    found, number = np.asarray(positions, float), np.arange(len(positions))
    shown = np.isfinite(found)
    if shown.sum() < FEWEST:
        raise ValueError(f"{name or 'The stack'} has {shown.sum()} slices that show something: coverage is judged "
                         f"from {FEWEST} on.")
    told, at, last = found[shown], number[shown], len(found) - 1
    step = _slope(at, told)
    if step <= 0 or step * len(told) < 0.1:
        names = _states(ends)
        return CoverageFound(dict.fromkeys(names, 1 / len(names)), name, positions=tuple(found.tolist()),
                             remark="its slices do not run through what the model knows: wrong region or direction")
    near = max(FEWEST, math.ceil(NEAR * len(told)))
    below, unsure_below = _end(at[:near], told[:near], step)
    above, unsure_above = _end(at[-near:] - last, told[-near:], step)
    lacks = [_probability(below - step / 2, unsure_below), _probability(1 - above - step / 2, unsure_above)]
    chances = [(1 - lacks[0]) * (1 - lacks[1]), lacks[0] * (1 - lacks[1]), (1 - lacks[0]) * lacks[1],
               lacks[0] * lacks[1]]
    missing = tuple(max(1, round(gap / step)) if chance > 0.5 else 0
                    for gap, chance in zip((below, 1 - above), lacks, strict=True))
    return CoverageFound(dict(zip(_states(ends), chances, strict=True)), name, missing, tuple(found.tolist()))


def _states(ends: Sequence[str]) -> tuple[str, str, str, str]:
    lower, upper = ends
    return "complete", f"{lower} missing", f"{upper} missing", f"{lower} and {upper} missing"


def _slope(at: np.ndarray, told: np.ndarray) -> float:
    """The median over pairs of slices that are not too near to each other."""
    first, second = np.triu_indices(len(told), max(1, len(told) // 4))
    return float(np.median((told[second] - told[first]) / (at[second] - at[first])))


def _end(at: np.ndarray, told: np.ndarray, step: float) -> tuple[float, float]:
    """Where slices near an end, numbered from it, say that it is: the median, and its standard error."""
    told = told - np.clip(_slope(at, told), step / STRETCHED, step * STRETCHED) * at
    middle = float(np.median(told))
    spread = 1.4826 * float(np.median(np.abs(told - middle)))
    return middle, max(1.25 * spread / math.sqrt(len(told)), UNSURE)


def _probability(gap: float, unsure: float) -> float:
    """That more than nothing is missing, of a gap that is known with this standard deviation."""
    return 0.5 * (1 + math.erf(gap / unsure / math.sqrt(2)))
