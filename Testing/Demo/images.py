"""The images of the demonstration: the ICBM 152 average brain, which comes inside the package nilearn (BSD-3)."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.volumes import Volume, VolumeError

SOURCE = "ICBM 152 nonlinear symmetric average brain 2009a, as packaged with nilearn (BSD-3)"
FILE = "datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
CORE = 0.9  # a voxel is of the core of a tissue where that tissue's probability is above this
DEPTH_MM = 4  # cerebrospinal fluid counts this far inside the brain: the rim of an average brain is meninges too


@dataclass(frozen=True)
class Brain:
    """An average brain: T1-weighted image without skull, and the probabilities (0-1) of gray and white matter."""

    t1: Volume
    gray: np.ndarray
    white: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """(K, J, I) bool: the brain; the packaged image is zero outside its brain mask."""
        return self.t1.voxels > 0

    def tissues(self) -> dict[str, np.ndarray]:
        """Name -> (K, J, I) bool where the maps say gray or white matter with probability above one half."""
        return {"gray matter": self.gray > 0.5, "white matter": self.white > 0.5}

    def cores(self) -> dict[str, np.ndarray]:
        """Name -> (K, J, I) bool where the maps are sure of the tissue; fluid is what neither claims, deep inside."""
        steps = [max(1, round(DEPTH_MM / step)) for step in self.t1.spacing]
        deep = sitk.BinaryErode(sitk.GetImageFromArray(self.mask.astype(np.uint8)), steps)
        fluid = (sitk.GetArrayFromImage(deep) > 0) & (self.gray + self.white < 1 - CORE)
        return {"CSF": fluid, "gray matter": self.gray > CORE, "white matter": self.white > CORE}


def average_brain() -> Brain:
    """The packaged average brain at 1 mm. Raises VolumeError where nilearn, or a file of it, is not installed."""
    t1, gray, white = (_read(kind) for kind in ("t1", "gm", "wm"))
    if not (t1.grid.same_as(gray.grid) and t1.grid.same_as(white.grid)):
        raise VolumeError("The images packaged with nilearn are not on one grid: install nilearn 0.12 or newer.")
    t1 = t1.with_voxels(t1.voxels, name="Average brain T1")
    return Brain(t1, *(map_.voxels.astype(np.float32) / 255 for map_ in (gray, white)))


def _read(kind: str) -> Volume:
    found = importlib.util.find_spec("nilearn")  # where it is, without importing it
    path = Path(next(iter(found.submodule_search_locations))) / FILE.format(kind=kind) if found else None
    if path is None or not path.is_file():
        raise VolumeError("The demonstration's images come with the package nilearn: install it (make demo does).")
    return read_volume(path)
