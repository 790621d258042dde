"""From cases in memory to batches: random patches for training, fixed ones for validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from GANSynthesisLib.appearance import Appearance, measure
from GANSynthesisLib.files import read_channels, read_volume
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.cases import Case, DataError
from GANSynthesisLib.volumes import Volume, VolumeError, resample
from GANSynthesisLib.working import centered_pair, image_arrays, label_array, parse_range, parse_spacing

MOST_CHANNELS = 6
TURNED = 0.3  # part of the training patches that are turned and scaled


@dataclass
class LoadedCase:
    """Tensors (C, D, H, W) of one case by role; images of `paired` roles lie on one grid.

    appearance: what the images looked like as they were read.
    """

    name: str
    tensors: dict[str, torch.Tensor]
    intensity: dict[str, tuple[float, float]]
    appearance: dict[str, Appearance] = field(default_factory=dict)


def load_case(case: Case, system: System) -> LoadedCase:
    """Read and prepare the files of a case as the system's networks see them. Raises DataError naming the file."""
    try:
        return _load_registration(case, system) if system.task == "register" else _load_images(case, system)
    except (VolumeError, OSError) as error:
        raise DataError(f"Training case '{case.name}': {error}") from error


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
    labels = volumes.pop("labels", None)
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
                    continue
                name = f"paired_{role}"
            tensors[name] = torch.from_numpy(arrays[role].copy())[None]
            intensity[name] = (measured[role].lower, measured[role].upper)
        if "source" in group and labels is not None and "labels" not in tensors:
            _check_labels(labels, len(settings.labels))
            tensors["labels"] = torch.from_numpy(label_array(labels, preparation.working))[None]
    return LoadedCase(case.name, tensors, intensity, _appearances(volumes, system))


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


