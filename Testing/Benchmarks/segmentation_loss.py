"""Tissue Dice on real T2: a segmentor trained through translation, against the same network trained on T1.

    python Resources/Training/tissue_labels.py --data DIR/brain_multicontrast --output runs/tissue
    python Testing/Benchmarks/segmentation_loss.py [--data DIR] [--labels DIR] [--translated MODEL] [--direct MODEL]

Reference labels (1 CSF, 2 gray matter, 3 white matter) come from the test patient's T1 by the first command: a
method's output, not a reader's. Three rows: trained through translation and applied to real T2 (no label of a T2 was
ever used); trained on T1 and applied to that T2 as it is, the peer; the same one on real T1, the upper reference.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, TEST_PATIENT, read_patient
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

from GANSynthesisLib.evaluation import dice, hausdorff_95
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.volumes import Volume, resample

TISSUES = {1: "CSF", 2: "gray matter", 3: "white matter"}
SAME_NETWORK = ("context", "slab", "segmentor_width")


def segmented_role(model: Model) -> str | None:
    """The one input role that the tissue segmentation of a model is computed from; None where it has none."""
    for port in model.card.outputs:
        if port.name == "segmentation" and set(TISSUES) <= set(port.label_names) and len(port.needs) == 1:
            return port.needs[0]
    return None


def find_segmentor(modality: str, option: str) -> Model:
    """A tissue segmentor of that modality, shipped or in runs/; one that does nothing else comes first."""
    found = [model for model in trained_models()
             if (role := segmented_role(model)) and model.card.input(role).modality == modality]
    if not found:
        raise LeftOut(f"no tissue segmentor of {modality} is shipped or in runs/: name one with {option} MODEL")
    return min(found, key=lambda model: model.card.task != "segment")


def segment(model: Model, image: Volume, device: str) -> Volume:
    role = segmented_role(model)
    if role is None:
        raise LeftOut(f"the model '{model.card.name}' does not give labels {', '.join(TISSUES.values())}")
    refuse_test_subjects(model, (TEST_PATIENT,))
    return apply_model(model, {role: image}, outputs=["segmentation"], device=device).outputs["segmentation"]


def reference_labels(labels: Path | None, like: Volume) -> Volume:
    path = Path(labels or RUNS / "tissue") / TEST_PATIENT / "tissue.nii.gz"
    if not path.is_file():
        raise LeftOut(f"the tissue labels {path} are missing: make them with Resources/Training/tissue_labels.py")
    return resample(read_volume(path), like.grid, "nearest", fill=0)


def measure(
    data: Path | None,
    labels: Path | None = None,
    translated: str | Path | None = None,
    direct: str | Path | None = None,
    device: str = "auto",
) -> list[Entry]:
    test = read_patient(existing_folder(data, FOLDER), TEST_PATIENT)
    reference = reference_labels(labels, test.t1)
    through = load_model(translated) if translated else find_segmentor("T2", "--translated")
    on_t1 = load_model(direct) if direct else find_segmentor("T1", "--direct")
    cases = (
        ("through translation, on real T2", through, test.t2),
        ("trained on T1, on real T2", on_t1, test.t2),
        ("trained on T1, on real T1", on_t1, test.t1),
    )
    scores, rows = [], []
    for title, model, image in cases:
        found = segment(model, image, device)
        overlap = dice(found.voxels, reference.voxels, TISSUES)
        apart = [hausdorff_95(found.voxels == value, reference.voxels == value, found.spacing) for value in TISSUES]
        overlap["mean"] = float(np.mean(list(overlap.values())))
        scores.append(overlap)
        rows.append((title, model.card.name, *(f"{overlap[value]:.3f}" for value in (*TISSUES, "mean")),
                     f"{np.mean(apart):.1f}"))
    header = ("segmentor", "model", *TISSUES.values(), "mean Dice", "mean HD95 mm")
    print_table(f"Tissue Dice on {TEST_PATIENT}", header, rows)
    for name in _different_settings(through, on_t1):
        print(f"  caution: the two networks differ in {name}")
    limit = f"on real T1 the peer reaches {scores[2]['mean']:.3f}"
    names = {**TISSUES, "mean": "mean"}
    return [
        Entry(f"tissue Dice on real T2, {name}", scores[0][key], scores[1][key], "Dice",
              f"{through.card.name}; peer: {on_t1.card.name} applied to T2 as it is; higher; goal: above 1"
              + (f"; {limit}" if key == "mean" else ""))
        for key, name in names.items() if not math.isnan(scores[0][key])
    ]


def _different_settings(a: Model, b: Model) -> Sequence[str]:
    return [name for name in SAME_NETWORK if a.card.settings.get(name) != b.card.settings.get(name)]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--labels", type=Path, metavar="DIR",
                           help="folder of PATIENT/tissue.nii.gz (default: runs/tissue)")
    arguments.add_argument("--translated", metavar="MODEL", help="segmentor of T2, trained through translation")
    arguments.add_argument("--direct", metavar="MODEL", help="segmentor trained on T1")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.labels, chosen.translated, chosen.direct, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
