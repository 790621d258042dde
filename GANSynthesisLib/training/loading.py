"""From the files of a case to the tensors that a system's networks see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from GANSynthesisLib.appearance import Appearance, measure
from GANSynthesisLib.files import read_channels, read_volume
from GANSynthesisLib.fitting import fitted_spacing, whole_box
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.cases import Case, DataError
from GANSynthesisLib.training.conditions import condition_numbers
from GANSynthesisLib.training.cut import foreground_box
from GANSynthesisLib.volumes import Volume, VolumeError, resample
from GANSynthesisLib.working import centered_pair, image_arrays, label_array, parse_range, parse_spacing

MOST_CHANNELS = 6
IMAGE_OF_LABELS = {"labels": ("source", "image"), "target_labels": ("target",)}  # on whose grid they are laid


@dataclass
class LoadedCase:
    """Tensors (C, D, H, W) of one case by role; images of `paired` roles lie on one grid.

    appearance: what the images looked like as they were read. subject: whom they are of. boxes: corners (D, H, W) of
    the foreground by role, and of `any`, the first one. conditions: `class`, its number, and `value` in [−1, 1].
    """

    name: str
    tensors: Mapping[str, torch.Tensor]
    intensity: dict[str, tuple[float, float]]
    appearance: dict[str, Appearance] = field(default_factory=dict)
    subject: str = ""
    boxes: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)

    @property
    def roles(self) -> set[str]:
        """Everything that a batch can have of the case."""
        return {*self.tensors, *self.conditions}

    def __post_init__(self):
        self.boxes = self.boxes or foreground_box(self.tensors)


def load_case(case: Case, system: System) -> LoadedCase:
    """Read and prepare the files of a case as the system's networks see them. Raises DataError naming the file."""
    try:
        loaded = _load_registration(case, system) if system.task == "register" else _load_images(case, system)
    except (VolumeError, OSError) as error:
        raise DataError(f"Training case '{case.name}': {error}") from error
    loaded.subject, loaded.conditions = case.subject, condition_numbers(case, system.settings)
    return loaded


def intensity_settings(system: System, role: str) -> str:
    """The intensity range a system's settings give to a role."""
    settings = system.settings
    if role in ("fixed", "moving", "target"):
        return getattr(settings, f"{role}_intensity")
    return settings.intensity


def _appearances(volumes: Mapping[str, Volume], system: System) -> dict[str, Appearance]:
    """What the images of a case look like, by role; labels are no images."""
    return {role: measure(volume, parse_range(intensity_settings(system, role))) for role, volume in volumes.items()}


def _load_images(case: Case, system: System) -> LoadedCase:
    settings = system.settings
    spacing = parse_spacing(settings.spacing, settings.context)
    volumes = {role: read_volume(path) for role, path in case.files.items()}
    whole = getattr(settings, "fit", "crop") == "resize"
    if whole:
        spacing = fitted_spacing(volumes["image"].grid.canonical(), settings.window(), settings.context)
    labels = {role: volumes.pop(role) for role in IMAGE_OF_LABELS if role in volumes}
    groups = [tuple(volumes)] if system.paired else [(role,) for role in volumes]
    if not system.paired and "source" in volumes and "target" in volumes:
        groups.append(("source", "target"))
    tensors, intensity = {}, {}
    for group in groups:
        roles = sorted(group, key=lambda role: role == "target")
        ranges = {role: parse_range(intensity_settings(system, role)) for role in roles}
        try:
            arrays, preparation, measured = image_arrays({role: volumes[role] for role in roles}, ranges, spacing)
        except VolumeError:
            if system.paired or len(group) == 1:
                raise
            continue  # unpaired images of one name need not overlap: only the validation pair is missing
        for role in roles:
            name = role
            if len(group) == 2 and not system.paired:
                if role == "source":
                    if any("paired_source" in drawn for drawn in system.drawn_together()):
                        tensors["paired_source"] = tensors["source"]
                    continue
                name = f"paired_{role}"
            tensors[name] = torch.from_numpy(arrays[role].copy())[None]
            intensity[name] = (measured[role].lower, measured[role].upper)
        for role, volume in labels.items():
            if set(IMAGE_OF_LABELS[role]) & set(group) and role not in tensors:
                _check_labels(volume, len(settings.labels))
                tensors[role] = torch.from_numpy(label_array(volume, preparation.working))[None]
    boxes = {role: whole_box(tensors["image"].shape[1:]) for role in ("any", *tensors)} if whole else {}
    return LoadedCase(case.name, tensors, intensity, _appearances(volumes, system), boxes=boxes)


def _check_labels(labels: Volume, count: int) -> None:
    """Raise VolumeError unless every voxel is one of the whole numbers 0 … count − 1 (all 0 is a healthy case)."""
    values = np.unique(labels.voxels)
    wrong = [value for value in values if not (0 <= value < count and value == int(value))]
    if wrong:
        raise VolumeError(
            f"the labels '{labels.name}' hold the value {wrong[0]:g}, but the setting labels names the {count} values "
            f"0 to {count - 1}: name them all, e.g. labels=background,gray,white, or correct the file."
        )


def _load_registration(case: Case, system: System) -> LoadedCase:
    settings = system.settings
    volumes = {role: read_volume(case.files[role]) for role in ("fixed", "moving")}
    ranges = {role: parse_range(intensity_settings(system, role)) for role in ("fixed", "moving")}
    pair = centered_pair(
        volumes["fixed"], volumes["moving"], shape=settings.window(), spacing=settings.spacing[0], ranges=ranges,
        start=settings.start, axes=settings.axes, same_place=settings.aligned,
    )
    tensors = {role: torch.from_numpy(pair.arrays[role].copy())[None] for role in ("fixed", "moving")}
    for role, grid in (("fixed", pair.fixed_grid), ("moving", pair.moving_grid)):
        path = case.files.get(f"{role}_labels")
        if path is None:
            continue
        stack = np.zeros((max(MOST_CHANNELS, len(system.structures)), *grid.shape), np.float32)
        for number, channel in enumerate(read_channels(path)[: len(stack)]):
            if not (channel.voxels.min() >= 0 and channel.voxels.max() <= 1):
                raise VolumeError(
                    f"the {role} labels '{channel.name}' hold values from {channel.voxels.min():g} to "
                    f"{channel.voxels.max():g}: give one channel of 0 and 1 for each structure (a 4D file)."
                )
            stack[number] = resample(channel, grid, "linear", fill=0).voxels
        tensors[f"{role}_labels"] = torch.from_numpy(stack)
    return LoadedCase(case.name, tensors, {}, _appearances(volumes, system))
