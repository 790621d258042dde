"""The images of `side_by_side.py`: which patients teach and which test, and the slices that every method sees.

Two tasks. MR to CT: T1 and CT of the heads of `mr_ct_slices`. Its other patients show the abdomen; of its columns, T2
is FLAIR-like in some patients, so T1 is taken. P06 is left out: its CT was stored with another window (its brain is at
133 of 255, that of all others at 90 to 97), which no method could know. The window shows fat and air alike in black.
T1 to T2: the skull-stripped patients of `brain_multicontrast`; the only one with a skull, which has slices of 6 mm, is
left out.

Labels. MR to CT: three classes by two thresholds of the training CT, which are handed to the MR of the same patient,
too. So methods that learn from labels of the MR are told where bone is, as by a reader; in truth that is news from the
pair. T1 to T2: the tissue that `Resources/Training/tissue_labels.py` finds in T1, of two patients; in glioma_brats,
whose T1 has hardly any contrast, it takes most of the gray matter for white.

Everything is brought to 2 mm (MR to CT has no true spacing: two pixels) and to percent: an MR is 0 to 3 medians of its
head, a CT its stored 0 to 255. Inside the head voxels are 1 to 100, outside 0, in all images: no method has to find
the head. Each axial slice is a case of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import LeftOut, existing_folder

from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.volumes import Volume, body_mask, resample

SPACING = 2.0  # mm
ROLES = ("source", "target", "labels")
CT_TOP = 255
SOFT_TISSUE, BONE = 15, 85  # percent of the CT's window from which on it shows soft tissue, and bone


@dataclass(frozen=True, eq=False)
class Head:
    """A patient's two images and labels on one grid, (K, J, I); `mask` is the head (of stripped images: the brain)."""

    name: str
    source: Volume
    target: Volume
    labels: Volume | None
    mask: np.ndarray

    def shown(self) -> np.ndarray:
        """The axial slices that show some of the head."""
        return np.flatnonzero(self.mask.mean((1, 2)) > 0.02)

    def slices(self) -> Iterable[tuple[str, dict[str, Volume]]]:
        """Name and images by role of each of them."""
        given = {"source": self.source, "target": self.target, "labels": self.labels}
        for k in self.shown():
            yield f"{self.name}_{k:03d}", {
                role: volume.with_voxels(volume.voxels[k : k + 1]) for role, volume in given.items() if volume
            }


@dataclass(frozen=True)
class Task:
    """One of the two translations: where its images are, and who is trained on and tested."""

    name: str
    folder: str
    modalities: tuple[str, str]
    labels: tuple[str, ...]
    training: tuple[str, ...]
    test: tuple[str, ...]
    labeled: tuple[str, ...]
    patch: str  # rows and columns that hold the largest slice
    steps: int  # of every method

    def read(self, data: Path | None, labels: Path, patients: Sequence[str]) -> list[Head]:
        """Raises LeftOut where images are missing. labels: folder of PATIENT/tissue.nii.gz, for T1 to T2."""
        folder = existing_folder(data, self.folder)
        return [read_head(self, folder / name, labels / name / "tissue.nii.gz") for name in patients]


MR_TO_CT = Task(
    "mr-to-ct", "mr_ct_slices", ("T1", "CT"), ("dark", "soft tissue", "bone"), ("P01", "P02", "P04"), ("P05", "P08"),
    ("P01", "P02", "P04"), "96,96", 800,
)
T1_TO_T2 = Task(
    "t1-to-t2", "brain_multicontrast", ("T1", "T2"), ("background", "CSF", "gray matter", "white matter"),
    ("ms_patient07", "glioma_tcga", "glioma_brats"), ("ms_patient26", "glioma_aurora"),
    ("ms_patient07", "glioma_tcga"), "96,80", 600,
)
TASKS = {task.name: task for task in (MR_TO_CT, T1_TO_T2)}


def read_head(task: Task, folder: Path, tissue: Path) -> Head:
    """The images of a patient's `folder`; `tissue` is the file of its labels, where its task has such."""
    labeled = folder.name in task.labeled
    files = [folder / f"{modality}.nii.gz" for modality in task.modalities]
    for path in files:
        if not path.is_file():
            raise LeftOut(f"the image {path} is missing")
    if labeled and task is not MR_TO_CT and not tissue.is_file():
        raise LeftOut(f"the tissue labels {tissue} are missing: make them with Resources/Training/tissue_labels.py "
                      f"--patients {' '.join(task.labeled)}")
    source, target = map(read_volume, files)
    head = body_mask(source)
    grid = source.canonical().grid.with_spacing((SPACING, SPACING, None if task is MR_TO_CT else SPACING))
    mask = resample(source.with_voxels(head.astype(np.float32)), grid, fill=0).voxels > 0.5

    def percent(volume: Volume, top: float) -> Volume:
        voxels = np.clip(resample(volume, grid, fill=0).voxels * (100 / top), 1, 100)
        return Volume(np.where(mask, voxels, 0).astype(np.float32), grid.ijk_to_ras)

    def of_medians(volume: Volume) -> Volume:
        return percent(volume, 3 * float(np.median(resample(volume, source.grid).voxels[head])))

    images = of_medians(source), percent(target, CT_TOP) if task is MR_TO_CT else of_medians(target)
    labels = None
    if labeled:
        values = (np.digitize(images[1].voxels, [SOFT_TISSUE, BONE]) if task is MR_TO_CT
                  else resample(read_volume(tissue), grid, "nearest", fill=0).voxels)
        labels = Volume(values.astype(np.uint8), grid.ijk_to_ras, label_names=dict(enumerate(task.labels)))
    return Head(folder.name, *images, labels, mask)


def write_slices(heads: Sequence[Head], folder: Path) -> None:
    """One file for each slice and role in `folder`."""
    for head in heads:
        for name, images in head.slices():
            for role, volume in images.items():
                write_volume(volume, folder / f"{name}_{role}.nii.gz")


def manifest_rows(folder: Path, columns: Mapping[str, str]) -> list[dict]:
    """A row for each slice in `folder`. columns: role in the manifest -> role of the slices."""
    names = sorted(each.name.removesuffix("_source.nii.gz") for each in folder.glob("*_source.nii.gz"))
    rows = []
    for name in names:
        files = {role: (folder / f"{name}_{kind}.nii.gz").resolve() for role, kind in columns.items()}
        rows.append({"name": name, "subject": name.rpartition("_")[0],
                     **{role: path for role, path in files.items() if path.exists()}})
    return rows
