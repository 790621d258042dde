"""Training cases out of CTs: radiographs of random poses with what is seen of the labels, in the folders that
`train` reads."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.radiographs.drr import Patient, label_map, picture_volume, radiograph
from GANSynthesisLib.radiographs.geometry import patient_pose
from GANSynthesisLib.radiographs.projection import Projection


@dataclasses.dataclass(frozen=True)
class PoseRange:
    """How far random poses go, either way: degrees of yaw, pitch and roll, mm along R, A, S, and by which part the
    patient is wider, deeper or taller; `mirror` is the probability of left and right being swapped."""

    angles: tuple[float, float, float] = (8.0, 8.0, 5.0)
    translation: tuple[float, float, float] = (15.0, 50.0, 20.0)
    scale: float = 0.12
    mirror: float = 0.0

    def draw(self, random: np.random.Generator) -> dict[str, list[float]]:
        """Arguments of `patient_pose`."""
        scale = [math.exp(random.uniform(-self.scale, self.scale)) for _ in range(3)]
        if random.random() < self.mirror:
            scale[0] = -scale[0]
        return {
            "angles": [random.uniform(-most, most) for most in self.angles],
            "translation": [random.uniform(-most, most) for most in self.translation],
            "scale": scale,
        }


def make_cases(
    patients: Sequence[Patient], folder: Path, count: int, projection: Projection, poses: PoseRange | None = None,
    seed: int = 0,
) -> list[dict]:
    """Write `count` radiographs to `folder`/source, patients in turn, each in a random pose; -> name and pose of each.

    Also `labels` where the patients have structures (0 background, then in their order; later ones cover earlier
    ones), and `target` where they have bones: the bones alone. All cases of a patient share the subject `sub-NAME`, so
    that none of them is validated on what it was trained on. The same seed gives the same cases.
    """
    random, rows, poses = np.random.default_rng(seed), [], poses or PoseRange()
    subjects = _subject_names(patients)
    for number in range(count):
        patient, name = patients[number % len(patients)], f"{subjects[number % len(patients)]}_drr-{number:04d}"
        pose = poses.draw(random)
        with torch.no_grad():
            seen = radiograph(patient, projection, patient_pose(**pose))
        _write(seen.image, projection, name, folder / "source")
        if seen.bones is not None:
            _write(seen.bones, projection, name, folder / "target")
        if seen.paths is not None:
            _write(label_map(seen.paths), projection, name, folder / "labels")
        rows.append({"name": name, "ct": patient.name, **pose})
    return rows


def _write(pixels, projection: Projection, name: str, folder: Path) -> None:
    write_volume(picture_volume(pixels, projection, name), folder / f"{name}.nrrd")


def _subject_names(patients: Sequence[Patient]) -> list[str]:
    """`sub-NAME` of letters and digits, each patient's own."""
    names = []
    for number, patient in enumerate(patients):
        name = "sub-" + (re.sub(r"[^A-Za-z0-9]", "", patient.name) or "ct")
        names.append(name if name not in names else f"{name}x{number}")
    return names
