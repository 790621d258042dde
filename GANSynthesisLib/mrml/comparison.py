"""Looking at an input and a result together: volumes that show both, made by a worker where the user asks for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import slicer
import vtk

from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.inputs import reading_volume
from GANSynthesisLib.mrml.outputs import writing_volume
from GANSynthesisLib.mrml.worker_job import WorkerJob
from GANSynthesisLib.volumes import Grid


def on_grid_of(node, other) -> bool:
    """Whether two volume nodes, where the scene shows them, have their voxels in the same places."""
    return all(each.GetParentTransformNode() is None for each in (node, other)) and _grid(node).same_as(_grid(other))


def _grid(node) -> Grid:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return Grid(node.GetImageData().GetDimensions()[::-1], slicer.util.arrayFromVTKMatrix(matrix))


class FusionJob(WorkerJob):
    """As `WorkerJob`; node: once it is done, a new volume node that shows two others, on the grid of the first."""

    def __init__(self, first, second, worker: Worker):
        """Raises `JobError` where the worker is busy."""
        super().__init__(worker)
        self.node, self._first, self._second = None, first, second

    def _handed_over_both(self, exchange: Exchange):
        described = {}
        for name, node in (("first", self._first), ("second", self._second)):
            volume = yield from reading_volume(node)
            described[name] = yield from exchange.writing(volume)
        return described


class CheckerboardJob(FusionJob):
    """The intensities of two volume nodes in alternating blocks (see `fusion.checkerboard`)."""

    def _asked(self, exchange: Exchange):
        return "checkerboard", (yield from self._handed_over_both(exchange))

    def _received(self, answer: dict[str, Any], exchange: Exchange):
        name = f"{self._first.GetName()} and {self._second.GetName()} [checkerboard]"
        window = {"kind": "window", "lower": 0.0, "upper": 1.0}
        volume = replace(exchange.read(answer), name=name)
        self.node = yield from writing_volume(volume, like=self._first, intensity=window)


class DifferenceJob(FusionJob):
    """The second node less the first (see `fusion.difference`), with a window around zero."""

    def _asked(self, exchange: Exchange):
        return "difference", (yield from self._handed_over_both(exchange))

    def _received(self, answer: dict[str, Any], exchange: Exchange):
        name = f"{self._second.GetName()} [difference from {self._first.GetName()}]"
        window = {"kind": "window", "lower": -answer["reach"], "upper": answer["reach"]}
        volume = replace(exchange.read(answer["volume"]), name=name)
        self.node = yield from writing_volume(volume, like=self._second, intensity=window)
        self.node.GetDisplayNode().SetAutoWindowLevel(False)  # a unit of HU would have brought a preset of CT
        self.node.GetDisplayNode().SetWindowLevel(2 * answer["reach"], 0)
