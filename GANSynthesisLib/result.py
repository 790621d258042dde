"""What comes out of a run of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GANSynthesisLib.card import Port
from GANSynthesisLib.classes import CLASS_ENDINGS, Classification, write_classification
from GANSynthesisLib.files import ENDINGS, write_volume
from GANSynthesisLib.transforms import TRANSFORM_ENDINGS, SpatialTransform, write_transform
from GANSynthesisLib.volumes import Volume


@dataclass(frozen=True)
class Result:
    """Outputs by name (`target`, `segmentation`, `image`, `warped`, `transform`, `class`) and a JSON-able report."""

    outputs: dict[str, Volume | SpatialTransform | Classification]
    report: dict[str, Any] = field(default_factory=dict)


def endings_of(port: Port) -> tuple[str, ...]:
    """Endings of the files that an output can be written to; the first is the usual one."""
    if port.is_class:
        return CLASS_ENDINGS
    return TRANSFORM_ENDINGS if port.is_transform else ENDINGS


def write_output(value: Volume | SpatialTransform | Classification, path: Path) -> None:
    """An output to a file, whole or not at all. Raises what `write_volume` and `write_transform` raise."""
    if isinstance(value, Classification):
        write_classification(value, path)
    elif isinstance(value, SpatialTransform):
        write_transform(value, path)
    else:
        write_volume(value, path)