class PatchSampler:
    """Draws batches from loaded cases; every random number comes from one generator whose state is saved."""

    def __init__(self, cases: list[LoadedCase], system: System, seed: int):
        self.cases, self.system, self.settings = cases, system, system.settings
        self.random = np.random.default_rng(seed)
        self.window = system.settings.window()
        self.boxes = {id(case): _foreground_box(case.tensors) for case in cases}

    def state(self) -> dict:
        return self.random.bit_generator.state

    def restore(self, state: dict) -> None:
        self.random.bit_generator.state = state

    def batch(self, device) -> Batch:
        """A training batch of the roles the system needs, (B, C, D, H, W)."""
        drawn = [self._draw() for _ in range(self.settings.batch)]
        shared = set.intersection(*(set(patch) for patch in drawn))
        return {role: torch.stack([patch[role] for patch in drawn]).to(device) for role in sorted(shared)}

    def _draw(self) -> dict[str, torch.Tensor]:
        if self.system.paired:
            return self._of_one_case(None)
        return self._of_one_case("source") | self._of_one_case("target")

    def _of_one_case(self, role: str | None) -> dict[str, torch.Tensor]:
        """Patches of one random case: all its roles, or `role` alone (a source with its labels)."""
        needed = {role} if role else set()
        if role == "source" and "labels" in self.system.roles:
            needed.add("labels")
        having = [case for case in self.cases if needed <= set(case.tensors)]
        case = having[self.random.integers(len(having))]
        wanted = {None: tuple(case.tensors), "source": ("source", "labels"), "target": ("target",)}[role]
        chosen = {name: case.tensors[name] for name in wanted if name in case.tensors}
        if self.system.task == "register":
            return chosen  # whole working grids; the system simulates misalignment itself
        points = self._random_points(self.boxes[id(case)][role or "any"], next(iter(chosen.values())).shape[1:])
        return {name: self._intensities(name, _at(tensor, points, name)) for name, tensor in chosen.items()}

    def _random_points(self, box, shape) -> torch.Tensor:
        """Voxel coordinates (D, H, W, 3) of a randomly placed, turned and scaled patch, in the order x, y, z."""
        depth, rows, columns = self.window
        strength, random = self.settings.augment, self.random
        low, high = box
        center = np.array([random.uniform(a, b) for a, b in zip(low, high, strict=True)])
        for axis, size in enumerate(self.window):
            if size >= high[axis] - low[axis]:
                center[axis] = (low[axis] + high[axis]) / 2 + random.uniform(-4, 4) * strength * (shape[axis] > 1)
        # Interpolation blurs: only some patches are turned and scaled, the others are exact copies of voxels. Slabs
        # hold the image's own slices in any case.
        turned = random.random() < TURNED * strength
        for axis, size in enumerate(self.window):
            if not turned or (axis == 0 and self.settings.context != "3D"):
                center[axis] = round(center[axis] - (size - 1) / 2) + (size - 1) / 2
        angle = math.radians(random.uniform(-12, 12)) * strength if turned else 0.0
        scale = math.exp(random.uniform(-0.1, 0.1) * strength) if turned else 1.0
        # Left-right flips only: patches are in canonical axes, so columns run to the patient's right.
        flip = -1 if strength > 0 and random.random() < 0.5 else 1
        z = torch.arange(depth) - (depth - 1) / 2
        y = (torch.arange(rows) - (rows - 1) / 2) * scale
        x = (torch.arange(columns) - (columns - 1) / 2) * scale * flip
        z, y, x = torch.meshgrid(z, y, x, indexing="ij")
        turned_x = math.cos(angle) * x - math.sin(angle) * y + center[2]
        turned_y = math.sin(angle) * x + math.cos(angle) * y + center[1]
        return torch.stack([turned_x, turned_y, z + center[0]], -1)

    def _intensities(self, role: str, patch: torch.Tensor) -> torch.Tensor:
        """Gamma and contrast change of input images; targets and labels stay as they are."""
        strength = self.settings.augment_intensity
        if strength == 0 or role in ("target", "labels", "image"):
            return patch
        if self.system.paired is False:
            return patch  # the discriminators judge these intensities
        gamma = math.exp(self.random.uniform(-0.3, 0.3) * strength)
        level = 1 + self.random.uniform(-0.2, 0.2) * strength
        return (((patch + 1) / 2).clamp(min=0) ** gamma * level * 2 - 1).clamp(-1, 1)

    def validation_batches(self, device, per_case: int = 6) -> list[Batch]:
        """Fixed patches of batch size 1, evenly spread over the foreground of every case."""
        batches = []
        targets = [case for case in self.cases if "target" in case.tensors]
        for number, case in enumerate(self.cases):
            if self.system.task == "register":
                batches.append({role: tensor[None].to(device) for role, tensor in case.tensors.items()})
                continue
            role = "any" if self.system.paired else "source"
            if role == "source" and "source" not in case.tensors:
                continue
            for part in range(per_case):
                batch = self._fixed_patch(case, role, (part + 0.5) / per_case)
                if not self.system.paired:
                    other = targets[number % len(targets)] if targets else None
                    if other is None:
                        continue
                    batch["target"] = self._fixed_patch(other, "target", (part + 0.5) / per_case)["target"]
                batches.append({name: patch[None].to(device) for name, patch in batch.items()})
        return batches

    def _fixed_patch(self, case: LoadedCase, role: str, share: float) -> dict[str, torch.Tensor]:
        low, high = self.boxes[id(case)][role]
        center = [low[0] + share * (high[0] - low[0]), (low[1] + high[1]) / 2, (low[2] + high[2]) / 2]
        axes = [
            torch.arange(size) + round(middle - (size - 1) / 2)
            for middle, size in zip(center, self.window, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        points = torch.stack([x, y, z], -1).float()
        names = [n for n in case.tensors if role == "any" or n == role or (role == "source" and n != "target")]
        return {name: _at(case.tensors[name], points, name) for name in names}


def _foreground_box(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Corners (D, H, W) of what lies above the lowest value, per role; `any` is the first role's."""
    boxes = {}
    for role, tensor in tensors.items():
        mask = (tensor[0] > tensor.min() + 1e-3).numpy()
        at = np.argwhere(mask) if mask.any() else np.argwhere(np.ones_like(mask))
        boxes[role] = (at.min(0).astype(float), at.max(0).astype(float))
    first = next(role for role in (*tensors,) if role != "labels")
    return {"any": boxes[first], **boxes}


def _at(tensor: torch.Tensor, points: torch.Tensor, role: str) -> torch.Tensor:
    """(C, D, H, W) sampled at voxel coordinates (d, h, w, 3); the lowest value outside; labels by nearest neighbor."""
    sizes = torch.tensor([max(size - 1, 1) for size in reversed(tensor.shape[1:])], dtype=torch.float32)
    scaled = 2 * points.float() / sizes - 1
    # A single slice has no extent: every point with that index lies on it.
    scaled = torch.where(torch.tensor([size == 1 for size in reversed(tensor.shape[1:])]), 0 * scaled, scaled)
    lowest = 0.0 if role.endswith("labels") else -1.0
    mode = "nearest" if role.endswith("labels") else "bilinear"
    shifted = (tensor - lowest)[None]
    return F.grid_sample(shifted, scaled[None], mode=mode, padding_mode="zeros", align_corners=True)[0] + lowest


def check_roles(cases: list[LoadedCase], system: System) -> None:
    """Every role the system needs is there in at least one case. Raises DataError."""
    for role in system.roles:
        if not any(role in case.tensors for case in cases):
            raise DataError(
                f"No training case has the role '{role}', which {system.name} needs with these settings: add files, "
                "or set validation_fraction=0 where the only such case was kept for validation."
            )
