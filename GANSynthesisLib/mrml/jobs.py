"""A request to a model carried out by a worker process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.requests import Request
from GANSynthesisLib.mrml.worker_job import WorkerJob
from GANSynthesisLib.result import Result


class SceneJob(WorkerJob):
    """As `WorkerJob`; nodes: output name -> node once it is done."""

    def __init__(self, request: Request, worker: Worker, options: dict[str, Any], *, count: int = 1,
                 guarding: Generator[object, None, tuple[str, ...]] | None = None):
        """request: whose voxels need not have been looked at. options: as of `inference.apply_model` or `generate`.
        count: images to generate. guarding: steps done first, whose sentences stay on the results. Raises `JobError`
        where the worker is busy."""
        super().__init__(worker)
        self.request, self.nodes = request, {}
        self._options, self._count, self._guarding, self._warnings = options, count, guarding, ()

    def _asked(self, exchange: Exchange):
        if self._guarding is not None:
            self._warnings = yield from self._guarding
        arguments = {"model": str(self.request.model.path), "options": self._options}
        if self.request.task == "generate":
            arguments |= {"count": self._count, "mask": None}
            for role in self.request.nodes:
                volume = yield from self.request.reading(role)
                arguments["mask"] = yield from exchange.writing(volume)
            return "generate", arguments
        frames = []
        for frame in self.request.frames:
            described = {}
            for role in self.request.nodes:
                volume = yield from self.request.reading(role, frame)
                described[role] = yield from exchange.writing(volume)
            frames.append(described)
        return "apply", arguments | {"frames": frames, "outputs": list(self.request.outputs)}

    def _received(self, answer: list[dict[str, Any]], exchange: Exchange):
        self.nodes = yield from self.request.writing([self._result(each, exchange) for each in answer])

    def _result(self, answer: dict[str, Any], exchange: Exchange) -> Result:
        report = answer["report"]
        report["warnings"] = [*self._warnings, *report.get("warnings", [])]
        return Result({name: exchange.read(each) for name, each in answer["outputs"].items()}, report)
