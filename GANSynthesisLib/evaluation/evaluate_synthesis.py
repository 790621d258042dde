"""Models that translate or segment, on cases whose answer is known: case by case, in summary, and side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from GANSynthesisLib.evaluation.page import write_page, write_picture
from GANSynthesisLib.evaluation.synthesis import (
    case_row,
    find_known_cases,
    header,
    numbers,
    read_known_case,
    score,
    summary_row,
)
from GANSynthesisLib.evaluation.tables import text_table
from GANSynthesisLib.evaluation.unseen import unseen_cases
from GANSynthesisLib.files import write_json
from GANSynthesisLib.models import Model, ModelError


def evaluate_synthesis(
    models: Sequence[Model],
    data: Path,
    *,
    segmentor: Model | None = None,
    residual: bool = False,
    everything: bool = False,
    page: Path | None = None,
    output: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> dict:
    """Apply every model to every case of `data` and say how well it does; returns the numbers by model.

    segmentor, residual: see `synthesis.score`. everything: also cases that a model has seen in training, which are
    left out otherwise. page: folder for a page with the same slices of all models side by side. output: JSON file of
    the numbers. Raises ModelError or DataError before any work.
    """
    _check(models, segmentor)
    cases = find_known_cases(models[0], data)
    if not everything:
        cases = unseen_cases(models, cases, data, say)
    found, pictures, unit = {model.card.name: [] for model in models}, {}, ""
    for number, case in enumerate(cases):
        known, results = read_known_case(models[0], case), {}
        unit = known.reference.unit
        for model in models:
            scored, results[model.card.name] = score(model, known, segmentor, residual, device)
            found[model.card.name].append(scored)
        if page:  # at once: all volumes of many cases would not fit into memory
            pictures[known.name] = write_picture(page, number, known, results)
    for name, scores in found.items():
        rows = [case_row(each.case, each) for each in scores]
        say(text_table(f"{name} on {len(scores)} cases", ("case", *header(scores, unit)), rows))
    summary = [summary_row(name, scores) for name, scores in found.items()]
    columns = ("model", *header(next(iter(found.values())), unit))
    say(text_table("\nmeans over cases, [95 % bootstrap over subjects]", columns, summary))
    if page:
        write_page(page, columns, summary, pictures)
        say(f"wrote {page / 'index.html'}")
    result = numbers(found)
    if output:
        write_json(result, output)
    return result


def _check(models: Sequence[Model], segmentor: Model | None) -> None:
    first = models[0].card
    names = [model.card.name for model in models]
    if len(set(names)) < len(names):
        raise ModelError(f"The models {', '.join(names)} must have different names to be told apart: change a card.")
    for model in models[1:]:
        same = model.card.task == first.task and {port.name for port in model.card.inputs if not port.optional} == {
            port.name for port in first.inputs if not port.optional}
        if not same:
            raise ModelError(
                f"The models '{first.name}' and '{model.card.name}' have different tasks or inputs: only models for "
                "the same cases can be held side by side."
            )
    if segmentor is not None and "segmentation" not in [port.name for port in segmentor.card.outputs]:
        raise ModelError(f"The model '{segmentor.card.name}' does not segment: name a segmentor.")
    if segmentor is not None and first.task == "segment":
        raise ModelError("A second segmentor says nothing of a segmentation: leave --segmentor out.")
