"""What comes out of a run of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume


@dataclass(frozen=True)
class Result:
    """Outputs by name (`target`, `segmentation`, `image`, `warped`, `transform`) and a JSON-able report."""

    outputs: dict[str, Volume | SpatialTransform]
    report: dict[str, Any] = field(default_factory=dict)
