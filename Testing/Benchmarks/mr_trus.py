"""Prostate MR to transrectal ultrasound registration against the alignment of gland centers.

    python Testing/Benchmarks/mr_trus.py [--data DIR] [--model MODEL] [--cases FIRST LAST] [--baselines]

Test pairs obs072 to obs083. The model sees the images only; the peer is given the glands of both images and lays
their centers on each other. The first two rows leave the images where they are, and lay the centers of the images on
each other. Gland Dice and 95th percentile Hausdorff distance after warping, landmark errors, folding of the field,
seconds per pair (loading the model included). Landmark errors are in fixed space, where an intervention would take
place; the last column repeats the mean in moving space. Brackets: 95 % bootstrap intervals over pairs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bootstrap import interval
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models
from prostate_pairs import FOLDER, Alignment, ProstatePair, alignment, gland_centers, image_centers, read_pair

from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.transforms import SpatialTransform

TEST_CASES = (72, 83)
NAME = "mr-trus-prostate"
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean, "median": np.median, "90 %": lambda values: float(np.percentile(values, 90)),
}
HEADER = ("alignment", "gland Dice", "HD95 mm", *(f"landmarks {name} mm" for name in STATISTICS), "folding %", "s",
          "in moving space")


def find_registration() -> Model:
    for model in trained_models():
        if model.card.name == NAME:
            return model
    raise LeftOut(f"no model '{NAME}' is shipped or in runs/: name one with --model FILE")


def registered(model: Model, pair: ProstatePair, device: str) -> Alignment:
    started = time.perf_counter()
    volumes = {"fixed": pair.fixed, "moving": pair.moving}
    transform = apply_model(model, volumes, outputs=["transform"], device=device).outputs["transform"]
    return alignment(pair, transform, time.perf_counter() - started)


def summary(title: str, found: Sequence[Alignment]) -> tuple[str, ...]:
    """A row of the table."""

    def shown(values: list[np.ndarray], statistic, digits: int) -> str:
        low, high = interval(values, statistic)
        return f"{statistic(np.concatenate(values)):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    landmarks = [each.landmarks_fixed_mm for each in found]
    return (
        title,
        shown([np.array([each.dice]) for each in found], np.mean, 3),
        shown([np.array([each.hausdorff_mm]) for each in found], np.mean, 2),
        *(shown(landmarks, statistic, 2) for statistic in STATISTICS.values()),
        f"{100 * np.mean([each.folding for each in found]):.2f}",
        f"{np.mean([each.seconds for each in found]):.2f}" if any(each.seconds for each in found) else "",
        f"{np.concatenate([each.landmarks_moving_mm for each in found]).mean():.2f}",
    )


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
    baselines: bool = False,
) -> list[Entry]:
    """`baselines` leaves the model out, and with it the entries."""
    folder = existing_folder(data, FOLDER)
    chosen = None if baselines else load_model(model) if model else find_registration()
    names = [f"obs{number:03d}" for number in range(cases[0], cases[1] + 1)]
    if chosen:
        refuse_test_subjects(chosen, names)
    pairs = [read_pair(folder, name) for name in names]
    as_given = [alignment(pair, SpatialTransform(np.eye(4))) for pair in pairs]
    peer = [alignment(pair, gland_centers(pair)) for pair in pairs]
    rows = [
        summary("images as given", as_given),
        summary("image centers", [alignment(pair, image_centers(pair)) for pair in pairs]),
        summary("gland centers", peer),
    ]
    ours = [registered(chosen, pair, device) for pair in pairs] if chosen else []
    if ours:
        rows.append(summary(chosen.card.name, ours))
    landmarks = sum(len(pair.fixed_landmarks) for pair in pairs)
    print_table(f"MR to ultrasound, {len(pairs)} pairs, {landmarks} landmarks", HEADER, rows)
    if not ours:
        return []
    print(gain(ours, peer))
    return _entries(chosen.card.name, ours, peer)


def _entries(name: str, ours: Sequence[Alignment], peer: Sequence[Alignment]) -> list[Entry]:
    note = f"{name}; peer: gland centers; {len(ours)} pairs"

    def entry(what: str, number: Callable[[Sequence[Alignment]], float], unit: str, better: str) -> Entry:
        return Entry(f"MR to ultrasound {what}", number(ours), number(peer), unit, f"{note}; {better}")

    def landmarks(found: Sequence[Alignment]) -> np.ndarray:
        return np.concatenate([each.landmarks_fixed_mm for each in found])

    return [
        entry("gland Dice", lambda found: np.mean([each.dice for each in found]), "Dice", "higher; goal: above 1"),
        entry("gland HD95", lambda found: np.mean([each.hausdorff_mm for each in found]), "mm", "lower"),
        entry("landmark error, mean", lambda found: np.mean(landmarks(found)), "mm", "lower; goal: below 1"),
        entry("landmark error, median", lambda found: np.median(landmarks(found)), "mm", "lower; goal: below 1"),
    ]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", metavar="MODEL", help=f"name or file (default: {NAME}, shipped or in runs/)")
    arguments.add_argument("--cases", nargs=2, type=int, default=TEST_CASES, metavar=("FIRST", "LAST"),
                           help="numbers of the pairs (default: 72 83)")
    arguments.add_argument("--baselines", action="store_true", help="without a model")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.device, tuple(chosen.cases), chosen.baselines))


if __name__ == "__main__":
    sys.exit(main())
