"""Does to the panel's runs what users and machines do, and counts what is left behind.

    python Testing/Faults/faults.py [--cancels 200]

Every fault is done to the unmodified panel in Testing/SlicerHost with a real worker process. Counted after each one:
processes that nobody owns any more, files left in the exchange folder, nodes in the scene that were not there before,
and whether the next run succeeds. Ends with status 1 if anything was left behind or a next run failed.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing" / "Python"), str(ROOT / "GANSynthesis")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
from panel_fixtures import MODULE, add_model, add_volume
from synthetic_cases import write_cases

from GANSynthesisLib import jobs
from GANSynthesisLib import models as library
from GANSynthesisLib.evaluation.tables import text_table
from GANSynthesisLib.jobs.process import is_alive
from SlicerHost import pythonqt
from SlicerHost.host import handle_events, open_panel, start_host
from SlicerHost.scene import start_scene

SLICES = 120


@dataclass
class Count:
    """What one kind of fault left behind, over all times that it was done."""

    times: int = 0
    orphans: int = 0
    files: int = 0
    nodes: int = 0
    failures: int = 0
    slowest: float = 0.0

    @property
    def clean(self) -> bool:
        return not (self.orphans or self.files or self.nodes or self.failures)


class Place:
    """A panel on a scene with one volume, and a worker."""

    def __init__(self):
        start_scene()
        self.panel = open_panel(MODULE)
        self.new_scene()

    def new_scene(self) -> None:
        add_volume("Head", (SLICES, 96, 96))
        self.panel.widget.enter()
        self.tab.ui.inputSelector1.setCurrentNode(slicer.util.getNode("Head"))

    @property
    def tab(self):
        return self.panel.widget.tabs["apply"]

    @property
    def worker(self):
        return jobs.worker("apply")

    def click(self) -> None:
        self.tab.ui.applyButton.click()

    def reach(self, state: str) -> None:
        """Start a run and go on until the job is in that state."""
        self.click()
        handle_events(60, lambda: self.tab._job is None or self.tab._job.state == state and self.tab._job.fraction > 0
                      or state == "starting")

    def wait(self, seconds: float = 60) -> None:
        if not handle_events(seconds, lambda: not self.tab.running):
            raise RuntimeError("the run does not end")


def killed(state: str) -> Callable[[Place], None]:
    def do(place: Place) -> None:
        if state == "starting":
            place.worker.stop()
            place.click()
            handle_events(5, lambda: place.worker.pid is not None)
        else:
            place.reach("running")
        if state == "cancelling":
            place.click()
        if place.worker.pid:
            os.kill(place.worker.pid, signal.SIGKILL)
        place.wait()
    return do


def killed_idle(place: Place) -> None:
    if place.worker.pid:
        os.kill(place.worker.pid, signal.SIGKILL)


def stopped(place: Place) -> None:
    """The worker stands still (as one that sleeps or hangs) and does not hear a cancel."""
    place.reach("running")
    if place.worker.pid:
        os.kill(place.worker.pid, signal.SIGSTOP)
    if place.tab.running:
        place.click()
    place.wait()


def cancelled(place: Place) -> None:
    place.click()
    handle_events(random.uniform(0, 1.2))
    if place.tab.running:
        place.click()
    place.wait()


def disk_full(place: Place) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        place.click()
        place.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def scene_closed(place: Place) -> None:
    place.click()
    handle_events(random.uniform(0, 1))
    slicer.mrmlScene.Clear()
    place.new_scene()


def clicked_twice(place: Place) -> None:
    """The second click is a cancel: whatever it meets, one run at most."""
    place.click()
    place.click()
    place.wait()


def reloaded(place: Place) -> None:
    place.click()
    handle_events(random.uniform(0, 1))
    slicer.util.reloadScriptedModule(place.panel.moduleName)
    place.panel.widget.enter()


FAULTS = {
    "worker killed while starting": (killed("starting"), 10),
    "worker killed while running": (killed("running"), 20),
    "worker killed while cancelling": (killed("cancelling"), 20),
    "worker killed while idle": (killed_idle, 10),
    "worker stands still": (stopped, 5),
    "cancel at a random moment": (cancelled, 200),
    "exchange folder full": (disk_full, 10),
    "scene closed during a run": (scene_closed, 20),
    "Apply clicked twice": (clicked_twice, 20),
    "module reloaded during a run": (reloaded, 10),
}


def do(place: Place, name: str, fault: Callable[[Place], None], times: int) -> Count:
    count = Count()
    for _ in range(times):
        before, owned = node_ids(), {place.worker.pid}
        begin = time.monotonic()
        fault(place)
        count.times += 1
        count.slowest = max(count.slowest, time.monotonic() - begin)
        handle_events(0.05)
        owned.add(place.worker.pid)
        count.files += len(list(Path(tempfile.gettempdir()).glob(f"gansynthesis-{os.getpid()}-*")))
        if name != "scene closed during a run":
            count.nodes += len(node_ids() - before - whole_results())
        remove_results()
        place.click()
        place.wait()
        owned.add(place.worker.pid)
        if not place.tab.ui.statusLabel.text.startswith("Done"):
            count.failures += 1
            print(f"{name}: {place.tab.ui.statusLabel.text}", file=sys.stderr)
        remove_results()
        count.orphans += orphans(owned - {None, place.worker.pid})
    return count


def reload_during_training(place: Place, folder: Path, times: int) -> Count:
    """Reload the module again and again while a model is trained: the training must go on, and be found again."""
    count, worker, before = Count(), jobs.worker("training"), node_ids()
    tab = place.panel.widget.tabs["train"]
    place.panel.widget.ui.tabWidget.currentIndex = list(place.panel.widget.tabs).index("train")
    handle_events(60, lambda: tab.catalog.complete and not tab.catalog.asking)
    tab.ui.systemSelector.currentIndex = tab.ui.systemSelector.findData("paired")
    tab.form.setValues({"context": "2D", "patch": [16, 16], "width": 4, "levels": 2, "validation_fraction": 0})
    tab.ui.stepsSpinBox.value = 100000
    tab.ui.nameLineEdit.text = "endless"
    tab.ui.dataPathLineEdit.currentPath = str(write_cases(folder / "cases", 4, shape=(4, 24, 20)))
    tab.ui.startButton.click()
    handle_events(60, lambda: tab.training and worker.job.fraction > 0)
    pid = worker.pid
    for _ in range(times):
        begin = time.monotonic()
        slicer.util.reloadScriptedModule(place.panel.moduleName)
        place.panel.widget.enter()
        tab = place.panel.widget.tabs["train"]
        place.panel.widget.ui.tabWidget.currentIndex = list(place.panel.widget.tabs).index("train")
        step = worker.job.fraction
        handle_events(10, lambda step=step: worker.job.fraction > step)
        count.times += 1
        count.slowest = max(count.slowest, time.monotonic() - begin)
        count.failures += not (tab.training and worker.pid == pid and worker.job.fraction > step)
    tab.ui.startButton.click()
    handle_events(60, lambda: not tab.training)
    worker.stop()
    count.orphans = orphans({pid})
    curves = {node.GetID() for name in ("Table", "PlotSeries", "PlotChart")
              for node in slicer.util.getNodesByClass(f"vtkMRML{name}Node")}
    count.nodes = len(node_ids() - before - curves)
    return count


def node_ids() -> set[str]:
    return {slicer.mrmlScene.GetNthNode(index).GetID() for index in range(slicer.mrmlScene.GetNumberOfNodes())}


def whole_results() -> set[str]:
    """Nodes of runs that were through before the fault: volumes with their provenance, and how they are shown."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    made = [node for node in volumes if node.GetAttribute("GANSynthesis.Model") is not None]
    return {each.GetID() for node in made for each in (node, node.GetDisplayNode()) if each is not None}


