"""How a radiograph is taken: beam, detector and sampling, in millimeters."""

from __future__ import annotations

import dataclasses

from GANSynthesisLib.systems.settings import SettingsError, setting


@dataclasses.dataclass(frozen=True)
class Projection:
    """Beam, detector and sampling. Raises SettingsError for values outside their documented ranges."""

    beam: str = setting("cone", "rays from a point source, or parallel ones", choices=("cone", "parallel"))
    view: str = setting("PA", "PA: the beam enters at the back; AP: at the front", choices=("PA", "AP"))
    source_distance: float = setting(
        1800.0, "mm from the source to the detector (chest: 1800); parallel rays are as long", low=200, high=10000)
    object_distance: float = setting(
        200.0, "mm from the isocenter to the detector; a cone beam magnifies by source / (source − object)",
        low=0, high=5000)
    rows: int = setting(256, "rows of the detector", low=8, high=4096)
    columns: int = setting(256, "columns of the detector", low=8, high=4096)
    pixel: float = setting(1.6, "mm from pixel to pixel on the detector", low=0.05, high=20)
    step: float = setting(1.0, "largest mm between two samples along a ray", low=0.05, high=20)
    intensity: str = setting(
        "log", "log: the integral of the attenuation along the ray, bone is bright; exponential: the part of the beam "
        "that arrives, bone is dark", choices=("log", "exponential"))

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, (low, high, choices) = getattr(self, field.name), (
                field.metadata[key] for key in ("low", "high", "choices"))
            if choices and value not in choices:
                raise SettingsError(f"{field.name} is {value!r}; it must be one of {', '.join(choices)}.")
            if low is not None and not low <= value <= high:
                raise SettingsError(f"{field.name} is {value}; it must be between {low} and {high}.")
        if self.source_distance <= self.object_distance:
            raise SettingsError(
                f"source_distance is {self.source_distance:g} mm and object_distance {self.object_distance:g} mm: "
                "the source must be further from the detector than the patient is."
            )
