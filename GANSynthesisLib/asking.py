"""What a generating model can be asked for: a class, a value, structures, a code. Read from its card alone."""

from __future__ import annotations

import dataclasses

from GANSynthesisLib.card import Card, ModelError

MASK = "labels"  # the input of models that make images with given structures
MOST_IMAGES = 10000
ALWAYS_BY_CLASS = ("acgan",)  # systems that leave no choice of what their images are asked by


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the images of a model can be asked for.

    classes: names, none where it knows of no classes. value_range: lowest and highest, or empty; value_unit: what the
    value is. structures: names of the values 0, 1, … of a mask, or none. categories, continuous: how many values the
    categorical code of InfoGAN has, and how many continuous codes there are.
    """

    classes: tuple[str, ...] = ()
    value_range: tuple[float, ...] = ()
    value_unit: str = ""
    structures: tuple[str, ...] = ()
    categories: int = 0
    continuous: int = 0


def choices_of(card: Card) -> Choices:
    settings = card.settings
    asked = ("class",) if card.system in ALWAYS_BY_CLASS else tuple(settings.get("conditioning", ()))
    return Choices(
        tuple(settings.get("classes", ())) if "class" in asked else (),
        tuple(settings.get("value_range", ())) if "value" in asked else (),
        settings.get("value_unit", ""),
        tuple(settings.get("labels", ())) if MASK in asked else (),
        settings.get("categories", 0), settings.get("continuous", 0),
    )


@dataclasses.dataclass(frozen=True)
class Wish:
    """What all images are to be: of a class, of a value (in its own unit), of a code: the number of the category, from
    0, then the continuous codes, −1 to 1. What is left out is chosen for each image."""

    class_name: str | None = None
    value: float | None = None
    code: tuple[float, ...] | None = None

    def check(self, card: Card, count: int) -> None:
        """Raise ModelError where a model cannot make so many images, or what is wished."""
        if card.task != "generate":
            raise ModelError(f"The model '{card.name}' does not generate images; its task is: {card.task}.")
        if not 1 <= count <= MOST_IMAGES:
            raise ModelError(f"{count} images were asked for: give a number from 1 to {MOST_IMAGES}.")
        able, name = choices_of(card), f"The model '{card.name}'"
        if self.class_name is not None and not able.classes:
            raise ModelError(f"{name} knows of no classes: leave the class '{self.class_name}' out.")
        if self.class_name is not None and self.class_name not in able.classes:
            raise ModelError(f"{name} knows no class '{self.class_name}'; it has: {', '.join(able.classes)}.")
        if self.value is not None and not able.value_range:
            raise ModelError(f"{name} cannot be asked for a value: leave {self.value:g} out.")
        if self.value is not None and not able.value_range[0] <= self.value <= able.value_range[1]:
            low, high = able.value_range
            raise ModelError(f"{name} was trained with values from {low:g} to {high:g}, and {self.value:g} was asked "
                             "for: give one between them.")
        if self.code is not None:
            self._check_code(able, name)

    def _check_code(self, able: Choices, name: str) -> None:
        if not able.categories:
            raise ModelError(f"{name} has no code: leave it out, or choose a model of the system infogan.")
        category, *values = self.code
        right = category in range(able.categories) and all(-1 <= value <= 1 for value in values)
        if not right or len(values) > able.continuous:
            raise ModelError(f"{name} has {able.categories} categories and {able.continuous} continuous codes: give a "
                             f"number from 0 to {able.categories - 1}, then numbers from -1 to 1.")
