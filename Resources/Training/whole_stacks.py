"""Complete stacks for the coverage check: what of a volume is from end to end, its slices with their positions, and
stacks that are cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.inference.coverage import axial_slice
from GANSynthesisLib.volumes import Volume

BEYOND = 0.18  # parts of the whole, before and after it, from which slices are taken too
THICKNESSES = 3.0, 6.0  # mm, of training slices: those of a thick one are averaged
LEAST_AREA = 0.05  # of the largest one: slices that show less of a structure are not needed to cover it
BRAINS = ("ms_patient07", "ms_patient26", "glioma_tcga", "glioma_brats", "glioma_aurora")
CHEST_MR = ("0004", "0006", "0007")
LUNG_LABELS = 10, 14  # of the labels of the CT


@dataclass(frozen=True)
class Stack:
    """A volume in canonical axes, and the numbers of the first and the last axial slice of what it is to cover."""

    subject: str
    name: str
    volume: Volume
    first: int
    last: int

    def positions(self) -> np.ndarray:
        """Of each slice: 0 the first, 1 the last one of what is to be covered."""
        return (np.arange(self.volume.shape[0]) - self.first) / (self.last - self.first)

    def thick(self, millimetres: float, start: int = 0) -> Stack:
        """Slices averaged to about this thickness, from the slice `start` on."""
        step = max(1, round(millimetres / self.volume.grid.spacing[2]))
        count = (self.volume.shape[0] - start) // step
        voxels = self.volume.voxels[start : start + count * step].astype(np.float32)
        voxels = voxels.reshape(count, step, *self.volume.shape[1:]).mean(1)
        matrix = self.volume.ijk_to_ras.copy()
        matrix[:3, 3] += (start + (step - 1) / 2) * matrix[:3, 2]
        matrix[:3, 2] *= step
        first, last = ((end - start - (step - 1) / 2) / step for end in (self.first, self.last))
        return Stack(self.subject, self.name, Volume(voxels, matrix, self.volume.unit, self.name), first, last)

    def part(self, first: int, end: int) -> Volume:
        """The slices from `first` to before `end` as a volume."""
        matrix = self.volume.ijk_to_ras.copy()
        matrix[:3, 3] += first * matrix[:3, 2]
        return Volume(self.volume.voxels[first:end], matrix, self.volume.unit, self.name)


def brains(data: Path) -> list[Stack]:
    """Skull-stripped brains of five patients, every contrast: from the first slice with much brain to the last."""
    stacks = []
    for subject in BRAINS:
        for path in sorted((data / "brain_multicontrast" / subject).glob("[TF]*.nii.gz")):
            volume = read_volume(path).canonical()
            stacks.append(_between(subject, f"{subject}-{path.name.split('.')[0]}", volume, volume.voxels > 0))
    return stacks


def chests(data: Path) -> list[Stack]:
    """Three proton MR and one CT of the chest: from the lowest slice with much lung to the highest."""
    folder, stacks = data / "organs_ct_mr", []
    for subject in CHEST_MR:
        volume = read_volume(folder / "chest_mr_lobes" / f"{subject}H1.nii.gz").canonical()
        lobes = read_volume(folder / "chest_mr_lobes" / f"{subject}Lobes.nii.gz").canonical()
        stacks.append(_between(subject, subject, volume, lobes.voxels > 0))
    labels = read_volume(folder / "chest_ct" / "labels_117.nii.gz").canonical().voxels
    lungs = (labels >= LUNG_LABELS[0]) & (labels <= LUNG_LABELS[1])
    image = read_volume(folder / "chest_ct" / "ct.nii.gz").canonical()
    return [*stacks, _between("chest_ct", "chest_ct", image, lungs)]


def _between(subject: str, name: str, volume: Volume, inside: np.ndarray) -> Stack:
    area = inside.mean((1, 2))
    there = np.flatnonzero(area >= LEAST_AREA * area.max())
    return Stack(subject, name, volume, int(there[0]), int(there[-1]))


def write_slices(stacks: list[Stack], folder: Path) -> list[dict]:
    """Slices of several thicknesses, each in a file of its own; -> rows of a manifest with their positions."""
    rows = []
    for stack in stacks:
        for millimetres in THICKNESSES:
            step = max(1, round(millimetres / stack.volume.grid.spacing[2]))
            for start in (0, step // 2) if step > 1 else (0,):
                thick = stack.thick(millimetres, start)
                every = max(1, round(6 / thick.volume.grid.spacing[2]))
                for number in range(start % every, thick.volume.shape[0], every):
                    position, image = thick.positions()[number], axial_slice(thick.volume, number)
                    if -BEYOND <= position <= 1 + BEYOND and np.ptp(image.voxels) > 0:
                        name = f"{stack.name}-{millimetres:g}mm-{start}-{number}"
                        write_volume(image, folder / f"{name}.nii.gz")
                        rows.append({"name": name, "subject": stack.subject, "image": folder / f"{name}.nii.gz",
                                     "value": round(float(position), 4)})
    return rows
