"""How long work reports and is stopped: a progress callable, a question asked between steps, and one exception."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]  # fraction 0 … 1, one line of text
IsCancelled = Callable[[], bool]


class Cancelled(RuntimeError):
    """The user stopped the work; nothing half-made was left behind."""


def stop_if(cancelled: IsCancelled) -> None:
    """Raise Cancelled where the answer is yes."""
    if cancelled():
        raise Cancelled("The model was stopped before it had finished; nothing was changed.")


def silent(fraction: float, text: str) -> None:
    """A progress callable for those who do not listen."""


def never() -> bool:
    """A cancel question that is always answered no."""
    return False


def part(progress: Progress, number: int, count: int, title: str = "") -> Progress:
    """The progress of one of `count` parts of equal length, counted from 0; a title takes the place of its words."""
    return lambda fraction, text: progress((number + fraction) / count, title or text)
