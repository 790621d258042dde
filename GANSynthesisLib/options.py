"""What may be asked of a run of a model, checked before any work."""

from __future__ import annotations

from GANSynthesisLib.card import Card, ModelError, Port

PRECISIONS = ("32", "bf16")


class UsageError(ValueError):
    """Words on the command line that do not fit together; the message says what was expected."""


_UNCERTAINTY = "_uncertainty"
MOST_SAMPLES = 64


def uncertainty_of(output: str) -> str:
    """The name under which the uncertainty of an output is found among the results."""
    return output + _UNCERTAINTY


def certain(name: str) -> str:
    """The output itself, of a name that may be that of its uncertainty."""
    return name.removesuffix(_UNCERTAINTY)


def result_port(card: Card, name: str) -> Port:
    """The card's output of that name, or what the uncertainty of one is; else `ModelError`."""
    port = card.output(certain(name))
    if port.name == name:
        return port
    return Port(name, f"uncertainty of {'segmentation' if port.is_segmentation else f'synthetic {port.modality}'}")


def has_uncertainty(card: Card) -> bool:
    """Whether a model can tell how sure it is: it gives images or labels on the grid of its input, and has learned
    that they stay the same when the input is varied."""
    return card.task in ("synthesize", "segment") and card.settings.get("augment", 0) > 0


def check_options(card: Card, precision: str, optimize: int, samples: int = 0) -> None:
    """Raise `ModelError` for a precision that there is not, optimizing what is no registration, or uncertainty of a
    model that cannot tell it."""
    if precision not in PRECISIONS:
        raise ModelError(f"precision is {precision!r}; it must be {' or '.join(PRECISIONS)}.")
    if optimize < 0 or (optimize and card.task != "register"):
        raise ModelError(f"optimize is {optimize}: give a number of steps from 0 on, and only to a registration.")
    if not 0 <= samples <= MOST_SAMPLES:
        raise ModelError(f"samples is {samples}: give a number from 0 to {MOST_SAMPLES}.")
    if samples and not has_uncertainty(card):
        raise ModelError(
            f"The model '{card.name}' cannot tell how sure it is, since only synthesis and segmentation that were "
            "trained with varied images can: set samples to 0."
        )
