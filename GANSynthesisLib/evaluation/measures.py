"""What a comparison with a reference gives: numbers with unit and structure, remarks, and what plots are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from GANSynthesisLib.volumes import Volume


@dataclass(frozen=True)
class Measure:
    """One number: its name ("MAE"), value (NaN where undefined), unit ("" where it has none), and what it is of."""

    name: str
    value: float
    unit: str = ""
    structure: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison gives.

    measures: the numbers. remarks: sentences that belong to them. Of images: points (N, 2), reference and result at
    the same voxels, at random; slices (M, 2), index k and MAE of each slice of the reference; boxes, structure ->
    percentiles (5, 25, 50, 75, 95) of the absolute error; error_map, result minus reference on the reference's grid,
    0 where nothing was compared; window, the 99th percentile of the absolute errors.
    """

    kind: Literal["images", "segmentations"]
    measures: tuple[Measure, ...]
    remarks: tuple[str, ...] = ()
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    slices: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    boxes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    error_map: Volume | None = None
    window: float = 0.0

    def value(self, name: str, structure: str | None = None) -> float:
        """The measure of that name, of that structure where one is named; KeyError where there is none."""
        for each in self.measures:
            if each.name == name and structure in (None, each.structure):
                return each.value
        raise KeyError(f"{name} of {structure}" if structure else name)

    def as_json(self) -> dict[str, Any]:
        """Everything but the error map in strict JSON values; numbers that JSON lacks are text."""
        return {
            "kind": self.kind,
            "measures": [[m.name, _plain(m.value), m.unit, m.structure] for m in self.measures],
            "remarks": list(self.remarks),
            "points": self.points.tolist(),
            "slices": self.slices.tolist(),
            "boxes": {name: list(values) for name, values in self.boxes.items()},
            "window": self.window,
        }

    @staticmethod
    def from_json(content: dict[str, Any], error_map: Volume | None = None) -> Comparison:
        """The comparison that `as_json` gave, with its error map."""
        return Comparison(
            content["kind"],
            tuple(Measure(name, float(value), unit, of) for name, value, unit, of in content["measures"]),
            tuple(content["remarks"]),
            np.array(content["points"], np.float64).reshape(-1, 2),
            np.array(content["slices"], np.float64).reshape(-1, 2),
            {name: tuple(values) for name, values in content["boxes"].items()},
            error_map,
            content["window"],
        )


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
