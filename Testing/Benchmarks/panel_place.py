"""The unmodified panel in Testing/SlicerHost for benchmarks: volumes, models and folders of the sizes wanted, and a
timer that tells how long the windows stood still."""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from command import ROOT

from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.models import save_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.volumes import Volume

TICK = 0.01  # seconds
SETTINGS = {"context": "2D", "patch": [64, 64], "width": 4, "levels": 1}
WINDOW = {"kind": "window", "lower": 0.0, "upper": 1000.0}


def small_model(folder: Path, name: str = "small", weights: int = 0) -> Path:
    """A 2D network of a few thousand weights that keeps the grid; with `weights`, a file of so many that none has."""
    import torch

    system = build_system("paired", SETTINGS)
    card = Card(
        name=name, title=name.capitalize(), description="Untrained.", system="paired", task="synthesize",
        settings=SETTINGS, inputs=(Port("source", "T1", intensity=WINDOW),), context="2D",
        shape=system.settings.window(), spacing=None,
        outputs=(Port("target", "T2", intensity=WINDOW, needs=("source",)),),
    )
    state = {"none": torch.rand(weights)} if weights else system.deployed_state()
    save_model(folder / f"{name}.safetensors", state, card)
    return folder / f"{name}.safetensors"


def head(shape: int | tuple[int, int, int], turn: float = 0.0) -> Volume:
    """int16 waves in an ellipsoid, 0 around it."""
    depth, height, width = (shape,) * 3 if isinstance(shape, int) else shape
    k, j, i = np.ogrid[-1:1:depth * 1j, -1:1:height * 1j, -1:1:width * 1j]
    inside = (i / 0.7) ** 2 + (j / 0.85) ** 2 + (k / 0.8) ** 2 < 1
    waves = 500 + 150 * np.sin(9 * i + turn) * np.cos(7 * j) + 100 * np.sin(11 * k)
    return Volume(np.where(inside, waves, 0).astype(np.int16), name="head")


class PanelPlace:
    """A panel on an empty scene, and a timer that ticks every 10 ms as long as the windows do not stand still."""

    def __init__(self, folder: Path):
        from PySide6 import QtCore

        from SlicerHost.host import start_host
        from SlicerHost.scene import start_scene

        self.folder, self.panel, self._ticks = folder, None, []
        start_host()
        start_scene()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(round(1000 * TICK))
        gc.freeze()  # torch and what the host keeps are not in Slicer's own process, for its collector to go through

    @staticmethod
    @contextmanager
    def made(folder: Path) -> Iterator[PanelPlace]:
        """A place whose only models are those in `folder`; its processes end with it."""
        import GANSynthesisLib.models as library
        from GANSynthesisLib import jobs

        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        shipped, library.shipped_models_folder = library.shipped_models_folder, lambda: folder / "none"
        os.environ["GANSYNTHESIS_MODELS"] = str(folder / "models")
        place = PanelPlace(folder)
        try:
            yield place
        finally:
            if place.panel is not None:
                place.panel.close()
            jobs.stop_all()
            library.shipped_models_folder = shipped
            del os.environ["GANSYNTHESIS_MODELS"]

    # --- time

    def _tick(self) -> None:
        self._ticks.append((time.perf_counter(), time.thread_time()))

    def pause(self, act: Callable[[], object], done: Callable[[], bool] = lambda: True) -> tuple[float, float]:
        """Seconds between two ticks, at most, from an action until what it brings about is done; and how long at most
        this thread computed between two."""
        self._ticks.clear()
        self._tick()
        act()
        self.wait(done)
        self._tick()
        steps = np.diff(self._ticks, axis=0).max(axis=0)
        return float(steps[0]), float(steps[1])

    def wait(self, done: Callable[[], bool], seconds: float = 600.0) -> None:
        from SlicerHost.host import handle_events

        if not handle_events(seconds, done):
            raise RuntimeError("what a benchmark waits for does not come")

    # --- the panel

    def open(self) -> None:
        from SlicerHost.host import open_panel
        from SlicerHost.pythonqt import native

        self.panel = open_panel(ROOT / "GANSynthesis" / "GANSynthesis.py")
        native(self.panel.frame).show()

    def tab(self, name: str):
        return self.panel.widget.tabs[name]

    def show_tab(self, name: str):
        """Click on a tab; gives it."""
        self.panel.widget.ui.tabWidget.currentIndex = list(self.panel.widget.tabs).index(name)
        return self.tab(name)

    # --- what is in the scene

    def add(self, volume: Volume, name: str):
        from GANSynthesisLib.mrml import volume_to_node

        return volume_to_node(replace(volume, name=name))

    def scene_folder(self, name: str, volumes: list[Volume]) -> int:
        """Item of a subject-hierarchy folder with these volumes in it."""
        import slicer

        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)
        for number, volume in enumerate(volumes):
            hierarchy.CreateItem(item, self.add(volume, f"patient {number}"))
        return item

    def clear(self) -> None:
        import slicer

        slicer.mrmlScene.Clear()

    # --- what is on disk

    def images(self, name: str, count: int) -> Path:
        """A folder of small images."""
        folder = self.folder / name
        write_volume(head((4, 24, 20)), folder / "0000.nii")
        for number in range(1, count):
            shutil.copy(folder / "0000.nii", folder / f"{number:04d}.nii")
        return folder
