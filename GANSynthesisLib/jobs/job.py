"""One piece of long work as its asker sees it: state, progress, result or error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

UNFINISHED = ("starting", "running", "cancelling")
LOG_LINES = 2000


class JobError(ValueError):
    """A job cannot be started, or it ended without a result; the message says why in one sentence."""


def busy_sentence() -> str:
    """Why a worker that has a job takes no other one, and what to do."""
    from GANSynthesisLib.presentation import _  # here: a worker imports this file, and not Slicer for its words

    return _("Another job is running: wait for it, or cancel it in its tab.")


@dataclass
class Job:
    """State of one job; only its `Worker` changes it.

    state: `starting` (the process is on its way), `running`, `cancelling`, then `done`, `failed` or `cancelled`.
    fraction: 0 … 1. result: what the work gave, JSON-able. error: one sentence; details: for a programmer.
    grace: seconds that a cancel may take before the process is ended.
    """

    number: int
    work: str
    arguments: dict[str, Any]
    grace: float = 1.0
    clock: Callable[[], float] = time.monotonic
    state: str = "starting"
    fraction: float = 0.0
    text: str = ""
    result: Any = None
    error: str = ""
    details: str = ""
    log: list[str] = field(default_factory=list)
    cancel_requested: bool = False
    _first: tuple[float, float] | None = None  # when, and at which fraction, progress was first heard of

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def remaining(self) -> float | None:
        """Seconds left if the work goes on as it went so far; None while that cannot be said."""
        if self._first is None or self.finished:
            return None
        began, fraction = self._first
        if self.fraction - fraction < 0.02:
            return None
        return (self.clock() - began) / (self.fraction - fraction) * (1 - self.fraction)

    def cancel(self) -> None:
        """Ask the work to stop; it has stopped when the state says so."""
        if not self.finished:
            self.cancel_requested = True
            self.state = "cancelling"

    def heard(self, fraction: float, text: str) -> None:
        """Take note of progress."""
        if self._first is None:
            self._first = (self.clock(), fraction)
        self.fraction, self.text = fraction, text

    def say(self, line: str) -> None:
        """Add a line to the log, which keeps the last ones."""
        self.log.append(line)
        del self.log[:-LOG_LINES]

    def end(self, state: str, *, result: Any = None, error: str = "", details: str = "") -> None:
        self.state, self.result, self.error, self.details = state, result, error, details
        if state == "done":
            self.fraction = 1.0
