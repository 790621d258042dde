"""Synthetic heads: smooth random blobs whose second contrast is a function of the first, as volumes and as folders."""

from pathlib import Path

import numpy as np

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume, resample

LABELS = "background,tissue,bright"
SMALL = {  # settings that make any image system small enough to train in a second
    "width": 4, "batch": 2, "warmup": 0, "validation_fraction": 0, "learning_rate": 1e-3, "levels": 2, "blocks": 1,
    "discriminator_width": 4, "discriminator_layers": 1,
}


def oblique(spacing=(1.5, 1.2, 2.0)) -> np.ndarray:
    """A voxel-to-world matrix, turned about two axes, with an offset."""
    a, b = np.deg2rad(14), np.deg2rad(-9)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x * np.asarray(spacing)
    matrix[:3, 3] = (-20, 11, 7)
    return matrix


def head(seed: int = 0, shape=(8, 28, 24), matrix=None, name: str = "head") -> Volume:
    """A roundish body of smooth blobs, 0 outside, up to about 1000 inside."""
    random = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij"), -1)
    blobs = np.zeros(shape)
    for _ in range(14):
        center, width = random.uniform(-0.8, 0.8, 3), random.uniform(0.15, 0.4)
        blobs += random.uniform(0.3, 1) * np.exp(-((at - center) ** 2).sum(-1) / (2 * width**2))
    inside = (at**2 / [1.3, 0.8, 0.7]).sum(-1) < 0.95
    voxels = np.where(inside, 150 + 500 * blobs / blobs.max() + 350 * blobs.clip(0, 0.4), 0)
    return Volume(voxels.astype(np.float32), np.diag([1.5, 1.5, 3, 1]) if matrix is None else matrix, name=name)


def other_contrast(volume: Volume) -> Volume:
    """Another modality of the same anatomy: bright and dark change places, 0 stays 0."""
    share = volume.voxels / 1000
    return volume.with_voxels(np.where(share > 0, 80 + 700 * (1 - share) ** 2, 0).astype(np.float32))


def labels_of(volume: Volume) -> Volume:
    """0 outside, 1 tissue, 2 what is bright."""
    inside = volume.voxels > 0
    bright = volume.voxels > 450
    return volume.with_voxels((inside.astype(np.uint8) + (inside & bright)).astype(np.uint8))


def shifted(volume: Volume, by=(3.0, -4.5, 3.0)) -> Volume:
    """The same anatomy moved by so many mm, on the same grid."""
    matrix = np.eye(4)
    matrix[:3, 3] = -np.asarray(by)
    return resample(volume, volume.grid, fill=0, transform=SpatialTransform(matrix))


def write_cases(folder: Path, count: int = 3, paired: bool = True, labels: bool = False, **shape) -> Path:
    """`source`, `target` and, if wanted, `labels` of `count` subjects; unpaired: the targets are of other subjects,
    with `target_labels` of their own."""
    for number in range(count):
        case, name = head(number, **shape), f"sub-{number:02d}"
        write_volume(case, folder / "source" / f"{name}.nii.gz")
        if paired:
            write_volume(other_contrast(case), folder / "target" / f"{name}.nii.gz")
        else:
            other, theirs = head(100 + number, **shape), f"sub-{100 + number:02d}"
            write_volume(other_contrast(other), folder / "target" / f"{theirs}.nii.gz")
            if labels:
                write_volume(labels_of(other), folder / "target_labels" / f"{theirs}.nii.gz")
        if labels:
            write_volume(labels_of(case), folder / "labels" / f"{name}.nii.gz")
    return folder


def write_images(folder: Path, count: int = 3, shape=(4, 20, 20)) -> Path:
    for number in range(count):
        write_volume(head(number, shape), folder / "image" / f"sub-{number:02d}.nii.gz")
    return folder


def write_conditions(folder: Path, count: int = 4, shape=(8, 20, 20)) -> Path:
    """Images with masks, two classes in turn, each with a value, and the manifest `cases.csv`."""
    rows = ["image,labels,class,value"]
    for number in range(count):
        case = head(number, shape)
        case = case if number % 2 == 0 else other_contrast(case)
        write_volume(case, folder / "image" / f"sub-{number:02d}.nii.gz")
        write_volume(labels_of(case), folder / "labels" / f"sub-{number:02d}.nii.gz")
        files = f"image/sub-{number:02d}.nii.gz,labels/sub-{number:02d}.nii.gz"
        rows.append(f"{files},{'bright' if number % 2 == 0 else 'dark'},{10 * number}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_pairs(folder: Path, count: int = 2, labels: bool = False, aligned: bool = True) -> Path:
    """`fixed` and `moving` of `count` subjects; labels are blurred masks of the body and of its bright part."""
    for number in range(count):
        fixed, name = head(number, (16, 24, 24), np.diag([3.0, 3, 4, 1])), f"sub-{number:02d}"
        moving = fixed if aligned else shifted(fixed)
        write_volume(fixed, folder / "fixed" / f"{name}.nii.gz")
        write_volume(other_contrast(moving), folder / "moving" / f"{name}.nii.gz")
        for role, volume in (("fixed", fixed), ("moving", moving)):
            if labels:
                _write_label_channels(volume, folder / f"{role}_labels" / f"{name}.nii.gz")
    return folder


def _write_label_channels(volume: Volume, path: Path) -> None:
    import SimpleITK as sitk

    values = labels_of(volume).voxels
    path.parent.mkdir(parents=True, exist_ok=True)
    images = []
    for mask in (values > 0, values > 1):
        image = sitk.GetImageFromArray(mask.astype(np.float32))
        image.SetSpacing(volume.spacing)
        origin = volume.ijk_to_ras[:3, 3] * [-1, -1, 1]
        image.SetOrigin(origin.tolist())
        image.SetDirection((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
        images.append(image)
    sitk.WriteImage(sitk.JoinSeries(images), str(path))
