"""The 48 ways to store one volume: every order and sense of its three axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import command  # noqa: F401  puts the library on the path
import numpy as np

from GANSynthesisLib.volumes import Volume


@dataclass(frozen=True)
class AxisOrder:
    """Array axis n of the turned volume is axis `axes[n]` of the original, backward where `signs[n]` is -1.

    Written with numpy alone, so that nothing of what it checks is used to check it.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]

    def __str__(self) -> str:
        return "".join("+-"[sign < 0] + "kji"[axis] for axis, sign in zip(self.axes, self.signs, strict=True))

    def turned(self, volume: Volume) -> Volume:
        """The same voxels in the same places, stored in this order."""
        voxels = np.flip(volume.voxels.transpose(self.axes), self._backward())
        matrix = np.array(volume.ijk_to_ras)
        for axis, (source, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            step = volume.ijk_to_ras[:3, 2 - source]
            matrix[:3, 2 - axis] = sign * step
            if sign < 0:
                matrix[:3, 3] += step * (volume.shape[source] - 1)
        return volume.with_voxels(np.ascontiguousarray(voxels), ijk_to_ras=matrix)

    def back(self, voxels: np.ndarray) -> np.ndarray:
        """An array in this order as it is in the original one."""
        return np.flip(voxels, self._backward()).transpose(np.argsort(self.axes))

    def _backward(self) -> list[int]:
        return [axis for axis, sign in enumerate(self.signs) if sign < 0]


AXIS_ORDERS = tuple(AxisOrder(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3))
