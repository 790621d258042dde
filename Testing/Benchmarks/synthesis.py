"""T1 to T2 of the brain against the best intensity mapping, on a patient that no model has seen.

    python Testing/Benchmarks/synthesis.py [--data DIR] [--model MODEL …]

The peer is the intensity mapping fitted on the very subjects that the model was trained on (its card names them):
the median T2 of each of 128 bins of T1. It is told the correspondence of T1 and T2 also where the model was not
(CycleGAN). Mean absolute error, as a fraction of the range, and structural similarity over the brain (T1 > 0), in two
normalizations: by the median (image / 3 medians, clipped to 0 … 1) and by percentiles (0.5 to 99.5, clipped). Real and
synthetic image each take their own statistics; the mapping is fitted and answers in normalized intensities.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, NORMALIZATIONS, TEST_PATIENT, Patient, read_patient
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models
from intensity_mapping import IntensityMapping

from GANSynthesisLib.evaluation import masked_mae, masked_ssim
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model

GOALS = {"paired": "goal: at most 0.60", "cyclegan": "goal: below 1"}
HEADER = ("model", "subjects", "normalization", "MAE", "MAE mapping", "ratio", "SSIM", "SSIM mapping")


def translates_t1_to_t2(model: Model) -> bool:
    card = model.card
    modalities = {port.modality for port in card.outputs if port.name == "target"}
    needed = [port for port in card.inputs if not port.optional]
    return card.task == "synthesize" and modalities == {"T2"} and [port.modality for port in needed] == ["T1"]


def mapping_scores(training: Sequence[Patient], test: Patient, normalization: str) -> tuple[float, float]:
    """(MAE, SSIM) on `test` of the intensity mapping fitted on `training`."""
    normalize = NORMALIZATIONS[normalization]
    pairs = [[normalize(volume.voxels, each.brain)[each.brain] for volume in (each.t1, each.t2)] for each in training]
    mapping = IntensityMapping.fit(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    answer = np.where(test.brain, mapping(normalize(test.t1.voxels, test.brain)), 0)
    return _scores(answer, test, normalization)


def model_scores(synthetic: np.ndarray, test: Patient, normalization: str) -> tuple[float, float]:
    return _scores(NORMALIZATIONS[normalization](synthetic, test.brain), test, normalization)


def _scores(answer: np.ndarray, test: Patient, normalization: str) -> tuple[float, float]:
    real = NORMALIZATIONS[normalization](test.t2.voxels, test.brain)
    return masked_mae(answer, real, test.brain), masked_ssim(answer, real, test.brain, 1.0)


def training_patients(folder: Path, model: Model) -> list[Patient]:
    """The patients on the model's card. Raises LeftOut where it names none, or one that is not there."""
    names = model.card.training.get("subjects", ())
    if not names:
        raise LeftOut(f"the card of '{model.card.name}' does not name its training subjects")
    return [read_patient(folder, name) for name in names]


def measure(data: Path | None, models: Sequence[str | Path] = (), device: str = "auto") -> list[Entry]:
    folder = existing_folder(data, FOLDER)
    chosen = [load_model(each) for each in models] or [each for each in trained_models() if translates_t1_to_t2(each)]
    if not chosen:
        raise LeftOut("no model for T1 to T2 is shipped or in runs/: name one with --model FILE")
    test = read_patient(folder, TEST_PATIENT)
    rows, entries = [], []
    for model in chosen:
        card = model.card
        refuse_test_subjects(model, (TEST_PATIENT,))
        training = training_patients(folder, model)
        synthetic = apply_model(model, {"source": test.t1}, outputs=["target"], device=device).outputs["target"]
        for normalization in NORMALIZATIONS:
            error, similarity = model_scores(synthetic.voxels, test, normalization)
            peer_error, peer_similarity = mapping_scores(training, test, normalization)
            rows.append((card.name, len(training), normalization, f"{error:.4f}", f"{peer_error:.4f}",
                         f"{error / peer_error:.3f}", f"{similarity:.4f}", f"{peer_similarity:.4f}"))
            label, note = f"{card.name} {normalization}", f"peer: intensity mapping of {len(training)} subject(s)"
            goal = GOALS.get(card.system, "goal: below 1")
            entries += [
                Entry(f"T1 to T2 MAE, {label}", error, peer_error, "fraction of range", f"{note}; lower; {goal}"),
                Entry(f"T1 to T2 SSIM, {label}", similarity, peer_similarity, "", f"{note}; higher; goal: above 1"),
            ]
    print_table(f"T1 to T2 on {TEST_PATIENT}, over the brain", HEADER, rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", nargs="+", action="extend", default=[], metavar="MODEL",
                           help="names or files (default: every T1 to T2 model that is shipped or in runs/)")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
