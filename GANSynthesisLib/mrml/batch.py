"""Volumes of a subject-hierarchy folder through a model with one input, one after the other, results beside them."""

from __future__ import annotations

import time

import slicer

from GANSynthesisLib.batch.cases import BatchError, needed_roles, wanted_outputs
from GANSynthesisLib.batch.follow import Row
from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.models import Model
from GANSynthesisLib.mrml.jobs import SceneJob
from GANSynthesisLib.mrml.provenance import read_provenance
from GANSynthesisLib.mrml.requests import Request
from GANSynthesisLib.mrml.training_data import scene_cases


class SceneBatch:
    """What is planned of a folder, and after `start` its carrying out, by calls of `advance()` until `finished`.

    rows: one per volume, in order of names; changes: how often they have changed. Results of models are no inputs; a
    volume that has a result of this model counts as done. An error marks the row of its volume only.
    """

    def __init__(self, model: Model, item: int, restart: bool = False):
        """item: ID of a subject-hierarchy folder or volume. restart: make results of all volumes anew, beside those
        there are. Raises ValueError: several inputs are needed, or no volumes are there."""
        roles = needed_roles(model.card, wanted_outputs(model.card))
        if len(roles) != 1:
            raise BatchError(f"The model '{model.card.name}' takes several inputs ({', '.join(roles)}): give folders "
                             "of files, where the names tell what belongs together.")
        nodes = [case.nodes[roles[0]] for case in scene_cases({roles[0]: item})]
        nodes = [node for node in nodes if not read_provenance(node)]
        if not nodes:
            raise BatchError("This folder holds nothing but results of models: choose one with other volumes.")
        made = {} if restart else _results(model)
        self._model, self._ids = model, [node.GetID() for node in nodes]
        self.rows, self.changes = [_planned(node, made) for node in nodes], 0
        self._worker = self._options = self._job = None
        self._current, self._todo, self._began, self._cancelled = 0, 0, 0.0, False
        self.error = ""

    @property
    def anything_left(self) -> bool:
        return any(row.state == "waiting" for row in self.rows)

    def start(self, worker: Worker, options: dict) -> None:
        """Begin; options are as of `inference.apply_model`."""
        self._worker, self._options = worker, options
        self._todo, self._began = sum(row.state == "waiting" for row in self.rows), time.monotonic()

    @property
    def finished(self) -> bool:
        return self._job is None and (self._cancelled or not self.anything_left)

    @property
    def state(self) -> str:
        if self.finished:
            return "cancelled" if self._cancelled else "done"
        return "cancelling" if self._cancelled else self._job.state if self._job else "running"

    @property
    def fraction(self) -> float:
        left = sum(row.state in ("waiting", "running") for row in self.rows)
        return (self._todo - left + (self._job.fraction if self._job else 0)) / max(self._todo, 1)

    @property
    def text(self) -> str:
        return f"{self.rows[self._current].name}: {self._job.text}" if self._job else ""

    @property
    def remaining(self) -> float | None:
        """Seconds left if it goes on as it went so far; None while that cannot be said."""
        fraction = self.fraction
        return (time.monotonic() - self._began) / fraction * (1 - fraction) if fraction > 0.02 else None

    def cancel(self) -> None:
        """Stop; what is done stays, and nothing of the present volume comes into the scene."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """Stop at once: the scene is going away."""
        self._cancelled = True
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def advance(self) -> None:
        """Carry on for some milliseconds."""
        if self.finished:
            return
        if self._job is None:
            self._begin_next()
            return
        self._job.advance()
        row = self.rows[self._current]
        if self._job.finished:
            names = ", ".join(node.GetName() for node in self._job.nodes.values())
            row.state = "waiting" if self._job.state == "cancelled" else self._job.state
            row.message = self._job.error or names
            self._job = None
            self.changes += 1

    def _begin_next(self) -> None:
        if self._worker.state != "idle":
            return  # somebody else's turn: this batch goes on after it
        self._current = next(index for index, row in enumerate(self.rows) if row.state == "waiting")
        row, node = self.rows[self._current], slicer.mrmlScene.GetNodeByID(self._ids[self._current])
        self.changes += 1
        if node is None:
            row.state, row.message = "failed", f"'{row.name}' is no longer in the scene."
            return
        try:
            request = Request.of(self._model.card.task, self._model, node, voxels=False)
            self._job = SceneJob(request, self._worker, self._options)
            row.state = "running"
        except ValueError as error:
            row.state, row.message = "failed", str(error)


def _results(model: Model) -> dict[str, str]:
    """ID of an input node -> name of the result that the model has made of it."""
    found = {}
    for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"):
        content = read_provenance(node)
        if content.get("ModelHash") == model.sha256:
            found |= {each["id"]: node.GetName() for each in content["Inputs"].values()}
    return found


def _planned(node, made: dict[str, str]) -> Row:
    result = made.get(node.GetID())
    return Row(node.GetName(), "done", result) if result else Row(node.GetName(), "waiting")
