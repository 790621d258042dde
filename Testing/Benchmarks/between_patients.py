"""Deformable registration between patients without a similarity measure: overlap of tissues before and after.

    python Resources/Training/tissue_labels.py --data DIR/brain_multicontrast --output runs/tissue
    python Testing/Benchmarks/between_patients.py [--data DIR] [--labels DIR] [--model MODEL]

The T1 of the test patient, which the model has not seen, with those of the other patients that have tissue labels,
both ways round. Dice of cerebrospinal fluid, gray and white matter (Atropos of each T1, not a reader's); the peer is
what the model starts from, the centers of the two brains laid on each other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, TEST_PATIENT
from command import (
    RUNS,
    Entry,
    LeftOut,
    existing_folder,
    parser,
    print_table,
    refuse_test_subjects,
    run,
    trained_models,
)

from GANSynthesisLib.evaluation import dice
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import resample
from GANSynthesisLib.working import center_of

NAME = "brain-between-patients"
TISSUES = {1: "CSF", 2: "gray", 3: "white"}


def measure(
    data: Path | None, labels: Path | None = None, model: str | Path | None = None, device: str = "auto"
) -> list[Entry]:
    folder, labels = existing_folder(data, FOLDER), Path(labels or RUNS / "tissue")
    chosen = load_model(model) if model else next((each for each in trained_models() if each.card.name == NAME), None)
    if chosen is None:
        raise LeftOut(f"no model '{NAME}' is shipped or in runs/: name one with --model FILE")
    refuse_test_subjects(chosen, (TEST_PATIENT,))
    names = sorted(path.parent.name for path in labels.glob("*/tissue.nii.gz"))
    if TEST_PATIENT not in names or len(names) < 2:
        raise LeftOut(f"the tissue labels in {labels} are missing: make them with Resources/Training/tissue_labels.py")
    images = {name: read_volume(folder / name / "T1.nii.gz") for name in names}
    tissues = {name: read_volume(labels / name / "tissue.nii.gz") for name in names}
    others = [name for name in names if name != TEST_PATIENT]
    rows, before, after = [], [], []
    for fixed, moving in [*((TEST_PATIENT, other) for other in others), *((other, TEST_PATIENT) for other in others)]:
        pair = {"fixed": images[fixed], "moving": images[moving]}
        result = apply_model(chosen, pair, outputs=["transform"], device=device)
        shift = center_of(pair["moving"], "foreground") - center_of(pair["fixed"], "foreground")
        overlaps = []
        for transform in (SpatialTransform.translation(shift), result.outputs["transform"]):
            carried = resample(tissues[moving], images[fixed].grid, "nearest", fill=0, transform=transform).voxels
            own = resample(tissues[fixed], images[fixed].grid, "nearest", fill=0).voxels
            overlaps.append([dice(carried, own, TISSUES)[value] for value in TISSUES])
        before.append(overlaps[0])
        after.append(overlaps[1])
        rows.append((f"{moving} to {fixed}", *(f"{a:.3f} -> {b:.3f}" for a, b in zip(*overlaps, strict=True)),
                     f"{np.mean(overlaps[0]):.3f} -> {np.mean(overlaps[1]):.3f}",
                     f"{100 * result.report['folding_fraction']:.3f}"))
    print_table(f"Tissue Dice, centers -> {chosen.card.name}", ("pair", *TISSUES.values(), "mean", "folding %"), rows)
    return [Entry(f"tissue Dice between patients, {chosen.card.name}", float(np.mean(after)), float(np.mean(before)),
                  "Dice", f"peer: foreground centers; {len(rows)} pairs; higher")]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--labels", type=Path, metavar="DIR",
                           help="folder of PATIENT/tissue.nii.gz (default: runs/tissue)")
    arguments.add_argument("--model", metavar="MODEL", help=f"name or file (default: {NAME}, in runs/)")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.labels, chosen.model, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
