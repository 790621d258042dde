"""Compares images with what a model's card says of its training images, and says in plain words what does not fit.

A finding is a warning, never an error: the user may go on. Each check is silent where the card says nothing about it
(a card without `training["inputs"]` still has spacing, intensity range, unit and modality), and on images like the
training images all are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Mapping

from GANSynthesisLib.appearance import SUMMARY, Appearance, histogram_distance, measure, thinned
from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.presentation import _
from GANSynthesisLib.steps import ALONE, run_through
from GANSynthesisLib.volumes import Volume, VolumeError, check_volume
from GANSynthesisLib.working import intensity_range

FACTOR = 2.0  # voxel sizes and fields of view may differ this much from those of the training images
ANGLE = 25.0  # degrees that axes may be further off R, A, S
LARGEST_HEAD_ML = 7000.0
HOUNSFIELD_AIR = -500.0  # MR and ultrasound have no values below it, CT nearly always
MASKED = 0.05  # of a masked image, at most this share is background without being exactly the lowest value
# How far a histogram may at least be from the nearest one of the training images. In multiples of the median, T1
# brains of other scanners were up to 0.06 from T1, T2 brains 0.10 and more; between percentiles, T1 up to 0.20.
DISTANCE = {"median": 0.085}
OTHER_DISTANCE = 0.2

_CT = {"ct", "cbct", "hu"}
_NOT_CT = {"mr", "mri", "t1", "t1c", "t1w", "t1ce", "t2", "t2w", "flair", "pd", "adc", "dwi", "swi", "us", "trus",
           "ultrasound"}


def check_inputs(card: Card, volumes: Mapping[str, Volume]) -> list[str]:
    """What of the volumes (role -> volume) does not fit the model: one sentence per finding; empty where all is well.

    A volume that cannot be used at all is left to those who refuse it.
    """
    return run_through(checking_inputs(card, volumes))


def checking_inputs(card: Card, volumes: Mapping[str, Volume]) -> Generator[str, None, list[str]]:
    """The same in steps, one of some 30 ms for each volume."""
    given = []
    for port in card.inputs:
        if volumes.get(port.name) is not None and _usable(volumes[port.name]):
            yield ALONE
            given.append(_Given(card, port, volumes[port.name]))
    return _swapped(given) + [finding for each in given for finding in _check(card, each)]


def _usable(volume: Volume) -> bool:
    try:
        check_volume(thinned(volume))
    except VolumeError:
        return False
    return True


class _Given:
    """A volume given to an input, what it looks like, and what the card says of the training images there."""

    def __init__(self, card: Card, port: Port, volume: Volume):
        self.port, self.volume, self.name = port, volume, volume.name or port.name
        self.image, self.seen = measure(volume, intensity_range(port)), _seen_in_training(card, port)


def _check(card: Card, given: _Given) -> list[str]:
    """The findings about one volume."""
    port, volume, image, seen, name = given.port, given.volume, given.image, given.seen, given.name
    # Values of another kind, or skin and skull, change the histogram too: one cause, one sentence.
    kind = _kind_of_image(port, volume, image, seen, name)
    values = kind or _window(port, image, seen, name)
    skull = [] if kind else _masked(card, image, seen, name)
    histogram = [] if values or skull else _histogram(port, image, seen, name)
    extent = _too_large(card, image, seen, name, bool(skull)) + _too_small(card, image, seen, name)
    shape = _voxels(card, image, seen, name) + _slices(card, volume, seen, name) + _angle(card, image, seen, name)
    return [*values, *skull, *histogram, *extent, *shape]


def _seen_in_training(card: Card, port: Port) -> dict:
    """What `appearance.summarize` put on the card for an input; empty where there is nothing, or not all of it."""
    inputs = card.training.get("inputs")
    seen = inputs.get(port.name) if isinstance(inputs, dict) else None
    return seen if isinstance(seen, dict) and set(SUMMARY) <= set(seen) else {}


# Intensities


def _kind_of_image(port: Port, volume: Volume, image: Appearance, seen: dict, name: str) -> list[str]:
    """CT given to a model of another modality, or the other way round."""
    words = set(re.findall(r"[a-z0-9]+", port.modality.lower()))
    trained_low = seen.get("minimum", [0.0])[0]
    is_ct = volume.unit == "HU" or image.minimum <= HOUNSFIELD_AIR
    wants_ct = port.unit == "HU" or port.intensity.get("kind") == "hounsfield" or bool(words & _CT)
    wants_other = bool(words & _NOT_CT)
    if is_ct and wants_other and not wants_ct and trained_low > HOUNSFIELD_AIR:
        return [_("'{name}' has values from {low} to {high}, like the Hounsfield units of a CT, but the model was "
                  "trained on {modality}: choose a volume of that modality.").format(
                      name=name, low=_number(image.minimum), high=_number(image.maximum), modality=port.modality)]
    if wants_ct and not wants_other and image.minimum > -50 and seen.get("minimum", [-1000.0, -1000.0])[1] < -200:
        return [_("'{name}' has no value below {low}, so it is not a CT in Hounsfield units, which the model was "
                  "trained on: choose a CT, or load it with its rescale intercept.").format(
                      name=name, low=_number(image.minimum))]
    return []


def _window(port: Port, image: Appearance, seen: dict, name: str) -> list[str]:
    """Values far outside, or lost inside, the fixed range that a network's −1 … 1 stands for."""
    if port.intensity.get("kind") not in ("window", "hounsfield", "as_is"):
        return []
    lower, upper = port.intensity["lower"], port.intensity["upper"]
    low, high = image.quantiles[1], image.quantiles[-2]  # of the foreground, 5 % and 95 %
    seen_low, seen_high = (seen["quantiles"][percent] for percent in ("5", "95")) if seen else ([lower], [upper])
    width = max(min(seen_high) - max(seen_low), (upper - lower) / 4)
    outside = image.quantiles[2] < lower - 0.1 * (upper - lower) or image.quantiles[4] > upper + 0.1 * (upper - lower)
    if not outside and high - low > 0.1 * width:
        return []
    return [_("'{name}' has values mostly from {low} to {high}, the model expects {lower} to {upper}: rescale the "
              "intensities (for example with Simple Filters, RescaleIntensityImageFilter).").format(
                  name=name, low=_number(low), high=_number(high), lower=_number(lower), upper=_number(upper))]


