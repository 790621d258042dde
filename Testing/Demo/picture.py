"""What the overview shows, taken from a session: arrays on one canonical grid, and the numbers beside them."""

from dataclasses import dataclass

import numpy as np

from Demo.session import Session, mapped
from Demo.views import View, box_around
from GANSynthesisLib.volumes import Grid, Volume, resample

MARGIN = 8  # voxels around the brain
DARKEST = 0.3  # of the median of the synthetic T2 is shown black


@dataclass(frozen=True)
class Picture:
    """Arrays (K, J, I) on the canonical fixed grid: images in [0, 1], masks bool.

    images: "t1", "t2", "moving" (as it lies before registration), "warped". found, reference: tissue name -> mask.
    to_moving: fixed points (N, 3) -> moving points, RAS mm, as registered. numbers: of the session's report.
    """

    grid: Grid
    images: dict[str, np.ndarray]
    brain: np.ndarray
    found: dict[str, np.ndarray]
    reference: dict[str, np.ndarray]
    cores: dict[str, np.ndarray]
    intensities: np.ndarray
    to_moving: object
    numbers: dict

    def view(self, plane: str, at_mm: float) -> View:
        """The plane through `at_mm` RAS (its S, A or R coordinate), around the brain."""
        point = self.grid.centre_ras.copy()
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
        point[axis] = at_mm
        index = np.linalg.inv(self.grid.ijk_to_ras) @ [*point, 1.0]
        index = int(np.clip(round(index[axis]), 0, self.grid.shape[2 - axis] - 1))
        return View(plane, index, box_around(self.brain, MARGIN), self.grid.spacing)

    def moved(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Array indices (…, 3) as (i, j, k) -> where the registration takes them, likewise, and how far in mm."""
        matrix = self.grid.ijk_to_ras
        points = index.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        there = self.to_moving(points)
        back = np.linalg.inv(matrix)
        place = there @ back[:3, :3].T + back[:3, 3]
        length = np.linalg.norm(there - points, axis=1)
        return place.reshape(index.shape), length.reshape(index.shape[:-1])


def picture_of(session: Session) -> Picture:
    """The arrays of a finished session."""
    t1, synthetic, moving, warped = (session.volume(name) for name in ("t1", "synthetic", "moving", "warped"))
    grid = t1.grid.canonical()

    def canonical(array: np.ndarray) -> np.ndarray:
        return resample(Volume(array, t1.ijk_to_ras), grid).voxels

    # One window for the three T2-weighted images, so that their gray values can be compared.
    middle, brightest = np.percentile(synthetic.voxels[session.brain.mask], (50, 98))
    darkest = DARKEST * middle
    images = {"t2": synthetic, "moving": resample(moving, t1.grid), "warped": warped}
    images = {name: (image.voxels - darkest) / (brightest - darkest) for name, image in images.items()}
    images["t1"] = t1.voxels / np.percentile(t1.voxels[session.brain.mask], 99.7)
    return Picture(
        grid=grid,
        images={name: np.clip(canonical(array.astype(np.float32)), 0, 1) for name, array in images.items()},
        brain=canonical(session.brain.mask),
        found={name: canonical(mask) for name, mask in session.segments().items()},
        reference={name: canonical(mask) for name, mask in session.brain.tissues().items()},
        cores={name: canonical(mask) for name, mask in session.brain.cores().items()},
        intensities=canonical(synthetic.voxels),
        to_moving=lambda points: mapped(session.nodes["transform"], points),
        numbers=session.numbers,
    )
