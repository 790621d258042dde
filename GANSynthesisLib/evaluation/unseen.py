"""Cases that a model has not seen in training: the only ones that say how well it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from GANSynthesisLib.models import Model
from GANSynthesisLib.training.cases import Case, DataError


def unseen_cases(
    models: Sequence[Model], cases: Sequence[Case], data: Path, say: Callable[[str], None]
) -> list[Case]:
    """The cases whose subject took part in the training of none of the models. Raises DataError where none is left."""
    seen = {subject for model in models for group in ("subjects", "held_out_subjects")
            for subject in model.card.training.get(group, ())}
    kept = [case for case in cases if case.subject not in seen]
    if not kept:
        names = ", ".join(f"'{model.card.name}'" for model in models)
        raise DataError(f"Every case in {data} took part in the training of {names}: give others, or --all.")
    if len(kept) < len(cases):
        say(f"left out: {len(cases) - len(kept)} of {len(cases)} cases, which took part in the training")
    return kept
