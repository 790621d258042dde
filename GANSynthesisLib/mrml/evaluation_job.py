"""An evaluation carried out by a worker process."""

from __future__ import annotations

from typing import Any

from GANSynthesisLib.evaluation.measures import Comparison, Measure
from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.evaluation import Evaluation, Written
from GANSynthesisLib.mrml.worker_job import WorkerJob


class EvaluationJob(WorkerJob):
    """As `WorkerJob`; measures, remarks and written (the nodes) are there once it is done."""

    def __init__(self, evaluation: Evaluation, worker: Worker, *, table=True, plots=True, error_map=True):
        """table, plots, error_map: what to make. Raises `JobError` where the worker is busy."""
        super().__init__(worker)
        self.evaluation = evaluation
        self.measures: tuple[Measure, ...] = ()
        self.remarks: tuple[str, ...] = ()
        self.written = Written()
        self._wanted = {"table": table, "plots": plots, "error_map": error_map}

    def _asked(self, exchange: Exchange):
        arguments = {"error_map": self._wanted["error_map"]}
        for role in ("result", "reference", "mask"):
            value = yield from self.evaluation.reading(role)
            if isinstance(value, list):
                arguments[role] = []
                for layer in value:
                    arguments[role].append((yield from exchange.writing(layer)))
            elif value is None or isinstance(value, str):
                arguments[role] = value
            else:
                arguments[role] = yield from exchange.writing(value)
        return "evaluate", arguments

    def _received(self, answer: dict[str, Any], exchange: Exchange):
        error_map = exchange.read(answer["error_map"]) if answer["error_map"] else None
        comparison = Comparison.from_json(answer["comparison"], error_map)
        self.measures, self.remarks = self.evaluation.measures(comparison), comparison.remarks
        self.written = yield from self.evaluation.writing(comparison, **self._wanted)
