"""What may be asked of a run of a model, checked before any work."""

from __future__ import annotations

from GANSynthesisLib.card import Card, ModelError

PRECISIONS = ("32", "bf16")


class UsageError(ValueError):
    """Words on the command line that do not fit together; the message says what was expected."""


def check_options(card: Card, precision: str, optimize: int) -> None:
    """Raise `ModelError` for a precision that there is not, or optimizing what is no registration."""
    if precision not in PRECISIONS:
        raise ModelError(f"precision is {precision!r}; it must be {' or '.join(PRECISIONS)}.")
    if optimize < 0 or (optimize and card.task != "register"):
        raise ModelError(f"optimize is {optimize}: give a number of steps from 0 on, and only to a registration.")
