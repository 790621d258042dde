"""Lesion patches: cut around the labels of volumes, for generators and classifiers to be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.training.cases import Case, DataError, find_cases
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, check_volume, resample

LARGE_SLICE = 0.5  # of the largest area of a lesion: smaller slices are not taken in 2D


@dataclass(frozen=True)
class PatchPlan:
    """How patches are cut.

    size: voxels (D, H, W); D of 1 gives single slices. spacing: mm of a voxel; 0 scales each lesion, with `margin` of
    its extent added, to fill the patch, as Frid-Adar 2018 did. jitter: random shift, as a fraction of the patch, of
    every copy but the first. copies: patches of each lesion; in 2D of different slices, while there are some.
    smallest_mm: lesions with a smaller mean diameter are left out.
    """

    size: tuple[int, int, int] = (32, 32, 32)
    spacing: float = 0.0
    margin: float = 0.5
    jitter: float = 0.1
    copies: int = 4
    smallest_mm: float = 3.0

    def __post_init__(self):
        if len(self.size) != 3 or min(self.size[1:]) < 8 or self.size[0] < 1:
            raise DataError(f"The patch size {self.size} must be three numbers of voxels (depth, rows, columns), rows "
                            "and columns of at least 8.")
        bounds = {"spacing": 20, "margin": 10, "jitter": 0.5, "copies": 1000, "smallest_mm": 1000}
        for name, high in bounds.items():
            low = 1 if name == "copies" else 0
            if not low <= getattr(self, name) <= high:
                raise DataError(f"{name} is {getattr(self, name)}: give a number between {low} and {high}.")


@dataclass(frozen=True)
class Lesion:
    """A connected part of one label: its value, and its mask (K, J, I) on the canonical grid of the labels."""

    value: int
    mask: np.ndarray
    grid: Grid

    @property
    def diameter_mm(self) -> float:
        """Of a ball of the same volume; of a disc of the same area where there is but one slice."""
        spacing = np.array(self.grid.spacing)
        if self.mask.shape[0] == 1:
            return float(2 * np.sqrt(self.mask.sum() * spacing[0] * spacing[1] / np.pi))
        return float(2 * (3 * self.mask.sum() * np.prod(spacing) / (4 * np.pi)) ** (1 / 3))


def lesions_of(labels: Volume) -> Iterator[Lesion]:
    """The connected parts of every label value but 0, the largest of a value first. Raises VolumeError."""
    check_volume(labels, "labels")
    canonical = labels.canonical()
    for value in np.unique(canonical.voxels):
        if value == 0:
            continue
        if value != int(value) or value < 0:
            raise VolumeError(f"The labels '{labels.name}' hold the value {value:g}, which is no label: give whole "
                              "numbers, 0 for what is none.")
        parts = sitk.ConnectedComponent(sitk.GetImageFromArray((canonical.voxels == value).astype(np.uint8)), True)
        numbered = sitk.GetArrayFromImage(sitk.RelabelComponent(parts))
        for number in range(1, numbered.max() + 1):
            yield Lesion(int(value), numbered == number, canonical.grid)


def cut_patches(
    image: Volume, labels: Volume, plan: PatchPlan, random: np.random.Generator
) -> Iterator[tuple[int, Volume, Volume]]:
    """(label value, image patch, label patch) of every lesion, `plan.copies` of each.

    Patches lie where they were cut, along the canonical axes of the labels. What is outside of the image has its
    lowest value. Labels of a patch are those of all lesions in it.
    """
    for lesion in lesions_of(labels):
        if lesion.diameter_mm < plan.smallest_mm:
            continue
        for number, center in enumerate(_centers(lesion, plan, random)):
            grid = _patch_grid(lesion, center, plan, random if number else None)
            yield lesion.value, resample(image, grid), resample(labels, grid, "nearest", fill=0)


def _centers(lesion: Lesion, plan: PatchPlan, random: np.random.Generator) -> list[np.ndarray]:
    """RAS mm of the middle of every patch: that of the lesion, or in 2D of its large slices, the largest first."""
    matrix = lesion.grid.ijk_to_ras

    def to_ras(kji: np.ndarray) -> np.ndarray:
        return (matrix @ np.append(kji[::-1], 1.0))[:3]

    if plan.size[0] > 1 or lesion.mask.shape[0] == 1:
        return [to_ras(_middle(np.argwhere(lesion.mask)))] * plan.copies
    areas = lesion.mask.sum((1, 2))
    large = np.flatnonzero(areas >= LARGE_SLICE * areas.max())
    others = random.permutation(large[large != areas.argmax()])
    slices = np.resize([areas.argmax(), *others], plan.copies)
    return [to_ras(np.array([number, *_middle(np.argwhere(lesion.mask[number]))])) for number in slices]


def _middle(voxels: np.ndarray) -> np.ndarray:
    return (voxels.min(0) + voxels.max(0)) / 2


def _patch_grid(lesion: Lesion, center: np.ndarray, plan: PatchPlan, random: np.random.Generator | None) -> Grid:
    size, own = np.array(plan.size[::-1]), np.array(lesion.grid.spacing)
    axes = 3 if plan.size[0] > 1 else 2
    if plan.spacing:
        step = plan.spacing
    else:
        at = np.argwhere(lesion.mask)
        extent = ((at.max(0) - at.min(0) + 1)[::-1] * own)[:axes]
        step = float((extent * (1 + plan.margin) / size[:axes]).max())
    spacing = np.array([step] * 3) if axes == 3 else np.array([step, step, own[2]])
    if random is not None:
        shift = random.uniform(-plan.jitter, plan.jitter, axes) * size[:axes] * step
        center = center + lesion.grid.directions[:, :axes] @ shift
    return Grid.centred(center, plan.size, spacing, lesion.grid.directions)


def write_patches(
    data: Path, output: Path, plan: PatchPlan, seed: int = 0, say: Callable[[str], None] = print
) -> Counter[str]:
    """Cut patches from the cases of `data` (roles `image` and `labels`) into `output`: `image/CLASS/SUBJECT/NAME` and
    `labels/…` of the same names, as `train` takes them; gives the number of patches of each class.

    The class of a patch is that of its case where the data say one; else the name that the label file gives to the
    value, or `label_VALUE`. say(line) is called for every case. Raises DataError: no case, no lesion in any of them, a
    folder that is not empty, a file that cannot be used.
    """
    output, random = Path(output), np.random.default_rng(seed)
    cases = find_cases(data, ("image", "labels"))
    if output.exists() and any(output.iterdir()):
        raise DataError(f"The folder {output} is not empty: choose a new one for the patches.")
    counts: Counter[str] = Counter()
    for case in cases:
        try:
            image, labels = (read_volume(case.files[role]) for role in ("image", "labels"))
            found = cut_case(case, image, labels, output, plan, random)
        except (VolumeError, OSError) as error:
            raise DataError(f"Case '{case.name}': {error}") from error
        say(f"{case.name}: {found.total()} patches")
        counts += found
    if not counts:
        raise DataError(f"The labels of {data} hold no lesion of {plan.smallest_mm:g} mm or more: give others, or "
                        "lower the smallest size.")
    return counts


def cut_case(
    case: Case, image: Volume, labels: Volume, output: Path, plan: PatchPlan, random: np.random.Generator
) -> Counter[str]:
    """Write the patches of one case (see `write_patches`); gives their number by class. Raises VolumeError."""
    check_volume(image, "image")
    counts: Counter[str] = Counter()
    for number, (value, *patch) in enumerate(cut_patches(image, labels, plan, random)):
        class_name = case.class_name or labels.label_names.get(value) or f"label_{value}"
        _write(patch, output, class_name, case, number)
        counts[class_name] += 1
    return counts


def _write(patch: list[Volume], output: Path, class_name: str, case: Case, number: int) -> None:
    folder = f"{_file_name(class_name)}/{_file_name(case.subject)}"
    for role, volume in zip(("image", "labels"), patch, strict=True):
        write_volume(volume, output / role / folder / f"{_file_name(case.name)}_{number:03d}.nii.gz")


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
