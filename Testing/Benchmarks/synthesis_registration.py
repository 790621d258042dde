"""Does translating the moving image first help a registration? Tanner 2018, held against the direct result.

    python Resources/Training/brain_by_synthesis.py --data DIR/brain_multicontrast --output runs/brain-by-synthesis.safetensors
    python Resources/Training/mr_trus_by_synthesis.py --data DIR/mr_trus_prostate --output runs/mr-trus-by-synthesis.safetensors
    python Testing/Benchmarks/synthesis_registration.py [--data DIR] [--brain MODEL] [--prostate MODEL]

One optimization, of an affine map and a smooth displacement, with different things compared: the fixed image with the
moving one as it is (direct) or with its translation by a CycleGAN, by normalized mutual information, MIND, or both.
Beside it the shipped model of that task, whose networks have learned to register.

Brain: error in mm against the known displacement of `brain_registration.py`, on a patient that no model has seen. The
translator makes a T2 of a T1, so that its rows are of the pair with the T1 moving and the T2 fixed alone; the last
columns are means over all six pairs of contrasts. Prostate: gland Dice and landmark errors of MR to ultrasound on
obs072 to obs083, as in `mr_trus.py`. Seconds per pair on this machine.
"""  # noqa: E501

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import mr_trus
import numpy as np
from brain_patients import FOLDER, TEST_PATIENT
from brain_registration import CONTRASTS, POINTS
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models
from Demo.displacement import known_displacement, moving_grid
from Demo.measures import sample_points

from GANSynthesisLib.evaluation.registration import (
    SUMMARY_HEADER,
    Alignment,
    align,
    alignment,
    find_labeled_pairs,
    read_labeled_pair,
    summary_row,
)
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model

BRAIN, PROSTATE = "brain-by-synthesis", "mr-trus-by-synthesis"
TRANSLATED_PAIR = ("T2", "T1")  # fixed, moving
COMPARED = {
    f"{'translated' if translate else 'direct'}, {title}": {"translate": translate, "similarity": similarity}
    for translate in (False, True)
    for similarity, title in (("nmi", "NMI"), ("mind", "MIND"), ("both", "both"))
}


def measure(
    data: Path | None, brain: str | Path | None = None, prostate: str | Path | None = None, device: str = "auto"
) -> list[Entry]:
    of_brain, of_prostate = _model(brain, BRAIN), _model(prostate, PROSTATE)
    return measure_brain(data, of_brain, device) + measure_prostate(data, of_prostate, device)


def _model(given: str | Path | None, name: str) -> Model:
    found = load_model(given) if given else next((m for m in trained_models() if m.card.name == name), None)
    if found is None:
        script = f"Resources/Training/{name.replace('-', '_')}.py"
        raise LeftOut(f"no model '{name}' is in runs/: make it with {script}")
    return found


def _variants(model: Model) -> dict[str, Model]:
    """The same model with each thing compared in turn."""
    return {
        title: replace(model, card=replace(model.card, settings=dict(model.card.settings) | changes))
        for title, changes in COMPARED.items()
    }


def measure_brain(data: Path | None, model: Model, device: str) -> list[Entry]:
    folder = existing_folder(data, FOLDER, TEST_PATIENT)
    shipped = load_model("brain-registration")
    for each in (model, shipped):
        refuse_test_subjects(each, (TEST_PATIENT,))
    images = {name: read_volume(folder / f"{name}.nii.gz") for name in CONTRASTS}
    found = {title: {} for title in (*COMPARED, shipped.card.name)}
    for fixed_name, moving_name in permutations(CONTRASTS, 2):
        fixed = images[fixed_name]
        known = known_displacement(fixed.grid)
        moving = known.displaced(images[moving_name], moving_grid(fixed.grid))
        points = sample_points(fixed.grid, fixed.voxels > 0, POINTS)
        truth = known.moving_points(points)
        for title, chosen in {**_variants(model), shipped.card.name: shipped}.items():
            if title.startswith("translated") and (fixed_name, moving_name) != TRANSLATED_PAIR:
                continue
            started = time.perf_counter()
            result = apply_model(chosen, {"fixed": fixed, "moving": moving}, outputs=["transform"], device=device)
            seconds = time.perf_counter() - started
            errors = np.linalg.norm(result.outputs["transform"].points(points) - truth, axis=1)
            folding = 100 * result.report["folding_fraction"]
            found[title][fixed_name, moving_name] = errors.mean(), np.percentile(errors, 95), folding, seconds
    rows = []
    for title, pairs in found.items():
        mean, high, folding, seconds = pairs[TRANSLATED_PAIR]
        whole = np.mean(list(pairs.values()), 0) if len(pairs) > 1 else None
        rows.append((title, f"{mean:.2f}", f"{high:.2f}", f"{folding:.3f}", f"{seconds:.1f}",
                     *(("", "") if whole is None else (f"{whole[0]:.2f}", f"{whole[1]:.2f}"))))
    header = ("compared", "T1 to T2: mean", "95 %", "folding %", "s", "six pairs: mean", "95 %")
    print_table(f"Registration error in mm on {TEST_PATIENT}", header, rows)
    return [
        Entry(f"T1 to T2 registration error, {name}", found[f"translated, {name}"][TRANSLATED_PAIR][0],
              found[f"direct, {name}"][TRANSLATED_PAIR][0], "mm", "translated first; peer: direct; lower; one pair")
        for name in ("NMI", "MIND", "both")
    ]


def measure_prostate(data: Path | None, model: Model, device: str) -> list[Entry]:
    folder = existing_folder(data, mr_trus.FOLDER)
    first, last = mr_trus.TEST_CASES
    names = [f"obs{number:03d}" for number in range(first, last + 1)]
    shipped = mr_trus.find_registration()
    for each in (model, shipped):
        refuse_test_subjects(each, names)
    pairs = [read_labeled_pair(case) for case in find_labeled_pairs(folder) if case.name in names]
    found = {"image centers": [alignment(pair, mr_trus.image_centers(pair)) for pair in pairs]}
    for title, chosen in {**_variants(model), shipped.card.name: shipped}.items():
        align(chosen, pairs[0], device)  # the first allocation is not part of a registration
        found[title] = [align(chosen, pair, device)[1] for pair in pairs]
    rows = [summary_row(title, each) for title, each in found.items()]
    print_table(f"MR to ultrasound, {len(pairs)} pairs", SUMMARY_HEADER, rows)

    def landmarks(title: str) -> float:
        results: Sequence[Alignment] = found[title]
        return float(np.concatenate([each.landmarks_fixed_mm for each in results]).mean())

    return [
        Entry(f"MR to ultrasound landmark error, {name}", landmarks(f"translated, {name}"),
              landmarks(f"direct, {name}"), "mm", f"translated first; peer: direct; {len(pairs)} pairs; lower")
        for name in ("NMI", "MIND", "both")
    ]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--brain", metavar="MODEL", help=f"name or file (default: {BRAIN}, in runs/)")
    arguments.add_argument("--prostate", metavar="MODEL", help=f"name or file (default: {PROSTATE}, in runs/)")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.brain, chosen.prostate, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
