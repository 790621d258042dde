"""Looks at training cases before any training: what is missing, cannot be read or does not fit, from headers alone."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.dicom import is_dicom
from GANSynthesisLib.fitting import fitted_spacing
from GANSynthesisLib.grid import LPS_FROM_RAS, Grid
from GANSynthesisLib.nifti import sheared_matrix
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.systems import build_system, system_class
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.cases import Case, find_cases, list_cases
from GANSynthesisLib.training.conditions import check_enough, learned_settings, of_classes
from GANSynthesisLib.working import parse_spacing

ODD_SPACING = 2.0  # times finer or coarser than is usual among the cases


@dataclass(frozen=True)
class Header:
    """Geometry of an image file, as stored and along canonical axes, and its number of channels or time points."""

    grid: Grid
    canonical: Grid
    channels: int
    color: bool


@dataclass
class Row:
    """What is found of one case: a `problem` makes training with it impossible, a `remark` is worth a look."""

    name: str
    subject: str
    files: dict[str, str]
    problem: str = ""
    remark: str = ""
    headers: dict[str, Header] = field(default_factory=dict)  # of the roles whose file says it without being read

    def as_dict(self) -> dict:
        """JSON-able: name, subject, files (role -> path), problem, remark."""
        return {name: getattr(self, name) for name in ("name", "subject", "files", "problem", "remark")}


def inspect_cases(
    system_name: str, settings: dict, data: Path, progress: Progress = silent, cancelled: IsCancelled = never
) -> list[Row]:
    """A row for every case of `data` (see `cases.find_cases`), also for those that cannot be trained on.

    Raises what makes training impossible whatever the cases: SettingsError; DataError where the folder, or all files
    of a role, are missing, or where classes or images are too few.
    """
    chosen = system_class(system_name)
    learned = learned_settings(chosen, chosen.Settings.parse(settings), data)
    system = build_system(system_name, learned.as_dict())
    optional = tuple(role for role in system.optional_roles if role not in system.roles)
    usable = find_cases(data, system.roles, optional, system.paired, system.advice)  # raises where there is none
    check_enough(of_classes(usable, learned, data), system, data)
    cases = sorted(list_cases(data, system.roles, optional), key=lambda case: case.name)
    names = getattr(learned, "classes", ())
    cases = [case for case in cases if not (names and case.class_name) or case.class_name in names]
    rows = []
    for case in cases:
        stop_if(cancelled)
        progress(len(rows) / len(cases), f"looking at case {len(rows) + 1} of {len(cases)}")
        rows.append(_row(case, system))
    _compare_spacing(rows, system)
    return rows


def _missing(case: Case, system: System) -> list[str]:
    """Roles that the case should have; cases of unpaired systems need no more than one image."""
    return [role for role in system.roles if role not in case.roles] if system.paired else []


def _row(case: Case, system: System) -> Row:
    row = Row(case.name, case.subject, {role: str(path) for role, path in case.files.items()})
    missing = _missing(case, system)
    if missing:
        row.problem = _missing_problem(missing, case)
        return row
    for role, path in case.files.items():
        try:
            header = _header(path)
        except (RuntimeError, OSError, EOFError, ValueError):
            row.problem = f"The file '{path.name}' of {role} cannot be read: replace it by an undamaged one."
            return row
        if header:
            row.headers[role] = header
    row.problem = _channel_problem(row, system) or _overlap_problem(row, system)
    if not row.problem:
        row.remark = _grid_remark(row, system) or _size_remark(row, system)
    return row


def _missing_problem(missing: list[str], case: Case) -> str:
    if "class" in missing:
        return "It is of no class: move it into the folder of its class, or name the class in the manifest."
    if "value" in missing:
        return "It has no value: write it into the column 'value' of the manifest."
    return f"There is no file for {' and '.join(missing)}: add it under the name '{case.name}'."


def _header(path: Path) -> Header | None:
    """None for a DICOM series and for sheared axes: what they become is known when they are read."""
    if path.is_dir() or is_dicom(path) or sheared_matrix(path) is not None:
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimensions = reader.GetDimension()
    size, used = reader.GetSize(), min(dimensions, 3)
    matrix = np.eye(4)
    directions = np.array(reader.GetDirection()).reshape(dimensions, dimensions)[:used, :used]
    matrix[:used, :used] = directions * np.array(reader.GetSpacing())[:used]
    matrix[:used, 3] = reader.GetOrigin()[:used]
    components = reader.GetNumberOfComponents()
    color = components in (3, 4) and reader.GetPixelID() == sitk.sitkVectorUInt8
    shape = (size[2] if used == 3 else 1, size[1], size[0])
    grid, channels = Grid(shape, LPS_FROM_RAS @ matrix), components * (size[3] if dimensions > 3 else 1)
    return Header(grid, _canonical(shape, grid.ijk_to_ras.tobytes()), channels, color)


@functools.lru_cache(maxsize=1024)
def _canonical(shape: tuple[int, int, int], matrix: bytes) -> Grid:
    """Remembered: many files of a study lie on the same few grids, and to turn one takes milliseconds."""
    return Grid(shape, np.frombuffer(matrix).reshape(4, 4)).canonical()


def _channel_problem(row: Row, system: System) -> str:
    for role, header in row.headers.items():
        name = Path(row.files[role]).name
        if header.color:
            return f"'{name}' is a color image: convert it to a single gray-value channel."
        if header.channels > 1 and not (system.task == "register" and role.endswith("labels")):
            return f"'{name}' holds {header.channels} channels or time points: save the one that is meant."
    return ""


def _overlap_problem(row: Row, system: System) -> str:
    """Images of one case must share space, except where a registration brings them together."""
    if system.task == "register" or not system.paired:
        return ""
    boxes = {role: _box(header.grid) for role, header in row.headers.items()}
    for first, second in zip(boxes, list(boxes)[1:], strict=False):
        (low, high), (other_low, other_high) = boxes[first], boxes[second]
        if (high < other_low).any() or (other_high < low).any():
            return f"{first} and {second} do not overlap in space: register them, or see whether they belong together."
    return ""


def _box(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners = (ends * [*(np.array(grid.shape[::-1]) - 1), 1]) @ grid.ijk_to_ras.T[:, :3]
    return corners.min(0), corners.max(0)


def _grid_remark(row: Row, system: System) -> str:
    if system.task == "register" or not system.paired:
        return ""
    grids = {role: header.grid for role, header in row.headers.items()}
    first = next(iter(grids), "")
    other = [role for role in grids if not grids[role].same_as(grids[first])]
    return f"{other[0]} lies on another grid than {first} and is resampled onto it." if other else ""


def _size_remark(row: Row, system: System) -> str:
    if system.task == "register":
        return ""
    settings = system.settings
    if getattr(settings, "fit", "crop") == "resize":
        return _fit_remark(row, settings)
    spacing = parse_spacing(settings.spacing, settings.context)
    for role, header in row.headers.items():
        sizes = header.canonical.with_spacing(spacing).shape
        small = [size for size, least in zip(sizes, settings.window(), strict=True) if size < least]
        if small:
            return f"{role} has only {small[0]} voxels along an axis, fewer than the patch: the rest is background."
    return ""


def _fit_remark(row: Row, settings) -> str:
    window = settings.window()
    for role, header in row.headers.items():
        fitted = header.canonical.with_spacing(fitted_spacing(header.canonical, window, settings.context)).shape
        axes = range(0 if settings.context == "3D" else 1, 3)
        part = min(fitted[axis] / window[axis] for axis in axes)
        if part < 0.5:
            return (f"{role}, scaled to the patch as a whole, fills {part:.0%} of it along an axis, the rest is "
                    "background: crop the image, or set fit=crop.")
    return ""


def _compare_spacing(rows: list[Row], system: System) -> None:
    """Remark on images whose voxels are far from what is usual for their role, where they are not resampled."""
    if any(system.settings.spacing) or getattr(system.settings, "fit", "crop") == "resize":
        return
    for role in dict.fromkeys(role for row in rows for role in row.headers):
        known = [row for row in rows if role in row.headers]
        spacings = [row.headers[role].canonical.spacing for row in known]
        usual = [statistics.median(values) for values in zip(*spacings, strict=True)]
        for row, spacing in zip(known, spacings, strict=True):
            odd = any(max(own / other, other / own) > ODD_SPACING for own, other in zip(spacing, usual, strict=True))
            if odd and not row.problem and not row.remark:
                own, other = (" × ".join(f"{value:.3g}" for value in values) for values in (spacing, usual))
                row.remark = f"{role} has voxels of {own} mm, others about {other} mm: set spacing to make them alike."
