"""Work cut into short steps, for a thread that must not wait: generators that yield between two steps."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Generic, TypeVar

Result = TypeVar("Result")

SLICE = 0.02  # seconds that steps may take together before whoever waits is heard again
ALONE = "alone"  # steps yield this before one that is long: it is not done together with others


def run_through(steps: Generator[object, None, Result]) -> Result:
    """Do all the steps here and now; gives what the generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


class Steps(Generic[Result]):
    """Steps carried on by `advance()`, from a timer, until `done`; then `result` is what the generator returned."""

    def __init__(self, steps: Generator[object, None, Result]):
        self._steps, self.done, self.result = steps, False, None

    def advance(self) -> bool:
        """Do one step, and more while they are short; whether all are done. Raises what a step raises."""
        until = time.perf_counter() + SLICE
        while not self.done:
            try:
                alone = next(self._steps) == ALONE
            except StopIteration as end:
                self.done, self.result = True, end.value
            except BaseException:
                self.done = True
                raise
            else:
                if alone or time.perf_counter() >= until:
                    break
        return self.done
