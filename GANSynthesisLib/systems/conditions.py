"""What systems share whose cases are single images of a class or with a value: generators and classifiers."""

from __future__ import annotations

import dataclasses

from GANSynthesisLib.systems.settings import SettingsError, setting
from GANSynthesisLib.systems.translation import ImageSettings


@dataclasses.dataclass(frozen=True)
class ConditionSettings(ImageSettings):
    """Classes and values of the training images, and how an image becomes a patch."""

    classes: tuple[str, ...] = setting(
        (), "classes to train on, in the order of their numbers; empty: all those of the training cases", common=True
    )
    value_range: tuple[float, ...] = setting(
        (), "values that become −1 and 1; empty: the lowest and highest of the training cases", low=-1e9, high=1e9
    )
    value_unit: str = setting("", "what the value of a case is and its unit, for the card (age in years, say)")
    fit: str = setting(
        "resize", "resize: the whole image is scaled to the patch, its proportions kept; crop: random patches are cut",
        choices=("resize", "crop"),
    )

    def __post_init__(self):
        super().__post_init__()
        twice = [name for name in self.classes if self.classes.count(name) > 1]
        if twice or not all(self.classes):
            raise SettingsError(f"classes is {','.join(self.classes)}: name every class once.")
        if self.value_range and not (len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]):
            raise SettingsError(f"value_range is {self.value_range}: give a lower and a higher number.")


def class_names(settings: ConditionSettings) -> tuple[str, ...]:
    """The names of the classes, in the order of their numbers. Raises SettingsError where they are fewer than two."""
    if len(settings.classes) < 2:
        raise SettingsError(f"classes is '{','.join(settings.classes)}': name two classes or more, e.g. "
                            "classes=benign,malignant; in training they are taken from the data.")
    return settings.classes
