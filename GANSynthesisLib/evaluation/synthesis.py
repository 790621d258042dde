"""How well models translate or segment cases whose answer is known: measures per case, and their summary."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.evaluation.comparison import compare_segmentations
from GANSynthesisLib.evaluation.residual import registration_residual_mm
from GANSynthesisLib.evaluation.synthrad import HOUNSFIELD, synthrad_scores
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, ModelError
from GANSynthesisLib.training.cases import Case, DataError, find_cases
from GANSynthesisLib.volumes import Volume, VolumeError, body_mask, resample

PERCENTILES = (0.5, 99.5)  # of the mask, where intensities have no unit: they become 0 and 100 %
DIGITS = {"MAE": 2, "PSNR": 2, "MS-SSIM": 4, "Dice": 3, "HD95": 2, "residual": 2, "s": 2}
UNITS = {"PSNR": "dB", "HD95": "mm", "residual": "mm"}


@dataclass(frozen=True, eq=False)
class KnownCase:
    """Inputs of a model by role, and what it should make of them: `reference` (an image, or a label volume).

    mask: bool (K, J, I) on the reference's grid, where an image is compared.
    """

    name: str
    subject: str
    inputs: dict[str, Volume]
    reference: Volume
    mask: np.ndarray | None


@dataclass(frozen=True)
class Score:
    """Measures of one result by name, in the order they are shown."""

    case: str
    subject: str
    measures: dict[str, float]


def find_known_cases(model: Model, data: str | Path) -> list[Case]:
    """Cases with every input of the model and its answer: the role `target`, or `labels` of a segmentor; `mask` is
    used where it is there. Raises ModelError for another task, DataError where roles are missing."""
    card = model.card
    if card.task not in ("synthesize", "segment"):
        raise ModelError(f"The model '{card.name}' has the task {card.task}: only images and segmentations have a "
                         "reference to be held against.")
    roles = tuple(port.name for port in card.inputs if not port.optional)
    answer = _answer(model)
    if answer in roles:
        raise ModelError(f"The model '{card.name}' takes the role '{answer}' that it should be held against.")
    return find_cases(Path(data), (*roles, answer), ("mask",), advice=f"'{answer}' is what is expected")


def _answer(model: Model) -> str:
    return "labels" if model.card.task == "segment" else "target"


def read_known_case(model: Model, case: Case) -> KnownCase:
    """Raises DataError, VolumeError where files cannot be used."""
    answer = _answer(model)
    inputs = {port.name: read_volume(case.files[port.name]) for port in model.card.inputs if port.name in case.files}
    reference = read_volume(case.files[answer])
    if answer == "labels":
        names = model.card.output("segmentation").label_names
        return KnownCase(case.name, case.subject, inputs, reference.with_voxels(reference.voxels, label_names=names),
                         None)
    if "mask" in case.files:
        mask = resample(read_volume(case.files["mask"]), reference.grid, "nearest", fill=0).voxels > 0
    else:
        mask = body_mask(reference)
    if not mask.any():
        raise DataError(f"The mask of case '{case.name}' is empty on the grid of '{reference.name}': mend the file, "
                        "or leave it out.")
    return KnownCase(case.name, case.subject, inputs, reference, mask)


def score(
    model: Model, case: KnownCase, segmentor: Model | None = None, residual: bool = False, device: str = "auto"
) -> tuple[Score, Volume]:
    """Apply a model to a case and measure the result; gives the result too, an image on the grid of the reference.

    Images: SynthRAD2025's measures over the mask, in HU as they are, otherwise in percent of the range (percentiles
    0.5 to 99.5 of the mask, of each of the two images its own). segmentor: finds structures in the result and in the
    reference; their mean Dice and HD95. residual: what a rigid registration of the result to its source still moves,
    in mm. Segmentations: mean Dice and HD95 of the structures.
    """
    started = time.perf_counter()
    name = "segmentation" if model.card.task == "segment" else "target"
    result = apply_model(model, case.inputs, outputs=[name], device=device).outputs[name]
    seconds = time.perf_counter() - started
    if case.mask is None:
        return Score(case.name, case.subject, _overlap(result, case.reference) | {"s": seconds}), result
    on_grid = resample(result, case.reference.grid)  # the same where it lies on it already
    measures = synthrad_scores(*comparable(on_grid, case.reference, case.mask))
    if segmentor is not None:
        measures |= _structures_kept(segmentor, on_grid, case.reference, device)
    if residual:
        source = resample(next(iter(case.inputs.values())), on_grid.grid)
        measures["residual"] = registration_residual_mm(on_grid, source, case.mask)
    return Score(case.name, case.subject, measures | {"s": seconds}), on_grid


def comparable(
    result: Volume, reference: Volume, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    """Voxels (K, J, I) of both, the mask, and the limits of their values: HU, or percent of their own ranges."""
    if reference.unit == "HU":
        return result.voxels, reference.voxels, mask, HOUNSFIELD
    scaled = []
    for volume in (result, reference):
        low, high = np.percentile(volume.voxels[mask], PERCENTILES)
        if not high > low:
            raise VolumeError(f"The image '{volume.name}' has the same value in all of the mask: there is nothing to "
                              "compare.")
        scaled.append(np.clip((volume.voxels - low) / (high - low), 0, 1) * 100)
    return *scaled, mask, (0.0, 100.0)


def _structures_kept(segmentor: Model, result: Volume, reference: Volume, device: str) -> dict[str, float]:
    """Overlap of what a segmentor finds in a result with what it finds in the reference."""
    role = next((port.name for port in segmentor.card.inputs if not port.optional), segmentor.card.inputs[0].name)
    found = [apply_model(segmentor, {role: each}, outputs=["segmentation"], device=device).outputs["segmentation"]
             for each in (result, reference)]
    return _overlap(*found)


def _overlap(found: Volume, reference: Volume) -> dict[str, float]:
    """Mean Dice and HD95 over the structures."""
    comparison = compare_segmentations(found, reference)
    names = {measure.structure for measure in comparison.measures}
    where = "mean" if "mean" in names else next(iter(names))
    return {"Dice": comparison.value("Dice", where), "HD95": comparison.value("HD95", where)}


# --- tables


def header(scores: Sequence[Score], unit: str) -> tuple[str, ...]:
    units = {**UNITS, "MAE": unit or "%"}
    return tuple(f"{name} {units[name]}" if name in units else name for name in scores[0].measures)


def case_row(name: str, found: Score) -> tuple[str, ...]:
    return (name, *(f"{value:.{DIGITS[measure]}f}" for measure, value in found.measures.items()))


def summary_row(name: str, scores: Sequence[Score]) -> tuple[str, ...]:
    """Means, each with its 95 % bootstrap interval over subjects where there are several."""
    cells = []
    for measure, mean in means(scores).items():
        digits, text = DIGITS[measure], f"{mean:.{DIGITS[measure]}f}"
        groups = _by_subject(scores, measure)
        if len(groups) > 1 and measure != "s":
            low, high = interval(groups, np.mean)
            text += f" [{low:.{digits}f}, {high:.{digits}f}]"
        cells.append(text)
    return (name, *cells)


def _by_subject(scores: Sequence[Score], measure: str) -> list[np.ndarray]:
    groups: dict[str, list[float]] = {}
    for each in scores:
        if not math.isnan(each.measures[measure]):
            groups.setdefault(each.subject, []).append(each.measures[measure])
    return [np.array(values) for values in groups.values()]


def means(scores: Sequence[Score]) -> dict[str, float]:
    """Mean of every measure over the cases that have it; NaN where none has."""
    found = {}
    for measure in scores[0].measures:
        values = [each.measures[measure] for each in scores if not math.isnan(each.measures[measure])]
        found[measure] = float(np.mean(values)) if values else math.nan
    return found


def numbers(scores: Mapping[str, Sequence[Score]]) -> dict[str, dict]:
    """By model: `summary` (means) and `cases`, for files; a number that is missing is None."""

    def plain(measures: Mapping[str, float]) -> dict[str, float | None]:
        return {name: round(value, 6) if math.isfinite(value) else None for name, value in measures.items()}

    return {
        model: {"summary": plain(means(found)), "cases": {each.case: plain(each.measures) for each in found}}
        for model, found in scores.items()
    }
