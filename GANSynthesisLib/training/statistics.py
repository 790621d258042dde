"""What a model's training images look like, measured from their manifest, for a card that does not say it yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from GANSynthesisLib.appearance import measure, summarize
from GANSynthesisLib.card import Card
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.training.cases import DataError, find_cases
from GANSynthesisLib.working import intensity_range


def input_statistics(card: Card, data: Path, columns: Mapping[str, str] | None = None) -> dict[str, dict]:
    """Input -> what its images look like (`appearance.summarize`), as a training run would have put on the card.

    data: the folder or manifest that the model was trained on; only subjects that the card names as trained on count.
    columns: input -> role in the data, where it has another name there. Raises DataError where an input has no image.
    """
    roles = {port.name: (columns or {}).get(port.name, port.name) for port in card.inputs}
    cases = find_cases(data, tuple(dict.fromkeys(roles.values())), paired=False)
    subjects = card.training.get("subjects", [])
    statistics = {}
    for port in card.inputs:
        paths = {case.files[roles[port.name]]: None for case in cases
                 if case.subject in subjects and roles[port.name] in case.files}
        if not paths:
            raise DataError(f"{data} has no image of the input '{port.name}' of a subject that {card.name} was "
                            "trained on: give the data it was trained on.")
        statistics[port.name] = summarize([measure(read_volume(path), intensity_range(port)) for path in paths])
    return statistics
