"""A patient's CT on the detector: the radiograph, its bones alone, and the labels projected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from GANSynthesisLib.radiographs.projection import Projection
from GANSynthesisLib.radiographs.rendering import attenuation, ray_integrals
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, body_mask, check_volume, describe, resample

BONE = 300.0  # HU above which a voxel is bone (also contrast agent and metal)
AIR_AT_MOST, LOWEST, HIGHEST = -500.0, -10000.0, 70000.0  # HU: a CT shows air; padding and metal may lie far off
MASKS_AT_ONCE = 4
SHORTEST_PATH = 20.0  # mm of a structure below which readers do not outline it


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT ready to be projected.

    fields: (C, K, J, I) attenuation per mm; channel 1, where there is one, is of bone alone. labels: (K, J, I) whole
    numbers on the same voxels, of which `structures` names those to be projected, each one or several values.
    """

    name: str
    fields: torch.Tensor
    ijk_to_ras: np.ndarray
    labels: torch.Tensor | None = None
    structures: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @staticmethod
    def of(
        ct: Volume, labels: Volume | None = None, structures: Mapping[str, tuple[int, ...]] | None = None, *,
        bones: bool = False, bone_threshold: float = BONE, bone_values: tuple[int, ...] = (), keep_table: bool = False,
        device="cpu",
    ) -> Patient:
        """The patient of a CT in HU; what does not belong to the body is left out unless `keep_table`.

        labels: a label map that overlaps with the CT; structures: name -> label values, by default every value of the
        map. bones: what lies above the threshold in HU and, where `bone_values` are given, has one of these labels, so
        that vessels with contrast agent are no bones. Raises VolumeError for what is no CT in HU, a single slice,
        labels elsewhere, or values that they lack.
        """
        check_ct(ct)
        hounsfield = torch.from_numpy(ct.voxels.astype(np.float32)).to(device)
        density = attenuation(hounsfield)
        if not keep_table:
            density = density * torch.from_numpy(body_mask(ct)).to(device)
        bone = hounsfield > bone_threshold
        if labels is None:
            return Patient(ct.name, torch.stack([density, density * bone] if bones else [density]), ct.ijk_to_ras)
        chosen = _structures(labels, structures)
        values = torch.from_numpy(resample(labels, ct.grid, "nearest", fill=0).voxels.astype(np.int32)).to(device)
        if not _any_of(values, sum(chosen.values(), ())).any():
            raise VolumeError(
                f"The labels '{labels.name}' have nothing of {', '.join(chosen)} where {describe(ct)} is: give the "
                "label map of this CT."
            )
        if bone_values:
            bone = bone & _any_of(values, bone_values)
        fields = torch.stack([density, density * bone] if bones else [density])
        return Patient(ct.name, fields, ct.ijk_to_ras, values, chosen)


@dataclass(frozen=True, eq=False)
class Radiograph:
    """image and bones: (rows, columns), as the projection's `intensity` says; paths: (S, rows, columns) mm of each
    structure."""

    image: torch.Tensor
    bones: torch.Tensor | None
    paths: torch.Tensor | None


def radiograph(patient: Patient, projection: Projection, pose: torch.Tensor | None = None) -> Radiograph:
    """The patient on the detector; differentiable in pose and voxels."""
    integrals = ray_integrals(patient.fields, patient.ijk_to_ras, projection, pose)
    if projection.intensity == "exponential":
        integrals = torch.exp(-integrals)
    paths, values = [], list(patient.structures.values())
    for first in range(0, len(values), MASKS_AT_ONCE):
        masks = torch.stack([
            _any_of(patient.labels, each).to(patient.fields.dtype) for each in values[first : first + MASKS_AT_ONCE]
        ])
        paths.append(ray_integrals(masks, patient.ijk_to_ras, projection, pose))
    bones = integrals[1] if len(integrals) > 1 else None
    return Radiograph(integrals[0], bones, torch.cat(paths) if paths else None)


def label_map(paths: torch.Tensor, shortest: float = SHORTEST_PATH) -> np.ndarray:
    """uint8 (rows, columns) from path lengths (S, rows, columns) in mm: 1 … S where that structure is at least
    `shortest` mm thick, else 0.

    Later structures cover earlier ones, as readers outline radiographs: the lungs end where heart and diaphragm begin,
    though there is lung behind them.
    """
    labels = torch.zeros(paths.shape[1:], dtype=torch.uint8, device=paths.device)
    for value, path in enumerate(paths, start=1):
        labels[path >= shortest] = value
    return labels.cpu().numpy()


def picture_volume(pixels, projection: Projection, name: str, label_names: dict[int, str] | None = None) -> Volume:
    """(rows, columns) as a volume of one slice, placed as Slicer places a radiograph: columns run to the patient's
    left, rows to P, the center is at 0; its spacing is the detector's."""
    pixels = np.asarray(pixels.detach().cpu() if isinstance(pixels, torch.Tensor) else pixels)[None]
    spacing = (projection.pixel, projection.pixel, 1.0)
    grid = Grid.centred((0, 0, 0), pixels.shape, spacing, np.diag([-1.0, -1.0, 1.0]))
    return Volume(pixels, grid.ijk_to_ras, "", name, label_names or {})


def fuse_bones(image: Volume, bones: Volume, weight: float) -> Volume:
    """A radiograph with its bones enhanced (weight above 0) or suppressed: image + weight × bones (Gozes 2020).

    bones: of the same pixels, as a model trained on DRR pairs gives them. Where both are DRRs of `log` intensity,
    weight −1 leaves exactly the soft tissue; a radiograph in other units needs the weight that matches them, for
    instance the ratio of the two images' ranges. Raises VolumeError where the pixels differ.
    """
    if not image.grid.same_as(bones.grid):
        raise VolumeError(f"{describe(image)[4:].capitalize()} and {describe(bones)} do not have the same pixels: "
                          "fuse an image with its own bones.")
    kind = "enhanced" if weight > 0 else "suppressed"
    values = image.voxels.astype(np.float32) + np.float32(weight) * bones.voxels.astype(np.float32)
    return image.with_voxels(values, name=f"{image.name} [synthetic, bones {kind}]")


def check_ct(ct: Volume) -> None:
    """Raise VolumeError unless `ct` can be projected: several slices in HU."""
    check_volume(ct, "CT")
    who = "T" + describe(ct, "CT")[1:]
    if min(ct.shape) < 2:
        raise VolumeError(f"{who} is a single slice: a radiograph is projected through a whole CT, so choose one.")
    low, high = float(ct.voxels.min()), float(ct.voxels.max())
    if ct.label_names or low > AIR_AT_MOST or low < LOWEST or high > HIGHEST or high < 0:
        raise VolumeError(
            f"{who} is no CT in Hounsfield units: its values run from {low:g} to {high:g}, where air is -1000 and "
            "water 0; choose the CT itself, or undo its scaling first."
        )


def _any_of(labels: torch.Tensor, values: tuple[int, ...]) -> torch.Tensor:
    return torch.isin(labels, torch.tensor(values, device=labels.device))


def _structures(labels: Volume, wanted: Mapping[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]]:
    check_volume(labels, "label")
    present = {int(value) for value in np.unique(labels.voxels)} - {0}
    if not wanted:
        return {labels.label_names.get(value, f"label {value}"): (value,) for value in sorted(present)}
    for name, values in wanted.items():
        if not present & set(values):
            raise VolumeError(
                f"The labels '{labels.name}' have no voxel of '{name}' ({', '.join(map(str, values))}): they hold the "
                f"values {', '.join(map(str, sorted(present)))}."
            )
    return dict(wanted)
