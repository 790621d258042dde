"""Volumes on disk: NIfTI, NRRD, MetaImage and DICOM series in; NIfTI, NRRD, segmentations and MetaImage out.

Files hold LPS directions, volumes RAS: the turn happens here.
"""

from __future__ import annotations

import colorsys
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.dicom import is_dicom, read_series, series_of
from GANSynthesisLib.grid import LPS_FROM_RAS, Grid, VolumeError, VolumeWarning
from GANSynthesisLib.nifti import sheared_matrix
from GANSynthesisLib.volumes import Volume, resample

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".mhd")  # that can be written
TISSUE = (
    "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue"
    "~SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^|"
)


def read_volume(path, series: str | None = None) -> Volume:
    """The volume in a NIfTI, NRRD or MetaImage file, a DICOM folder or one slice of a DICOM series.

    `series` (its UID) picks one where a DICOM folder holds several. Two-dimensional images become one slice. Uneven
    slice spacing, gantry tilt and sheared axes are resampled to a regular grid with a VolumeWarning that says so.
    VolumeError for missing, damaged, color and four-dimensional files (`read_channels` reads the last).
    """
    path = _existing(path)
    if path.is_dir():
        return read_series(path, series)
    if is_dicom(path):
        return read_series(path.parent, series or series_of(path))
    channels = read_channels(path)
    if len(channels) > 1:
        raise VolumeError(
            f"The file '{path.name}' holds {len(channels)} channels or time points where one volume is needed: "
            "save the one you need as a volume of its own, or read them all with read_channels."
        )
    return channels[0]


def read_channels(path) -> list[Volume]:
    """The channels or time points of a four-dimensional or vector file, each a volume; one volume for a 3D file.

    VolumeError for missing and damaged files and for color images.
    """
    path = _existing(path)
    if path.is_dir() or is_dicom(path):
        return [read_volume(path)]
    image, matrix = _read_image(path)
    names = _segment_names(image)
    stem = _stem(path)
    array = sitk.GetArrayFromImage(image)
    spatial = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        if array.dtype == np.uint8 and array.shape[-1] in (3, 4) and not names:
            raise VolumeError(
                f"The file '{path.name}' is a color image ({array.shape[-1]} components per voxel): "
                "convert it to a single gray-value channel first."
            )
        array = np.moveaxis(array, -1, 0)
    elif spatial == 4:
        array = array.reshape(-1, *array.shape[1:])
    elif spatial == 2:
        array = array[None, None]
    else:
        array = array[None]
    if image.GetNumberOfComponentsPerPixel() > 1 and spatial == 2:
        array = array[:, None]
    if array.ndim != 4:
        raise VolumeError(
            f"The file '{path.name}' has {array.ndim} array dimensions: save it as three-dimensional volumes first."
        )
    volumes = []
    for number, channel in enumerate(array):
        name = stem if len(array) == 1 else f"{stem} {number + 1}"
        voxels = _plain(channel)
        layer = {value: label for (at, value), label in names.items() if at == number}
        volumes.append(_regular(Volume(voxels, matrix, "", name, layer), path.name))
    return volumes


def _existing(path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise VolumeError(f"The file or folder '{path}' does not exist: check its path.")
    return path


def _stem(path: Path) -> str:
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), path.suffix)
    return path.name[: len(path.name) - len(ending)] if ending else path.name


def _read_image(path: Path) -> tuple[sitk.Image, np.ndarray]:
    """The SimpleITK image in `path` and its ijk_to_ras (4, 4)."""
    try:
        sheared = sheared_matrix(path)
        if sheared is not None:
            return _read_permissively(path), sheared
        image = sitk.ReadImage(str(path))
    except (RuntimeError, OSError, EOFError) as error:
        if "orthonormal" in str(error):
            remedy = "save it with orthogonal axes, or as .nrrd"
        else:
            remedy = "give an undamaged NIfTI, NRRD or MetaImage file, or a DICOM folder"
        raise VolumeError(f"The file '{path.name}' cannot be read as a volume: {remedy}.") from error
    dimensions = image.GetDimension()
    used = min(dimensions, 3)
    matrix = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimensions, dimensions)[:used, :used]
    matrix[:used, :used] = directions * np.array(image.GetSpacing())[:used]
    matrix[:used, 3] = image.GetOrigin()[:used]
    return image, LPS_FROM_RAS @ matrix


def _read_permissively(path: Path) -> sitk.Image:
    """NIfTI voxels whose axes are not orthogonal, which ITK refuses unless told to approximate them."""
    switch, before = "ITK_NIFTI_SFORM_PERMISSIVE", os.environ.get("ITK_NIFTI_SFORM_PERMISSIVE")
    os.environ[switch] = "ON"
    try:
        return sitk.ReadImage(str(path))
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _regular(volume: Volume, file_name: str) -> Volume:
    """`volume` on orthogonal axes, with a warning where it had to be resampled for that."""
    grid = volume.grid
    if grid.is_regular():
        return volume
    warnings.warn(
        f"The file '{file_name}' has axes that are not orthogonal (gantry tilt or shear): "
        f"it was resampled from {grid.shape[::-1]} to {grid.regular().shape[::-1]} voxels on orthogonal axes.",
        VolumeWarning,
        stacklevel=4,
    )
    # Few whole numbers are labels, which must not be mixed.
    labels = bool(volume.label_names) or (volume.voxels.dtype.kind in "ui" and len(np.unique(volume.voxels)) <= 64)
    return resample(volume, grid.regular(), "nearest" if labels else "linear")