def _histogram(port: Port, image: Appearance, seen: dict, name: str) -> list[str]:
    """Bright and dark parts in other shares than in any training image: another contrast, or an artifact."""
    if not seen or not _unlike_training(port, image, seen):
        return []
    return [_("'{name}' has bright and dark parts in other shares than any training image ({modality}): check that it "
              "is of that modality, and that no artifact or empty region fills it.").format(
                  name=name, modality=port.modality or port.name)]


def _unlike_training(port: Port, image: Appearance, seen: dict) -> bool:
    """Whether the histogram is farther from those of all training images than these are from each other."""
    distance = min(histogram_distance(image.histogram, each) for each in seen["histograms"])
    return distance > max(DISTANCE.get(port.intensity.get("kind"), OTHER_DISTANCE), seen["histogram_spread"])


# What the image shows


def _swapped(given: list[_Given]) -> list[str]:
    """Two volumes of which each fits the other's input and not its own."""
    findings = []
    for first, second in itertools.combinations([each for each in given if each.seen], 2):
        if _fits(first, second) and _fits(second, first) and not (_fits(first, first) or _fits(second, second)):
            findings.append(
                _("'{first}' looks like the training images of the input {second_input} and '{second}' like those of "
                  "{first_input}: swap them.").format(
                      first=first.name, second=second.name, first_input=first.port.modality or first.port.name,
                      second_input=second.port.modality or second.port.name))
    return findings


def _fits(given: _Given, other: _Given) -> bool:
    """Whether a volume is as large as the training images of an input, within a tenth, and has such intensities."""
    sizes = [(given.image.foreground_ml, other.seen["foreground_ml"])]
    for name in ("field_of_view", "foreground_extent"):
        sizes += zip(getattr(given.image, name), other.seen[name], strict=True)
    within = all(0.9 * low <= size <= 1.1 * high for size, (low, high) in sizes)
    return within and not _unlike_training(other.port, given.image, other.seen)


def _masked(card: Card, image: Appearance, seen: dict, name: str) -> list[str]:
    """An image with skin and skull for a model of skull-stripped ones, or the other way round."""
    if not seen:
        return []
    head = "brain" in f"{card.anatomy} {card.description}".lower() and image.foreground_ml < LARGEST_HEAD_ML
    least, most = seen["foreground_ml"]
    trained_masked = seen["background"][1] - seen["flat"][1] < MASKED and seen["flat"][0] > 0.2
    trained_whole = seen["background"][0] - seen["flat"][0] > 2 * MASKED
    masked = image.background - image.flat < MASKED and image.flat > 0.2
    # Air that was set to zero looks masked as well: then only the size of what is left tells.
    if trained_masked and head and image.foreground_ml > (1.8 if masked else 1.25) * most:
        return [_("'{name}' has skin and skull ({volume:.1f} liters of foreground), the model was trained on "
                  "skull-stripped brains ({most:.1f} liters at most): remove the skull first (for example with HD-BET "
                  "or SwissSkullStripper).").format(name=name, volume=image.foreground_ml / 1000, most=most / 1000)]
    if trained_masked and not masked and image.background > 2 * MASKED and image.foreground_ml > 1.25 * most:
        return [_("'{name}' has a background that is not masked, the model was trained on images with nothing but one "
                  "value around the {anatomy}: mask the image first (Segment Editor, Mask volume).").format(
                      name=name, anatomy=_anatomy(card))]
    if trained_whole and masked and head and image.foreground_ml < least / 1.8:
        return [_("'{name}' is skull-stripped ({volume:.1f} liters of foreground), the model was trained on whole "
                  "heads ({least:.1f} liters at least): choose the image before the skull was removed.").format(
                      name=name, volume=image.foreground_ml / 1000, least=least / 1000)]
    return []