def remove_results() -> None:
    for each in whole_results():
        slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(each))


def orphans(pids: set[int]) -> int:
    """How many of the processes are still there; given a second to go."""
    end = time.monotonic() + 1
    while time.monotonic() < end and any(runs(pid) for pid in pids):
        handle_events(0.02)
    return sum(map(runs, pids))


def runs(pid: int) -> bool:
    try:
        return is_alive(pid) and Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cancels", type=int, default=200, help="how often to cancel at a random moment")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GANSYNTHESIS_MODELS"] = folder
        library.shipped_models_folder = lambda: Path(folder) / "none"
        start_host()
        add_model("t1-t2")
        place, counts = Place(), {}
        for name, (fault, times) in FAULTS.items():
            times = arguments.cancels if fault is cancelled else times
            counts[name] = do(place, name, fault, times)
            print(f"{name}: {counts[name]}", file=sys.stderr, flush=True)
        counts["module reloaded during a training"] = reload_during_training(place, Path(folder), 10)
        place.panel.close()
        jobs.stop_all()
    rows = [(name, each.times, each.orphans, each.files, each.nodes, each.failures, f"{each.slowest:.1f} s")
            for name, each in counts.items()]
    header = ("fault", "times", "orphans", "stale files", "half nodes", "next run failed", "slowest")
    print(text_table("What was left behind", header, rows))
    errors = len(pythonqt.slot_errors)
    print(f"errors raised into the windows: {errors}")
    return 0 if all(each.clean for each in counts.values()) and not errors else 1


if __name__ == "__main__":
    sys.exit(main())
