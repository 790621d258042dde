"""Thin slices from thick ones, and high from low resolution, of brains that no model has seen.

    python Testing/Benchmarks/reconstruction.py [--data DIR] [--model MODEL …]

T1, T2 and FLAIR of three patients are the truth, at the voxel size that the model makes; what it is given is simulated
of them, as in training, with the slice profile, resolution and noise on its card. PSNR in dB over the brain, the range
being the 99.5th percentile of the truth there: of the slices that were missing, against linear, cubic (B-spline) and
zero-filled interpolation; of low resolution, against the zero-filled image that was given. Acquired slices must come
back unchanged. Brackets: 95 % bootstrap intervals over patients.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from brain_patients import FOLDER
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models
from simulated_stacks import low_resolution, thick_stack

from GANSynthesisLib.evaluation import masked_psnr
from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.systems.acquisition import zero_filled
from GANSynthesisLib.volumes import Volume, resample

PATIENTS = ("ms_patient26", "glioma_brats", "glioma_aurora")
CONTRASTS = ("T1", "T2", "FLAIR")
GOALS = {"thin_slices": "goal: +1.5 dB", "high_resolution": "goal: +1 dB"}
Scores = dict[str, float]  # way of making the volume -> PSNR


def truth(path: Path, spacing: Sequence[float | None] | None) -> Volume:
    """The volume at the voxel size that is to be made. Raises LeftOut where it is missing."""
    if not path.is_file():
        raise LeftOut(f"the image {path} is missing")
    volume = read_volume(path).canonical()
    return resample(volume, volume.grid.with_spacing(spacing))


def psnr(made: np.ndarray, real: np.ndarray, slices: np.ndarray) -> float:
    """Over the brain in some of the slices."""
    brain = real > 0
    return masked_psnr(made[slices], real[slices], brain[slices], float(np.percentile(real[brain], 99.5)))


def thin_scores(model: Model, path: Path, device: str) -> Scores:
    """Of the missing slices. Raises LeftOut where acquired ones are not what was given."""
    card, factor = model.card, model.card.settings["factor"]
    size = card.spacing and (*card.spacing[:2], card.spacing[2] / factor)
    thick, real = thick_stack(truth(path, size), 2, factor, card.settings["profile"])
    made = apply_model(model, {"thick": thick}, device=device).outputs["thin"]
    if not np.array_equal(made.voxels[::factor], thick.voxels):
        raise LeftOut(f"'{card.name}' changes acquired slices: it is no reconstruction")
    image = torch.from_numpy(thick.voxels)[None, None]
    ways = {
        card.name: made.voxels, "linear": resample(thick, real.grid, "linear").voxels,
        "cubic": resample(thick, real.grid, "cubic").voxels,
        "zero-filled": zero_filled(image, factor, 2)[0, 0].numpy(),
    }
    missing = np.arange(len(real.voxels)) % factor > 0
    return {name: psnr(voxels, real.voxels, missing) for name, voxels in ways.items()}


def high_scores(model: Model, path: Path, device: str) -> Scores:
    card, factor = model.card, model.card.settings["factor"]
    real = truth(path, card.spacing and tuple(size / factor for size in card.spacing))
    low = low_resolution(real, factor, card.settings["noise"])
    made = apply_model(model, {"low": low}, device=device).outputs["high"]
    everywhere = np.ones(len(real.voxels), bool)
    return {card.name: psnr(made.voxels, real.voxels, everywhere),
            "zero-filled": psnr(low.voxels, real.voxels, everywhere)}


SCORES = {"thin_slices": thin_scores, "high_resolution": high_scores}


def measure(data: Path | None, models: Sequence[str | Path] = (), device: str = "auto") -> list[Entry]:
    folder = existing_folder(data, FOLDER)
    chosen = [load_model(each) for each in models] or [
        each for each in trained_models()
        if each.card.system in SCORES and not each.card.settings.get("second_stack")
    ]
    if not chosen:
        raise LeftOut("no model that makes finer volumes is shipped or in runs/: name one with --model FILE")
    entries = []
    for model in chosen:
        refuse_test_subjects(model, PATIENTS)
        found = {(patient, contrast): SCORES[model.card.system](model, folder / patient / f"{contrast}.nii.gz", device)
                 for patient in PATIENTS for contrast in CONTRASTS}
        entries += _reported(model, found)
    return entries


def _reported(model: Model, found: dict[tuple[str, str], Scores]) -> list[Entry]:
    name, system = model.card.name, model.card.system
    ways = list(next(iter(found.values())))
    rows = [(*case, *(f"{scores[way]:.2f}" for way in ways)) for case, scores in found.items()]
    means = {way: float(np.mean([scores[way] for scores in found.values()])) for way in ways}
    rows.append(("mean", "", *(f"{means[way]:.2f}" for way in ways)))
    entries = []
    for way in ways[1:]:
        gains = [np.array([scores[name] - scores[way] for (patient, _), scores in found.items() if patient == each])
                 for each in PATIENTS]
        low, high = interval(gains, np.mean)
        gain = means[name] - means[way]
        rows.append((f"gain over {way}", f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]", *[""] * len(ways)))
        entries.append(Entry(f"PSNR, {name}", means[name], means[way], "dB",
                             f"peer: {way}; higher; {GOALS[system]}, here {gain:+.2f}"))
    print_table(f"{name}: PSNR in dB over the brain", ("patient", "contrast", *ways), rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", nargs="+", action="extend", default=[], metavar="MODEL",
                           help="names or files (default: every such model that is shipped or in runs/)")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
