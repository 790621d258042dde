"""Prostate MR to transrectal ultrasound registration against what a user would otherwise run.

    python Testing/Benchmarks/mr_trus.py [--data DIR] [--model MODEL] [--cases FIRST LAST] [--peers [NAME …]]

Test pairs obs072 to obs083. The model and the classical peers see the images only. The first rows leave the images
where they are, and lay the centers of the images on each other. `--peers` (or `--peers ants`, `--peers elastix`) adds
ANTs (SyN with mutual information, after an affine stage) and elastix (rigid, then B-spline with mutual information),
where antspyx and itk-elastix are installed; both start from the images as given and, a second time, from their centers
laid on each other.

Three rows are given the true labels, to show how far those go. `gland centers` lays the centers of the two glands on
each other. `true glands, others' landmarks` matches the glands in place and size, and then applies the affine map that
fits the landmarks of all other pairs of the folder best: what finding both glands without error, and learning the
rest from all others, would give. `own landmarks, shift` is, of pairs with three landmarks or more, the translation
that fits the very landmarks it is judged by: nothing that only shifts the gland does better in moving space.

Gland Dice and 95th percentile Hausdorff distance after warping, landmark errors, folding of the field, seconds per
pair from images in memory to transform. Landmark errors are in fixed space, where an intervention would take place;
the last column repeats the mean in moving space. Brackets: 95 % bootstrap intervals over pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from classical_registration import CLASSICAL, installed
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models
from label_ceilings import best_translations, with_the_population

from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.evaluation.registration import (
    SUMMARY_HEADER,
    Alignment,
    LabeledPair,
    align,
    alignment,
    find_labeled_pairs,
    mask_center,
    read_labeled_pair,
    summary_row,
)
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.transforms import SpatialTransform

FOLDER = "mr_trus_prostate"
TEST_CASES = (72, 83)
NAME = "mr-trus-prostate"


def find_registration() -> Model:
    for model in trained_models():
        if model.card.name == NAME:
            return model
    raise LeftOut(f"no model '{NAME}' is shipped or in runs/: name one with --model FILE")


def image_centers(pair: LabeledPair) -> SpatialTransform:
    """The translation that lays the middle of the moving image on that of the fixed one."""
    return SpatialTransform.translation(pair.moving.grid.centre_ras - pair.fixed.grid.centre_ras)


def gland_centers(pair: LabeledPair) -> SpatialTransform:
    """The translation that lays the center of the moving gland on that of the fixed one."""
    return SpatialTransform.translation(mask_center(pair.moving_mask) - mask_center(pair.fixed_mask))


def gain(ours: Sequence[Alignment], peer: Sequence[Alignment]) -> str:
    """The differences pair by pair, which vary less than the numbers themselves."""
    overlap = [np.array([a.dice - b.dice]) for a, b in zip(ours, peer, strict=True)]
    errors = [a.landmarks_fixed_mm - b.landmarks_fixed_mm for a, b in zip(ours, peer, strict=True)]
    words = []
    for what, values, digits in (("Dice", overlap, 3), ("mean landmark error", errors, 2)):
        low, high = interval(values, np.mean)
        words.append(f"{what} {np.concatenate(values).mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
    return "  model minus gland centers: " + ", ".join(words)


def measure(
    data: Path | None,
    model: str | Path | None = None,
    device: str = "auto",
    cases: tuple[int, int] = TEST_CASES,
    peers: Sequence[str] = (),
) -> list[Entry]:
    folder = existing_folder(data, FOLDER)
    chosen = load_model(model) if model else find_registration()
    names = [f"obs{number:03d}" for number in range(cases[0], cases[1] + 1)]
    refuse_test_subjects(chosen, names)
    everyone = [read_labeled_pair(case) for case in find_labeled_pairs(folder)]
    pairs = [pair for pair in everyone if pair.name in names]
    results = {
        "images as given": [alignment(pair, SpatialTransform(np.eye(4))) for pair in pairs],
        "image centers": [alignment(pair, image_centers(pair)) for pair in pairs],
        **_classical(pairs, peers),
        "gland centers": [alignment(pair, gland_centers(pair)) for pair in pairs],
        "true glands, others' landmarks": with_the_population(everyone, names),
    }
    shifted = best_translations(pairs)
    results[f"own landmarks, shift ({len(shifted)} pairs)"] = shifted
    align(chosen, pairs[0], device)  # imports and the first allocation are not part of a registration
    ours = [align(chosen, pair, device)[1] for pair in pairs]
    landmarks = sum(len(pair.fixed_landmarks) for pair in pairs)
    rows = [summary_row(title, found) for title, found in {**results, chosen.card.name: ours}.items()]
    print_table(f"MR to ultrasound, {len(pairs)} pairs, {landmarks} landmarks", SUMMARY_HEADER, rows)
    print(gain(ours, results["gland centers"]))
    entries = _entries(chosen.card.name, ours, "gland centers", results["gland centers"])
    for title, found in results.items():
        if title.split(",")[0] in CLASSICAL:
            entries += _entries(chosen.card.name, ours, title, found, seconds=True)
    return entries


def _classical(pairs: Sequence[LabeledPair], peers: Sequence[str]) -> dict[str, list[Alignment]]:
    """What those of `peers` that are installed make of the pairs, from the images as given and from their centers."""
    found = {}
    for name, register in CLASSICAL.items():
        if name.split()[0].lower() not in peers:
            continue
        if not installed(name):
            print(f"left out: {name} is not installed", file=sys.stderr)
            continue
        for where, start in (("as given", lambda pair: SpatialTransform(np.eye(4))), ("centers", image_centers)):
            found[f"{name}, from {where}"] = [register(pair, start(pair)) for pair in pairs]
    return found


def _entries(
    name: str, ours: Sequence[Alignment], title: str, peer: Sequence[Alignment], seconds: bool = False
) -> list[Entry]:
    note = f"{name}; peer: {title}; {len(ours)} pairs"

    def entry(what: str, number: Callable[[Sequence[Alignment]], float], unit: str, better: str) -> Entry:
        label = f"MR to ultrasound {what}" + (f" against {title}" if seconds else "")
        return Entry(label, number(ours), number(peer), unit, f"{note}; {better}")

    def landmarks(found: Sequence[Alignment]) -> np.ndarray:
        return np.concatenate([each.landmarks_fixed_mm for each in found])

    entries = [
        entry("gland Dice", lambda found: np.mean([each.dice for each in found]), "Dice", "higher; goal: above 1"),
        entry("gland HD95", lambda found: np.mean([each.hausdorff_mm for each in found]), "mm", "lower"),
        entry("landmark error, mean", lambda found: np.mean(landmarks(found)), "mm", "lower; goal: below 1"),
        entry("landmark error, median", lambda found: np.median(landmarks(found)), "mm", "lower; goal: below 1"),
    ]
    if seconds:
        time = entry("time", lambda found: np.mean([each.seconds for each in found]), "s", "lower; goal: at most 0.2")
        entries.append(time)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", metavar="MODEL", help=f"name or file (default: {NAME}, shipped or in runs/)")
    arguments.add_argument("--cases", nargs=2, type=int, default=TEST_CASES, metavar=("FIRST", "LAST"),
                           help="numbers of the pairs (default: 72 83)")
    names = [name.split()[0].lower() for name in CLASSICAL]
    arguments.add_argument("--peers", nargs="*", choices=names, metavar="NAME",
                           help="also ANTs and elastix, or those named, where they are installed")
    chosen = arguments.parse_args()
    peers = () if chosen.peers is None else chosen.peers or names
    return run(lambda: measure(chosen.data, chosen.model, chosen.device, tuple(chosen.cases), peers))


if __name__ == "__main__":
    sys.exit(main())
