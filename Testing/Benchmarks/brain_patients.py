"""Co-registered T1 and T2 of one patient, and the two ways in which their intensities are made comparable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import LeftOut

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.volumes import Volume, resample

FOLDER = "brain_multicontrast"
TEST_PATIENT = "ms_patient26"


@dataclass(frozen=True, eq=False)
class Patient:
    """T1 and T2 on one grid; `brain` (K, J, I) bool is where the skull-stripped T1 is not zero."""

    name: str
    t1: Volume
    t2: Volume
    brain: np.ndarray


def read_patient(folder: Path, name: str) -> Patient:
    """Raises LeftOut where the patient has not both images."""
    files = [folder / name / f"{modality}.nii.gz" for modality in ("T1", "T2")]
    for path in files:
        if not path.is_file():
            raise LeftOut(f"the image {path} is missing")
    t1, t2 = map(read_volume, files)
    if not t2.grid.same_as(t1.grid):
        t2 = resample(t2, t1.grid)
    return Patient(name, t1, t2, t1.voxels > 0)


def by_median(image, brain) -> np.ndarray:
    """Intensity over three times the median of the brain, clipped to 0 … 1; 0 outside the brain."""
    return _clipped(image, brain, 0.0, 3 * float(np.median(image[brain])))


def by_percentiles(image, brain) -> np.ndarray:
    """The 0.5th to the 99.5th percentile of the brain as 0 … 1, clipped; 0 outside the brain."""
    return _clipped(image, brain, *np.percentile(image[brain], [0.5, 99.5]))


def _clipped(image, brain, low: float, high: float) -> np.ndarray:
    scaled = np.clip((np.asarray(image, np.float64) - low) / (high - low), 0, 1)
    return np.where(brain, scaled, 0)


NORMALIZATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "median": by_median, "percentile": by_percentiles,
}
