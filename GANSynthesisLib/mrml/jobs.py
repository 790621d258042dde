"""A request to a model carried out by a worker process, in steps short enough for the thread of the windows."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from typing import Any

from GANSynthesisLib.jobs import Exchange, JobError, Worker
from GANSynthesisLib.mrml.requests import Request
from GANSynthesisLib.result import Result

_STEP = 0.02  # seconds that `advance` may use, apart from one indivisible step


class SceneJob:
    """Nodes to the worker, results to nodes: the scene is untouched until whole results have arrived.

    Made from a checked request, it is carried on by `advance()`, to be called from a timer until `finished`.
    state: that of the worker's job, before it `starting`, after it `writing`; then `done`, `failed` or `cancelled`.
    nodes: output name -> node once it is done. error: one sentence; details: for the log.
    """

    def __init__(self, request: Request, worker: Worker, options: dict[str, Any], *, count: int = 1,
                 warnings: tuple[str, ...] = ()):
        """options: as of `inference.apply_model` or `generate`. count: images to generate. warnings: stay on the
        results. Raises `JobError` where the worker is busy."""
        if worker.job is not None and not worker.job.finished:
            raise JobError("Another job is running: wait for it, or cancel it first.")
        self.request, self.nodes, self.error, self.details = request, {}, "", ""
        self._worker, self._options, self._count, self._warnings = worker, options, count, warnings
        self._state, self._job, self._cancelled = "starting", None, False
        self._steps = self._work()

    @property
    def state(self) -> str:
        if self._state == "working":
            return self._job.state if not self._job.finished else "writing"
        return self._state

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
        """Stop; nothing is left in the scene. It has stopped when the state says so, after further `advance()`."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def advance(self) -> None:
        """Carry on for some milliseconds."""
        until = time.perf_counter() + _STEP
        while not self.finished and time.perf_counter() < until:
            try:
                if next(self._steps) == "wait":
                    return
            except StopIteration:
                return
            except Exception as error:
                self._end("failed", " ".join(str(error).split()) or type(error).__name__, traceback.format_exc())

    def _end(self, state: str, error: str = "", details: str = "") -> None:
        self._state, self.error, self.details = state, error, details

    def _work(self) -> Iterator[str]:
        exchange = Exchange.create()
        try:
            answers = yield from self._answers(exchange)
            if answers is None:
                return
            yield "write next"
            self.nodes = self.request.write([self._result(each, exchange) for each in answers])
            self._end("done")
        finally:
            exchange.remove()

    def _answers(self, exchange: Exchange):
        """What the worker gives; None where there is nothing, and the end is set."""
        frames = yield from self._handing_over(exchange)
        if self._cancelled:
            return self._end("cancelled")
        arguments = {"folder": str(exchange.folder), "model": str(self.request.model.path), "options": self._options}
        if self.request.task == "generate":
            self._job = self._worker.start("generate", arguments | {"count": self._count})
        else:
            arguments |= {"frames": frames, "outputs": list(self.request.outputs)}
            self._job = self._worker.start("apply", arguments)
        self._state = "working"
        while not self._job.finished:
            self._worker.poll()
            if not self._job.finished:
                yield "wait"
        if self._job.state != "done" or self._cancelled:
            state = "cancelled" if self._cancelled else self._job.state
            return self._end(state, self._job.error, self._job.details)
        return self._job.result

    def _handing_over(self, exchange: Exchange):
        """Described volumes by role, for each frame, written into the exchange folder."""
        frames = []
        for frame in self.request.frames if self.request.nodes else ():
            described = {}
            for role, volume in self.request.volumes(frame).items():
                yield "written next"
                writing = exchange.writing(volume)
                while not self._cancelled:
                    try:
                        yield next(writing) or "written"
                    except StopIteration as end:
                        described[role] = end.value
                        break
            frames.append(described)
        return frames

    def _result(self, answer: dict[str, Any], exchange: Exchange) -> Result:
        report = answer["report"]
        report["warnings"] = [*self._warnings, *report.get("warnings", [])]
        return Result({name: exchange.read(each) for name, each in answer["outputs"].items()}, report)
