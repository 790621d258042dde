"""A registration model on labeled pairs, case by case and in summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from GANSynthesisLib.evaluation.quality import calibrate_quality
from GANSynthesisLib.evaluation.registration import (
    CASE_HEADER,
    SUMMARY_HEADER,
    Alignment,
    align,
    alignment,
    case_row,
    find_labeled_pairs,
    mask_center,
    random_pose,
    read_labeled_pair,
    scored_perturbations,
    summary_numbers,
    summary_row,
)
from GANSynthesisLib.evaluation.tables import text_table
from GANSynthesisLib.evaluation.unseen import unseen_cases
from GANSynthesisLib.files import write_json
from GANSynthesisLib.models import Model, ModelError, save_model
from GANSynthesisLib.transforms import SpatialTransform


def evaluate_registration(
    model: Model,
    data: Path,
    *,
    starts: tuple[float, float] = (0.0, 0.0),
    perturbations: int = 0,
    optimize: int = 0,
    everything: bool = False,
    calibrate: bool = False,
    figures: Path | None = None,
    output: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> dict:
    """Register every pair of `data` and say how well; returns the numbers.

    starts: largest random shift (mm) and rotation (degrees) of the moving image before it is registered.
    perturbations: copies of each result that are knocked askew (10 mm, 15 degrees), to hold the critic's score against
    the true error. optimize: steps by which each result is improved for its pair. everything: also pairs that the
    model has seen in training, which are left out otherwise. calibrate: write what error to expect of a score into the
    model file; give pairs that no test uses. figures: folder for one picture per case. output: JSON file of the
    numbers. Raises ModelError or DataError before any work.
    """
    if model.card.task != "register":
        raise ModelError(f"The model '{model.card.name}' does not register; its task is: {model.card.task}.")
    cases = find_labeled_pairs(data)
    if not everything and not calibrate:
        cases = unseen_cases([model], cases, data, say)
    random = np.random.default_rng(seed)
    names, found, given, scores, errors = [], [], [], [], []
    for case in cases:
        pair = read_labeled_pair(case)
        if any(starts):
            pair = pair.start(random_pose(random, mask_center(pair.moving_mask), *starts))
        transform, result = align(model, pair, device, optimize=optimize)
        names.append(pair.name)
        found.append(result)
        given.append(alignment(pair, SpatialTransform(np.eye(4))))
        if (perturbations or calibrate) and len(pair.fixed_landmarks):
            more = scored_perturbations(model, pair, transform, perturbations or 8, random, device=device)
            scores += more[0]
            errors += more[1]
        if figures:
            from GANSynthesisLib.evaluation.figures import registration_figure

            registration_figure(pair, transform, result, figures / f"{pair.name.replace('/', '_')}.png")
    rows = [case_row(name, each) for name, each in zip(names, found, strict=True)]
    say(text_table(f"{model.card.name} on {len(found)} pairs", CASE_HEADER, rows))
    rows = [summary_row("images as given", given), summary_row(model.card.name, found)]
    say(text_table("\nmeans over pairs, statistics over landmarks, [95 % bootstrap over pairs]", SUMMARY_HEADER, rows))
    numbers = {"model": model.card.name, "model_hash": model.sha256, "summary": summary_numbers(found),
               "as_given": summary_numbers(given), "cases": _case_numbers(names, found)}
    if scores:
        calibration = calibrate_quality(scores, errors)
        numbers["quality"] = {"spearman": calibration["spearman"], "results": calibration["results"]}
        say(f"\nquality score and true error: Spearman {calibration['spearman']:.2f} over {len(scores)} results "
            f"({len(scores) // len(found)} per pair)")
        if calibrate:
            metrics = {**model.card.metrics, "quality": {**calibration, "cases": names}}
            state = model.build().deployed_state()
            save_model(model.path, state, dataclasses.replace(model.card, metrics=metrics))
            say(f"wrote the expected errors into {model.path}")
    if output:
        write_json(numbers, output)
    return numbers


def _case_numbers(names: list[str], found: list[Alignment]) -> dict[str, dict]:
    return {
        name: {"dice": each.dice, "hausdorff95_mm": each.hausdorff_mm, "folding_fraction": each.folding,
               "landmark_errors_mm": each.landmarks_fixed_mm.tolist(), "seconds": each.seconds}
        for name, each in zip(names, found, strict=True)
    }
