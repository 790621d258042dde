"""Work of the scene carried out by a worker process, in steps short enough for the thread of the windows."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator
from typing import Any

from GANSynthesisLib.jobs import JobError, Worker, busy_sentence
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.steps import ALONE, SLICE

WAIT = "wait"  # a step says so where there is nothing to do before the next call of `advance`


class WorkerJob:
    """Nodes to the worker, results to nodes: the scene is untouched until whole results have arrived.

    A subclass says what the worker is to do (`_asked`) and puts its answer into the scene (`_received`). The job is
    carried on by `advance()`, to be called from a timer until `finished`.
    state: that of the worker's job, before it `starting`, after it `writing`; then `done`, `failed` or `cancelled`.
    error: one sentence; details: for the log.
    """

    def __init__(self, worker: Worker):
        """Raises `JobError` where the worker is busy; one whose job is being canceled is waited for."""
        if worker.state not in ("idle", "cancelling"):
            raise JobError(busy_sentence())
        self.error, self.details = "", ""
        self._worker, self._job, self._cancelled = worker, None, False
        self._state, self._steps = "starting", self._work()

    def _asked(self, exchange: Exchange) -> Generator[str, None, tuple[str, dict[str, Any]]]:
        """The kind of work and its arguments, in steps that yield, the volumes written into the exchange."""
        raise NotImplementedError

    def _received(self, answer: Any, exchange: Exchange) -> Generator[object, None, None] | None:
        """Put the worker's answer into the scene; where that takes long, as a generator that yields between steps."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        if self._state == "working":
            return self._job.state if not self._job.finished else "writing"
        return "writing" if self._state == "written" else self._state

    @property
    def finished(self) -> bool:
        return self._state in ("done", "failed", "cancelled")

    @property
    def fraction(self) -> float:
        return self._job.fraction if self._job else 0.0

    @property
    def text(self) -> str:
        return self._job.text if self._job else ""

    @property
    def remaining(self) -> float | None:
        return self._job.remaining if self._job else None

    @property
    def log(self) -> list[str]:
        return self._job.log if self._job else []

    def cancel(self) -> None:
        """Stop; nothing is left in the scene, unless all of it is there already. It has stopped when the state says
        so, after further `advance()`."""
        self._cancelled = self._state != "written"
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """Give the run up at once: nothing comes into the scene any more, and its arrays are removed."""
        self.cancel()
        self._steps.close()
        self._end("cancelled")

    def advance(self) -> None:
        """Carry on for some milliseconds."""
        if self._cancelled and (self._job is None or self._job.finished):
            self.abandon()
        until = time.perf_counter() + SLICE
        while not self.finished and time.perf_counter() < until:
            try:
                if next(self._steps) in (WAIT, ALONE):
                    return
            except StopIteration:
                return
            except Exception as error:
                self._end("failed", " ".join(str(error).split()) or type(error).__name__, traceback.format_exc())

    def _end(self, state: str, error: str = "", details: str = "") -> None:
        self._state, self.error, self.details = state, error, details

    def _work(self) -> Generator[str, None, None]:
        exchange = Exchange.create()
        try:
            work, arguments = yield from self._asked(exchange)
            while self._worker.state == "cancelling":  # the job before this one
                self._worker.poll()
                yield WAIT
            self._job = self._worker.start(work, {"folder": str(exchange.folder), **arguments})
            self._state = "working"
            while not self._job.finished:
                self._worker.poll()
                if not self._job.finished:
                    yield WAIT
            if self._job.state != "done":
                return self._end(self._job.state, self._job.error, self._job.details)
            yield ALONE
            yield from self._received(self._job.result, exchange) or ()
            self._state = "written"
            yield ALONE  # large files take long
            self._end("done")
        finally:
            exchange.remove()
