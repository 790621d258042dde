"""Models that classify, on images whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from GANSynthesisLib.evaluation.classification import ClassScores, score_classes
from GANSynthesisLib.evaluation.tables import text_table
from GANSynthesisLib.evaluation.unseen import unseen_cases
from GANSynthesisLib.files import read_volume, write_json
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, ModelError
from GANSynthesisLib.training.cases import Case, DataError, find_cases
from GANSynthesisLib.volumes import VolumeError


def evaluate_classification(
    models: Sequence[Model],
    data: Path,
    *,
    everything: bool = False,
    output: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> dict:
    """Ask every model for the class of every image of `data` (see `cases.find_cases`) and say how well it does;
    returns the numbers by model.

    everything: also cases that a model has seen in training. output: JSON file of the numbers. Raises ModelError or
    DataError before any work; DataError for an image that cannot be used.
    """
    classes = _common_classes(models)
    cases = _known_cases(data, classes)
    if not everything:
        cases = unseen_cases(models, cases, data, say)
    result = {}
    for model in models:
        said = [_said(model, case, device) for case in cases]
        scores = score_classes(
            [classes.index(case.class_name) for case in cases], [classes.index(each) for each in said],
            [case.subject for case in cases], classes,
        )
        say(_told(model.card.name, scores))
        result[model.card.name] = {
            **scores.as_json(),
            "cases": {case.name: {"class": case.class_name, "said": each}
                      for case, each in zip(cases, said, strict=True)},
        }
    if output:
        write_json(result, output)
    return result


def _common_classes(models: Sequence[Model]) -> list[str]:
    first, *others = models
    classes = list(first.card.settings["classes"])
    for model in others:
        if model.card.task != "classify" or sorted(model.card.settings["classes"]) != sorted(classes):
            raise ModelError(f"The models '{first.card.name}' and '{model.card.name}' do not tell the same classes: "
                             "only models for the same cases can be held side by side.")
    return classes


def _known_cases(data: Path, classes: list[str]) -> list[Case]:
    cases = find_cases(Path(data), ("image", "class"))
    foreign = sorted({case.class_name for case in cases} - set(classes))
    if foreign:
        raise DataError(f"{data} has images of the class '{foreign[0]}', and the model knows {', '.join(classes)}: "
                        "leave them out, or name the folders alike.")
    return cases


def _said(model: Model, case: Case, device: str) -> str:
    try:
        result = apply_model(model, {"image": read_volume(case.files["image"])}, device=device)
    except VolumeError as error:
        raise DataError(f"Case '{case.name}': {error}") from error
    return result.outputs["class"].class_name


def _told(name: str, scores: ClassScores) -> str:
    rows = []
    for number, each in enumerate(scores.classes):
        rows.append((each, scores.confusion[number].sum(), scores.sensitivity.get(each, ""),
                     scores.specificity.get(each, ""), *scores.confusion[number]))
    header = ("class", "images", "sensitivity", "specificity", *(f"said {each}" for each in scores.classes))
    table = text_table(f"{name} on {scores.confusion.sum()} images [95 % bootstrap over subjects]", header, rows)
    return (f"{table}\n  accuracy {scores.accuracy}\n  balanced accuracy {scores.balanced_accuracy}, "
            f"by chance {1 / max(len(scores.sensitivity), 1):.3f}")
