"""Classes and values of training cases: what a system must know before it is built, and whether they suffice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from GANSynthesisLib.systems.base import System
from GANSynthesisLib.systems.conditions import ConditionSettings
from GANSynthesisLib.systems.settings import Settings, SettingsError
from GANSynthesisLib.training.cases import Case, DataError, find_cases


def learned_settings(system: type[System], settings: Settings, data: Path) -> Settings:
    """The settings with the classes, their weights and the range of values that the training cases have, where the
    system asks for them and the settings leave them empty. Raises DataError where the cases are all alike in that,
    SettingsError for settings that exclude each other."""
    if getattr(settings, "fit", "crop") == "resize" and any(settings.spacing):
        raise SettingsError("spacing cannot be kept where whole images are scaled to the patch: set fit=crop, or "
                            "leave spacing at 0.")
    conditions = system.conditions(settings)
    if not conditions:
        return settings
    cases = of_classes(find_cases(data, ("image", *conditions)), settings, data)
    changes = {}
    if "class" in conditions:
        names = settings.classes or tuple(sorted({case.class_name for case in cases}))
        changes["classes"] = names
        if len(names) < 2:
            raise DataError(f"All images of {data} are of the class '{names[0]}': give images of two classes or more.")
        if not getattr(settings, "class_weights", True):
            counts = Counter(case.class_name for case in cases)
            changes["class_weights"] = balancing([counts[name] for name in names])
    if "value" in conditions and not settings.value_range:
        values = [case.value for case in cases]
        if min(values) == max(values):
            raise DataError(f"All images of {data} have the value {values[0]:g}: give images of different values.")
        changes["value_range"] = (min(values), max(values))
    return dataclasses.replace(settings, **changes)


def balancing(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights of classes with so many cases, by which all of them count the same; their mean over the cases is 1."""
    return tuple(float(sum(counts) / (len(counts) * count)) for count in counts)


def of_classes(cases: Sequence[Case], settings: Settings, data: Path) -> list[Case]:
    """The cases of the classes that the settings name; all of them where they name none, or know of no classes.

    Raises DataError where a class has no case.
    """
    names = getattr(settings, "classes", ())
    there = {case.class_name for case in cases if case.class_name}
    for name in names:
        if name not in there:
            raise DataError(f"No case of {data} is of the class '{name}', which the setting classes names; there are: "
                            f"{', '.join(sorted(there)) or 'none'}.")
    return [case for case in cases if case.class_name in names] if names else list(cases)


def check_enough(cases: Sequence[Case], system: System, data: Path) -> None:
    """Raise DataError where a generator or classifier would learn a single image by heart."""
    if system.task not in ("generate", "classify"):
        return
    if len(cases) < 2:
        raise DataError(f"{data} has a single image, '{cases[0].name}', which {system.name} would learn by heart: "
                        "give more images.")
    counts = Counter(case.class_name for case in cases)
    alone = [case for case in cases if counts[case.class_name] < 2]
    if system.task == "classify" and alone:
        raise DataError(f"The class '{alone[0].class_name}' of {data} has a single image, '{alone[0].name}': give "
                        "more, or leave the class out with the setting classes.")


def condition_numbers(case: Case, settings: ConditionSettings) -> dict[str, float]:
    """`class`, the number of the case's class, and `value` in [−1, 1], as far as the settings know about them."""
    numbers = {}
    if case.class_name in getattr(settings, "classes", ()):
        numbers["class"] = settings.classes.index(case.class_name)
    if case.value is not None and getattr(settings, "value_range", ()):
        lower, upper = settings.value_range
        numbers["value"] = min(max(2 * (case.value - lower) / (upper - lower) - 1, -1.0), 1.0)
    return numbers
