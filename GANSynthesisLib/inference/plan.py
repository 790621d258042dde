"""Which windows a network is applied in: of the plans that fit into memory, the one with the least work.

Window arithmetic: n windows of w voxels along an axis of s cost n·w / s of a pass over the whole. 96³ windows with
half overlap over 256³ are 6.6 passes; what a plan here costs is in `WindowPlan.work`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

OVERLAP = 32  # voxels that neighboring windows share: what a network sees beyond its window fades within half of it
SMALLEST = 16  # side of a window that is not made smaller

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class WindowPlan:
    """Windows of one size at first voxels that are a product of three axes; those at the far border may reach over it.

    shape: (D, H, W) of the volume. starts: per axis, in rising order. batch: windows worked through at once.
    """

    shape: Sizes
    window: Sizes
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    batch: int = 1

    @property
    def corners(self) -> list[Sizes]:
        return list(itertools.product(*self.starts))

    @property
    def is_whole(self) -> bool:
        """One window, and no voxel beyond the volume."""
        return self.window == self.shape

    @property
    def work(self) -> float:
        """Voxels worked through, over those of the volume."""
        return math.prod(len(starts) for starts in self.starts) * math.prod(self.window) / math.prod(self.shape)


def whole(shape: Sizes) -> WindowPlan:
    return WindowPlan(shape, shape, ((0,), (0,), (0,)))


def slices(shape: Sizes, slab: int, batch: int) -> WindowPlan:
    """Whole slices of a 2D network, or slabs of neighboring ones that follow each other slice by slice."""
    firsts = tuple(range(max(shape[0] - slab, 0) + 1))
    return WindowPlan(shape, (slab, *shape[1:]), (firsts, (0,), (0,)), batch)


def windows_of(shape: Sizes, window: Sizes, multiple: int, overlap: int = OVERLAP) -> WindowPlan:
    """Windows of (about) a given size: rounded up to what the network halves without a rest, at most the volume."""
    sides, starts = [], []
    for size, side in zip(shape, window, strict=True):
        side = _rounded_up(side, multiple)
        sides.append(side if side < size else size)
        starts.append(_starts(size, sides[-1], multiple, min(overlap, side // 2)))
    return WindowPlan(shape, tuple(sides), tuple(starts))


def least_work(shape: Sizes, most_voxels: float, multiple: int, overlap: int = OVERLAP) -> WindowPlan:
    """Of the plans whose windows have at most so many voxels, the one with the least work, in the largest windows.

    Windows of `SMALLEST` sides where not even those are few enough.
    """
    choices = [sorted(_sides(size, multiple, overlap)) for size in shape]
    plans = [
        windows_of(shape, window, multiple, overlap)
        for window in itertools.product(*choices) if math.prod(window) <= most_voxels
    ]
    smallest = tuple(min(SMALLEST, size) for size in shape)
    return min(plans, key=lambda plan: (plan.work, -math.prod(plan.window)),
               default=windows_of(shape, smallest, multiple, overlap))


def halved(plan: WindowPlan, multiple: int) -> WindowPlan | None:
    """Windows with the longest side halved, one at a time; None where they cannot get smaller."""
    longest = max(range(3), key=lambda axis: plan.window[axis])
    side = max(SMALLEST, _rounded_up(-(-plan.window[longest] // 2), multiple))
    if side >= plan.window[longest]:
        return None
    window = tuple(side if axis == longest else size for axis, size in enumerate(plan.window))
    return windows_of(plan.shape, window, multiple)


def _sides(size: int, multiple: int, overlap: int) -> set[int]:
    """The whole axis, and the smallest sides with which 2, 3, … windows cover it."""
    found = {size}
    for count in range(2, size + 1):
        side = _rounded_up(-(-(size + (count - 1) * overlap) // count), multiple)
        if side < 2 * overlap:
            break
        found.add(min(side, size))
    return found


def _starts(size: int, side: int, multiple: int, overlap: int) -> tuple[int, ...]:
    """Evenly spread, all at multiples: elsewhere a network that halves would see other pairs of voxels."""
    if side >= size:
        return (0,)
    last = _rounded_up(size, multiple) - side
    count = 1 + -(-last // max(side - overlap, 1))
    return tuple(last * number // (count - 1) // multiple * multiple for number in range(count))


def _rounded_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