def _plain(array: np.ndarray) -> np.ndarray:
    """Voxels in a type that every program reads: at most 32 bits where the values allow it."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype in (np.int64, np.uint64, np.uint32):
        fits = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return array.astype(np.int32 if fits else np.float64)
    if array.dtype == np.float16 or (array.dtype == np.float64 and not np.any(np.abs(array) > 1e38)):
        return array.astype(np.float32)
    return array


def _segment_names(image: sitk.Image) -> dict[tuple[int, int], str]:
    """(layer, label value) -> name from Slicer's segmentation header; empty for any other file."""
    names, number = {}, 0
    while image.HasMetaDataKey(f"Segment{number}_ID"):
        keys = {key: f"Segment{number}_{key}" for key in ("Name", "LabelValue", "Layer", "ID")}
        entry = {key: image.GetMetaData(full) for key, full in keys.items() if image.HasMetaDataKey(full)}
        place = int(entry.get("Layer", 0)), int(entry.get("LabelValue", 1))
        names[place] = entry.get("Name", entry["ID"])
        number += 1
    return names


@contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """A temporary name for what will be `path`: it takes its place only when whole, with the files beside it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        yield folder / path.name
        written = sorted(folder.iterdir(), key=lambda file: file.name == path.name)  # a header follows its data
        for file in written:
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(content, path: Path) -> None:
    """A readable JSON file, whole or not at all; its folder is made where it is not there."""
    with replaced_whole(path) as beside:
        beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_volume(volume: Volume, path) -> None:
    """Write `volume` to .nii, .nii.gz, .nrrd, .seg.nrrd (with Slicer's segment names and colors), .mha or .mhd.

    The file appears whole or not at all. VolumeError for another ending, voxels that are not 3D, axes that NIfTI
    cannot hold, and where the disk refuses.
    """
    path = Path(path).expanduser()
    if not path.name.lower().endswith(ENDINGS):
        raise VolumeError(f"The volume '{path.name}' cannot be written: choose a name ending in {', '.join(ENDINGS)}.")
    if volume.voxels.ndim != 3 or volume.voxels.size == 0:
        raise VolumeError(
            f"The volume '{volume.name or path.name}' of shape {volume.voxels.shape} cannot be written: "
            "write one three-dimensional volume at a time."
        )
    if not volume.grid.is_regular() and not path.name.lower().endswith(".nrrd"):
        raise VolumeError(
            f"The volume '{volume.name or path.name}' has axes that are not orthogonal, which '{path.suffix}' "
            "files cannot hold: choose a name ending in .nrrd."
        )
    image = sitk_image(volume)
    if path.name.lower().endswith(".seg.nrrd"):
        for key, value in _segment_header(volume).items():
            image.SetMetaData(key, value)
    try:
        with replaced_whole(path) as temporary:
            sitk.WriteImage(image, str(temporary), useCompression=path.suffix.lower() != ".nii")
    except (RuntimeError, OSError) as error:
        raise VolumeError(
            f"The volume '{path}' cannot be written ({_last_line(error)}): check the folder and its free space."
        ) from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip().rstrip(".")


def sitk_image(volume: Volume) -> sitk.Image:
    """A volume as a SimpleITK image, in LPS."""
    image, grid = sitk.GetImageFromArray(_plain(volume.voxels)), Grid(volume.shape, LPS_FROM_RAS @ volume.ijk_to_ras)
    image.SetOrigin(grid.ijk_to_ras[:3, 3].tolist())
    image.SetSpacing(grid.spacing)
    image.SetDirection(grid.directions.ravel().tolist())
    return image


def _segment_header(volume: Volume) -> dict[str, str]:
    """Slicer's header fields of a segmentation: one segment per label value, all in one layer."""
    values = [int(value) for value in np.unique(volume.voxels) if value != 0]
    names = {int(value): name for value, name in volume.label_names.items() if int(value) != 0}
    names |= {value: f"Segment_{value}" for value in values if value not in names}
    header = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, (value, name) in enumerate(sorted(names.items())):
        color = " ".join(f"{part:.6f}" for part in segment_color(value))
        fields = {
            "ID": f"Segment_{value}",
            "Name": name,
            "NameAutoGenerated": "0",
            "Color": color,
            "ColorAutoGenerated": "1",
            "LabelValue": str(value),
            "Layer": "0",
            "Extent": _extent(volume.voxels == value),
            "Tags": TISSUE,
        }
        header |= {f"Segment{number}_{key}": text for key, text in fields.items()}
    return header


def segment_color(value: int) -> tuple[float, float, float]:
    """Red, green, blue in 0 … 1 for a label value: neighbors in number are far apart in hue."""
    hue = (0.02 + 0.618034 * (value - 1)) % 1.0
    return colorsys.hsv_to_rgb(hue, 0.55 + 0.15 * (value % 3), 0.95 - 0.12 * (value % 2))


def _extent(mask: np.ndarray) -> str:
    """First and last index of `mask` along i, j, k."""
    if not mask.any():
        return "0 -1 0 -1 0 -1"
    ends = []
    for axis in (2, 1, 0):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ends += [inside[0], inside[-1]]
    return " ".join(str(int(end)) for end in ends)
