"""Whether a model's uncertainty lies where its errors are: synthetic T2 of patients that the model has not seen.

    python Testing/Benchmarks/uncertainty.py [--data DIR] [--model MODEL] [--samples N]

Over the brain: the rank correlation of the uncertainty with the absolute error, and how much larger the error is in
the tenth of the voxels that are the most uncertain than in all. The peer is what needs no model at all: how steep the
given T1 is there (edges are hard for every model). Real and synthetic T2 are compared as fractions of three medians.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, by_median, read_patient
from command import Entry, existing_folder, parser, print_table, refuse_test_subjects, run

from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model

PATIENTS = ("ms_patient26", "glioma_brats", "glioma_aurora")
MODEL, SAMPLES = "brain-t1-to-t2", 8


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(each)) for each in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def worst_tenth(suspicion: np.ndarray, error: np.ndarray) -> float:
    """Mean error of the tenth of the voxels that are the most suspicious, over that of all."""
    return float(error[suspicion >= np.quantile(suspicion, 0.9)].mean() / error.mean())


def measure(
    data: Path | None, model: str | Path = MODEL, samples: int = SAMPLES, device: str = "auto"
) -> list[Entry]:
    folder, chosen = existing_folder(data, FOLDER), load_model(model)
    refuse_test_subjects(chosen, PATIENTS)
    rows, entries = [], []
    for name in PATIENTS:
        test = read_patient(folder, name)
        made = apply_model(chosen, {"source": test.t1}, outputs=["target"], samples=samples, device=device).outputs
        images = [by_median(voxels, test.brain)[test.brain] for voxels in (made["target"].voxels, test.t2.voxels)]
        error = np.abs(images[0] - images[1])
        steepness = np.sqrt(sum(np.square(each) for each in np.gradient(test.t1.voxels.astype(np.float32))))
        numbers = []
        for suspicion in (made["target_uncertainty"].voxels[test.brain], steepness[test.brain]):
            numbers += [rank_correlation(suspicion, error), worst_tenth(suspicion, error)]
        rows.append((name, *(f"{number:.2f}" for number in numbers)))
        entries.append(Entry(
            f"error of the most uncertain tenth over the mean, {name}", numbers[1], numbers[3], "",
            "peer: the steepest tenth of T1; higher; goal: above 1",
        ))
    header = ("patient", "correlation", "worst tenth", "correlation of steepness", "worst tenth by steepness")
    print_table(f"uncertainty of {chosen.card.name}, {samples} samples", header, rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default=MODEL, metavar="MODEL", help=f"T1 to T2 (default: {MODEL})")
    arguments.add_argument("--samples", type=int, default=SAMPLES, metavar="N")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.samples, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
