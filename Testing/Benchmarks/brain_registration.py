"""Registration across contrasts of the brain: error against a known displacement, on a patient no model has seen.

    python Testing/Benchmarks/brain_registration.py [--data DIR] [--model MODEL]

The moving image is another contrast of the test patient, rotated, shifted, scaled and bent through a transform that is
chosen, and sampled on another, oblique grid (the displacement of the demonstration). The error is the distance in mm
between where a point of the brain truly lies in the moving image and where the transform puts it. The peer is what
the model starts from: the centers of the two foregrounds laid on each other.
"""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, TEST_PATIENT
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run
from Demo.displacement import known_displacement, moving_grid
from Demo.measures import sample_points

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import ModelError, load_model
from GANSynthesisLib.working import center_of

CONTRASTS = ("T1", "T2", "FLAIR")
POINTS = 5000
HEADER = ("fixed", "moving", "centers: mean", "95 %", "model: mean", "95 %", "folding %", "quality")


def measure(data: Path | None, model: str | Path = "brain-registration", device: str = "auto") -> list[Entry]:
    folder = existing_folder(data, FOLDER, TEST_PATIENT)
    try:
        chosen = load_model(model)
    except ModelError as error:
        raise LeftOut(f"no brain registration model: {error}") from error
    refuse_test_subjects(chosen, (TEST_PATIENT,))
    images = {name: read_volume(folder / f"{name}.nii.gz") for name in CONTRASTS}
    rows, errors, starts = [], [], []
    for fixed_name, moving_name in permutations(CONTRASTS, 2):
        fixed, original = images[fixed_name], images[moving_name]
        known = known_displacement(fixed.grid)
        moving = known.displaced(original, moving_grid(fixed.grid))
        result = apply_model(chosen, {"fixed": fixed, "moving": moving}, device=device)
        points = sample_points(fixed.grid, fixed.voxels > 0, POINTS)
        truth = known.moving_points(points)
        centered = points - center_of(fixed, "foreground") + center_of(moving, "foreground")
        before = np.linalg.norm(centered - truth, axis=1)
        after = np.linalg.norm(result.outputs["transform"].points(points) - truth, axis=1)
        errors.append(after.mean())
        starts.append(before.mean())
        rows.append((fixed_name, moving_name, f"{before.mean():.2f}", f"{np.percentile(before, 95):.2f}",
                     f"{after.mean():.2f}", f"{np.percentile(after, 95):.2f}",
                     f"{100 * result.report['folding_fraction']:.3f}", f"{result.report['quality']:.2f}"))
    print_table(f"Registration error in mm on {TEST_PATIENT}, {chosen.card.name}", HEADER, rows)
    return [Entry(
        f"registration error across contrasts, {chosen.card.name}", float(np.mean(errors)), float(np.mean(starts)),
        "mm", "peer: foreground centers laid on each other; lower; mean over six pairs of contrasts",
    )]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default="brain-registration", metavar="MODEL", help="name or file")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
