"""A request to a model carried out by a worker process."""

from __future__ import annotations

from typing import Any

from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.requests import Request
from GANSynthesisLib.mrml.worker_job import ALONE, WorkerJob
from GANSynthesisLib.result import Result


class SceneJob(WorkerJob):
    """As `WorkerJob`; nodes: output name -> node once it is done."""

    def __init__(self, request: Request, worker: Worker, options: dict[str, Any], *, count: int = 1,
                 warnings: tuple[str, ...] = ()):
        """request: checked. options: as of `inference.apply_model` or `generate`. count: images to generate. warnings:
        stay on the results. Raises `JobError` where the worker is busy."""
        super().__init__(worker)
        self.request, self.nodes = request, {}
        self._options, self._count, self._warnings = options, count, warnings

    def _asked(self, exchange: Exchange):
        arguments = {"model": str(self.request.model.path), "options": self._options}
        if self.request.task == "generate":
            return "generate", arguments | {"count": self._count}
        frames = []
        for frame in self.request.frames:
            described = {}
            for role, volume in self.request.volumes(frame).items():
                yield ALONE
                described[role] = yield from self._handed_over(volume, exchange)
            frames.append(described)
        return "apply", arguments | {"frames": frames, "outputs": list(self.request.outputs)}

    def _received(self, answer: list[dict[str, Any]], exchange: Exchange) -> None:
        self.nodes = self.request.write([self._result(each, exchange) for each in answer])

    def _result(self, answer: dict[str, Any], exchange: Exchange) -> Result:
        report = answer["report"]
        report["warnings"] = [*self._warnings, *report.get("warnings", [])]
        return Result({name: exchange.read(each) for name, each in answer["outputs"].items()}, report)