def _too_large(card: Card, image: Appearance, seen: dict, name: str, skull: bool) -> list[str]:
    """More of the body than in the training images; skin and skull explain it already."""
    if not seen or skull:
        return []
    for axis, extent in enumerate(image.field_of_view):
        most = seen["field_of_view"][axis][1]
        if extent > FACTOR * most and image.foreground_extent[axis] > seen["foreground_extent"][axis][1] * FACTOR:
            return [_("'{name}' covers {extent:.0f} mm from {direction}, the training images at most {most:.0f} mm: "
                      "crop it to the {anatomy} (module Crop Volume).").format(
                          name=name, extent=extent, direction=_directions()[axis], most=most,
                          anatomy=_anatomy(card))]
    return []


def _too_small(card: Card, image: Appearance, seen: dict, name: str) -> list[str]:
    """Only a part of what the training images show. Slices count for themselves where the model works in slices."""
    if not seen:
        return []
    for axis in range(3 if card.context == "3D" else 2):
        least = seen["foreground_extent"][axis][0]
        if image.foreground_extent[axis] < least / FACTOR:
            return [_("'{name}' shows only {extent:.0f} mm from {direction}, the training images at least {least:.0f} "
                      "mm: choose a volume that covers all of the {anatomy}.").format(
                          name=name, extent=image.foreground_extent[axis], direction=_directions()[axis], least=least,
                          anatomy=_anatomy(card))]
    return []


def _anatomy(card: Card) -> str:
    """What the model is for, as a sentence can name it: "adult brain", of "adult brain, skull-stripped"."""
    return card.anatomy.split(",")[0].strip() or _("region of interest")


def _directions() -> tuple[str, str, str]:
    return _("left to right"), _("back to front"), _("foot to head")


# Voxels


def _voxels(card: Card, image: Appearance, seen: dict, name: str) -> list[str]:
    """Voxels far larger than those of the training images; finer ones count only where they are not resampled."""
    working = card.spacing or (None, None, None)
    largest_sizes = [each[1] for each in seen["spacing"]] if seen else [size or 0 for size in working]
    for axis, (step, wanted) in enumerate(zip(image.spacing, working, strict=True)):
        trained = seen["spacing"][axis] if seen else [wanted, wanted]
        if axis == 2 and card.context == "2D" or trained[0] is None:
            continue
        largest = max(trained[1], wanted or 0)  # a working grid of 3.5 mm does not see more of voxels of 1 mm
        if step <= FACTOR * largest and (wanted or step >= trained[0] / FACTOR):
            continue
        sizes = " x ".join(_number(size) for size in image.spacing)
        if step < largest:
            advice = _("resample it to that size (module Resample Scalar Volume)")
        elif step > FACTOR * min(image.spacing):
            advice = _("details between its thick slices will be guessed, choose one with thin slices if there is one")
        else:
            advice = _("fine details will be guessed, choose one with smaller voxels if there is one")
        return [_("'{name}' has voxels of {sizes} mm, the model was trained on {trained} mm: {advice}.").format(
            name=name, sizes=sizes, trained=" x ".join(_number(size) for size in largest_sizes), advice=advice)]
    return []


def _slices(card: Card, volume: Volume, seen: dict, name: str) -> list[str]:
    """Fewer slices than the model looks at at once. Registration centers whatever there is on its own grid."""
    if card.task == "register":
        return []
    step = (card.spacing or (None, None, None))[2]
    grid = volume.grid.canonical().with_spacing((None, None, step))
    trained = seen["field_of_view"][2][0] / (step or seen["spacing"][2][1]) if seen else card.shape[0]
    if grid.shape[0] >= min(card.shape[0], trained):
        return []
    return [_("'{name}' has {count} slices where the model looks at {depth} at once: choose a volume with more "
              "slices.").format(name=name, count=grid.shape[0], depth=card.shape[0])]


def _angle(card: Card, image: Appearance, seen: dict, name: str) -> list[str]:
    """Axes further off left-right, back-front, foot-head than those of the training images, which a network sees."""
    resampled = card.task == "register" and card.settings.get("axes") == "world"
    if not seen or resampled or image.angle <= seen["angle"][1] + ANGLE:
        return []
    return [_("'{name}' is turned by {angle:.0f} degrees from the body's axes, the training images by at most "
              "{most:.0f}: turn it upright (module Transforms, then harden and resample).").format(
                  name=name, angle=image.angle, most=seen["angle"][1])]


def _number(value: float) -> str:
    """A number with the digits that a reader needs."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
