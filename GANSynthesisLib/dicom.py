"""DICOM series: slices sorted by position, gaps and gantry tilt seen, resampled to an even, orthogonal grid.

Positions come from Image Position and Image Orientation (Patient) of every slice (DICOM PS3.3 C.7.6.2), never from
slice numbers or nominal thickness.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.grid import LPS_FROM_RAS, Grid, VolumeError, VolumeWarning
from GANSynthesisLib.volumes import Volume, resample

UNEVEN = 0.01  # relative difference of slice distances that counts as uneven
PIXEL = 0.1  # drift in the slice plane, in pixels over the series, that counts as tilt

PIXEL_DATA = b"\xe0\x7f\x10\x00"  # its tag (7FE0,0010), little endian
SERIES, DESCRIPTION, MODALITY, PATIENT_POSITION = "0020|000e", "0008|103e", "0008|0060", "0020|0032"
ORIENTATION, FRAMES, SAMPLES, INSTANCE = "0020|0037", "0028|0008", "0028|0002", "0020|0013"


@dataclass(frozen=True, eq=False)
class _Slice:
    """One file: its `position` (3,) and `axes` (2, 3) of its columns and rows in LPS; None where it has none."""

    path: Path
    series: str
    description: str
    modality: str
    position: np.ndarray | None
    axes: np.ndarray | None
    size: tuple[int, int]
    spacing: tuple[float, float]
    frames: int
    samples: int
    number: int

    @property
    def stack(self) -> tuple:
        """What slices of one stack share."""
        axes = () if self.axes is None else tuple(np.round(self.axes, 3).ravel() + 0.0)
        return self.series, self.size, tuple(np.round(self.spacing, 4)), axes


@dataclass(frozen=True, eq=False)
class _Stack:
    """Parallel slices of one series."""

    key: str
    slices: list[_Slice] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.slices[0].description or f"{self.slices[0].modality or 'DICOM'} series"


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file: the mark DICM after 128 bytes, or the ending .dcm."""
    with open(path, "rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or path.suffix.lower() == ".dcm"


def series_of(path: Path) -> str:
    """The series UID of a DICOM file; VolumeError if it cannot be read."""
    return _read_header(path).series


def read_series(folder: Path, series: str | None = None) -> Volume:
    """The volume of the DICOM series in `folder`; `series` is its UID where there are several.

    Uneven slice distances and gantry tilt are resampled, with a VolumeWarning. VolumeError without DICOM files, with
    several series and none chosen, and for stacks without positions or with several images per position.
    """
    stacks = _stacks(folder)
    if series is not None:
        chosen = [stack for stack in stacks if series in (stack.key, stack.slices[0].series)]
        problem = f"has no single stack of slices '{series}'"
    else:
        chosen, problem = stacks, f"holds {len(stacks)} DICOM series"
    if len(chosen) != 1:
        listing = "; ".join(f"{s.key or '(no UID)'}: {s.name}, {_count(s)}" for s in chosen or stacks)
        raise VolumeError(f"The folder '{folder.name}' {problem}: choose one with series=UID from {listing}.")
    return _volume(chosen[0])


def _count(stack: _Stack) -> str:
    number = len(stack.slices)
    return f"{number} slice{'s' if number != 1 else ''}"


def _read_header(path: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(
            f"The DICOM file '{path.name}' cannot be read: export it again or remove it from its folder."
        ) from error

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""

    def numbers(tag: str, count: int) -> np.ndarray | None:
        try:
            values = np.array([float(value) for value in text(tag).split("\\")])
        except ValueError:
            return None
        return values if len(values) == count and np.isfinite(values).all() else None

    axes = numbers(ORIENTATION, 6)
    size, spacing = reader.GetSize(), reader.GetSpacing()
    return _Slice(
        path=path,
        series=text(SERIES),
        description=text(DESCRIPTION),
        modality=text(MODALITY),
        position=numbers(PATIENT_POSITION, 3),
        axes=None if axes is None else axes.reshape(2, 3),
        size=(size[0], size[1]),
        spacing=(spacing[0], spacing[1]),
        frames=int(text(FRAMES) or 1),
        samples=int(text(SAMPLES) or 1),
        number=int(text(INSTANCE) or 0),
    )


def _stacks(folder: Path) -> list[_Stack]:
    """The stacks of parallel slices in `folder`, largest first."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file)]
    files = [file for file in files if file.name != "DICOMDIR"]
    if not files:
        raise VolumeError(
            f"The folder '{folder}' holds no DICOM files: choose the folder that directly holds the slices."
        )
    groups, unreadable = defaultdict(list), []
    for file in files:
        try:
            header = _read_header(file)
        except VolumeError:
            if PIXEL_DATA in file.read_bytes():  # an image, then, and damaged: leaving it out would fake a slice
                raise
            unreadable.append(file.name)
        else:
            groups[header.stack].append(header)
    if not groups:
        raise VolumeError(f"The folder '{folder}' holds no DICOM image that can be read: export the series again.")
    if unreadable:
        warnings.warn(
            f"The folder '{folder.name}' holds {len(unreadable)} DICOM files without an image; they were "
            f"left out ({', '.join(unreadable[:3])}{', …' if len(unreadable) > 3 else ''}).",
            VolumeWarning,
            stacklevel=4,
        )
    per_series = defaultdict(list)
    for slices in groups.values():
        per_series[slices[0].series].append(slices)
    stacks = []
    for uid, members in per_series.items():
        for number, slices in enumerate(sorted(members, key=len, reverse=True), start=1):
            stacks.append(_Stack(uid if len(members) == 1 else f"{uid}#{number}", slices))
    return sorted(stacks, key=lambda stack: -len(stack.slices))


def _volume(stack: _Stack) -> Volume:
    """The voxels of `stack` on an even, orthogonal grid in RAS."""
    slices = stack.slices
    if any(s.samples > 1 for s in slices):
        raise VolumeError(f"The DICOM series '{stack.name}' is in color: convert it to a single gray-value channel.")
    unit = "HU" if slices[0].modality == "CT" else ""
    if len(slices) == 1:
        return _single(stack, unit)
    if any(s.position is None or s.axes is None for s in slices):
        raise VolumeError(
            f"The DICOM series '{stack.name}' has slices without position or orientation: "
            "export it as NIfTI or NRRD with the program that made it."
        )
    slices, along, normal = _sorted(stack)
    voxels = np.stack([_pixels(s)[0] for s in slices])
    positions = np.array([s.position for s in slices])
    voxels, positions = _even(stack, voxels, positions, along)
    return _straight(stack, voxels, positions, normal, unit)


def _single(stack: _Stack, unit: str) -> Volume:
    """One file: a slice, or the frames of a multi-frame image."""
    image = _read(stack.slices[0])
    voxels = sitk.GetArrayFromImage(image)
    if voxels.ndim != 3:
        raise VolumeError(
            f"The DICOM image '{stack.name}' has {voxels.ndim} dimensions: export it as three-dimensional volumes."
        )
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return Volume(_compact(voxels), LPS_FROM_RAS @ matrix, unit, stack.name)


def _sorted(stack: _Stack) -> tuple[list[_Slice], np.ndarray, np.ndarray]:
    """Slices along their normal, their distances along it in mm, and the normal in LPS."""
    axes = stack.slices[0].axes
    normal = np.cross(*axes)
    normal /= np.linalg.norm(normal)
    slices = sorted(stack.slices, key=lambda s: (round(float(s.position @ normal), 3), s.number))
    along = np.array([s.position @ normal for s in slices])
    if np.any(np.diff(along) < 1e-3):
        places = len(np.unique(np.round(along, 2)))
        raise VolumeError(
            f"The DICOM series '{stack.name}' has {len(slices)} slices at {places} positions (several time points, "
            "echoes or copies): keep one image per position, or export the one you need as NIfTI or NRRD."
        )
    return slices, along, normal


def _read(one: _Slice) -> sitk.Image:
    try:
        return sitk.ReadImage(str(one.path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise VolumeError(
            f"The pixels of the DICOM file '{one.path.name}' cannot be read (truncated, or compressed in an unknown "
            "way): export the series again without compression."
        ) from error


def _pixels(one: _Slice) -> np.ndarray:
    """(1, J, I) rescaled pixels: every slice with its own slope and intercept (they differ in PET)."""
    if one.frames > 1:
        raise VolumeError(f"The DICOM file '{one.path.name}' has {one.frames} frames: put it in a folder of its own.")
    return sitk.GetArrayFromImage(_read(one))


def _compact(voxels: np.ndarray) -> np.ndarray:
    """int16 where integer values fit, else float32."""
    if voxels.dtype.kind in "iu" and voxels.min() >= -32768 and voxels.max() <= 32767:
        return voxels.astype(np.int16)
    return voxels.astype(np.int32 if voxels.dtype.kind in "iu" else np.float32)


def _even(stack, voxels, positions, along) -> tuple[np.ndarray, np.ndarray]:
    """Slices interpolated linearly to even distances; unchanged where they are even."""
    gaps = np.diff(along)
    # A quarter of the gaps are at most this wide: fine parts keep their detail, a single odd gap does not count.
    step = float(np.percentile(gaps, 25, method="lower"))
    if gaps.max() - gaps.min() <= UNEVEN * step:
        return _compact(voxels), positions
    wide = np.flatnonzero(gaps > 1.5 * step)
    multiples = gaps[wide] / step
    if len(wide) and np.all(np.abs(gaps[gaps <= 1.5 * step] / step - 1) < 0.1) and len(wide) <= len(gaps) // 4:
        missing = int(np.sum(np.rint(multiples) - 1))
        problem = f"lacks about {missing} slices (the widest gap is {gaps.max():.2f} mm instead of {step:.2f} mm)"
    else:
        problem = f"has uneven slice distances ({gaps.min():.2f} to {gaps.max():.2f} mm)"
    count = max(int(np.rint((along[-1] - along[0]) / step)), 1) + 1
    wanted, step = np.linspace(along[0], along[-1], count, retstep=True)  # the outermost slices stay
    warnings.warn(
        f"The DICOM series '{stack.name}' {problem}: it was resampled from {len(along)} slices to {count} slices, "
        f"{step:.2f} mm apart.",
        VolumeWarning,
        stacklevel=5,
    )
    upper = np.clip(np.searchsorted(along, wanted, side="left"), 1, len(along) - 1)
    weight = np.clip((wanted - along[upper - 1]) / gaps[upper - 1], 0, 1).astype(np.float32)
    even = np.empty((count, *voxels.shape[1:]), np.float32)
    for slice_out, top, part in zip(even, upper, weight, strict=True):
        slice_out[:] = (1 - part) * voxels[top - 1] + part * voxels[top]
    part = weight[:, None].astype(float)
    return even, (1 - part) * positions[upper - 1] + part * positions[upper]


def _straight(stack, voxels, positions, normal, unit) -> Volume:
    """Volume of even slices; sheared stacks (gantry tilt) resampled so that slices lie above each other."""
    first = stack.slices[0]
    matrix = np.eye(4)
    matrix[:3, :2] = first.axes.T * first.spacing
    matrix[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    matrix[:3, 3] = positions[0]
    line = positions[0] + np.arange(len(positions))[:, None] * matrix[:3, 2]
    off_line = np.linalg.norm(positions - line, axis=1).max()
    if off_line > max(first.spacing):
        raise VolumeError(
            f"The DICOM series '{stack.name}' has slices shifted sideways by up to {off_line:.1f} mm, not along a "
            "line: export it as NIfTI or NRRD with the program that made it."
        )
    volume = Volume(voxels, LPS_FROM_RAS @ matrix, unit, stack.name)
    drift = (positions[-1] - positions[0]) @ first.axes.T / first.spacing
    step = float(matrix[:3, 2] @ normal)
    upright = matrix.copy()
    upright[:3, 2] = normal * step
    if np.abs(drift).max() <= PIXEL:
        return Volume(voxels, LPS_FROM_RAS @ upright, unit, stack.name)
    angle = np.degrees(np.arccos(np.clip(step / np.linalg.norm(matrix[:3, 2]), -1, 1)))
    start = np.floor(np.minimum(drift, 0) + 1e-3)
    grow = np.ceil(np.abs(drift) - 1e-3).astype(int)
    upright[:3, 3] += upright[:3, :2] @ start
    shape = (len(voxels), voxels.shape[1] + int(grow[1]), voxels.shape[2] + int(grow[0]))
    warnings.warn(
        f"The DICOM series '{stack.name}' was acquired with a tilted gantry ({angle:.1f} degrees): its slices were "
        f"shifted in their plane onto an orthogonal grid of {shape[::-1]} voxels.",
        VolumeWarning,
        stacklevel=5,
    )
    return resample(volume, Grid(shape, LPS_FROM_RAS @ upright))
