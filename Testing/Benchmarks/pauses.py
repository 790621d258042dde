"""How long the windows stand still at each thing that a user does in the panel: the longest gap of a 10 ms timer.

    python Testing/Benchmarks/pauses.py [--only GROUP]

Runs the unmodified panel in Testing/SlicerHost with real workers, on large volumes, folders and models. What a view
draws is not in it: the host has none. The second column is how long that thread computed between two ticks, which does
not grow with what else the machine does.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from command import Entry, parser, print_table, run
from panel_place import PanelPlace, head, small_model

GOAL, OPENING_GOAL = 0.05, 0.3  # seconds
MODELS = 40
BATCH_CASES, TRAINING_CASES = 2000, 1000
ROWS = 5000  # of losses.csv: a training of 100,000 steps
LARGE = (300, 512, 512)

Pauses = Iterator[tuple[str, tuple[float, float]]]


def opening(place: PanelPlace) -> Pauses:
    yield f"open the panel, {MODELS} models", place.pause(place.open)
    for name in ("train", "evaluate", "batch", "apply"):
        yield f"come to the tab {name.capitalize()}", place.pause(lambda name=name: place.show_tab(name))
    tab = place.tab("train")
    place.wait(lambda: tab.catalog.complete and not tab.catalog.asking)


def choosing(place: PanelPlace) -> Pauses:
    """Models and volumes in the Apply tab."""
    tab, volumes = place.show_tab("apply"), {"256³": head(256), "512²×300": head(LARGE)}

    def looked_at() -> bool:
        given = tab._given()
        return given is not None and tab.guard.compared == given.key()

    for size, volume in volumes.items():
        node = place.add(volume, size)

        def choose(node=node) -> None:
            tab.ui.inputSelector1.setCurrentNode(node)

        yield f"choose a volume of {size}", place.pause(choose, looked_at)

    def choose_row() -> None:
        tab.ui.modelList.currentRow = 3

    def search(words: str) -> None:
        tab.ui.modelSearchBox.text = words

    yield "choose a model", place.pause(choose_row, looked_at)
    yield "search for a model", place.pause(lambda: search("small-1"), looked_at)
    search("")
    for size in volumes:
        tab.ui.inputSelector1.setCurrentNode(_node(size))
        place.wait(looked_at)
        yield f"apply a model to {size}", place.pause(tab.ui.applyButton.click, lambda: not tab.running)
        _expect(tab.ui.statusLabel.text.startswith("Done"), tab.ui.statusLabel.text)


def looking(place: PanelPlace) -> Pauses:
    """What the result of a run can be looked at with."""
    from GANSynthesisLib.mrml.outputs import segmentation_to_node

    tab = place.show_tab("apply")
    first, second = place.add(head(256), "one"), place.add(head(256, turn=2.0), "other")
    tab.results.show({"target": second}, {"source": first}, [])
    for name, button in (("checkerboard", tab.ui.checkerboardButton), ("difference", tab.ui.differenceButton)):
        before = _volumes()
        yield f"{name} of 256³", place.pause(
            button.click, lambda before=before, button=button: _volumes() > before and button.enabled)
    labels = head(256)
    values = (labels.voxels > 0).astype(np.uint8) + (labels.voxels > 550)
    node = segmentation_to_node(replace(labels, voxels=values, label_names={1: "gray matter", 2: "white matter"}))
    tab.results.show({"segmentation": node}, {"source": first}, [])
    surface = "Closed surface"

    def shown() -> bool:
        return node.GetSegmentation().ContainsRepresentation(surface) and node.GetDisplayNode().GetVisibility3D()

    yield "show 3D, 2 segments of 256³", place.pause(tab.ui.show3DButton.click, shown)
    path = place.folder / "report.json"
    yield "save the report", place.pause(lambda: tab.results.save(str(path)), path.exists)


def evaluating(place: PanelPlace) -> Pauses:
    tab = place.show_tab("evaluate")
    tab.ui.resultSelector.setCurrentNode(place.add(head(256, turn=2.0), "result"))
    tab.ui.referenceSelector.setCurrentNode(place.add(head(256), "reference"))
    yield "evaluate 256³", place.pause(tab.ui.evaluateButton.click, lambda: not tab.running)
    _expect(tab.ui.statusLabel.text.startswith("Done"), tab.ui.statusLabel.text)


def listing(place: PanelPlace) -> Pauses:
    """A batch of many cases."""
    folder, tab = place.images("cases", BATCH_CASES), place.show_tab("batch")
    tab.ui.outputFolderButton.directory = str(place.folder / "results")

    def choose() -> None:
        tab.ui.inputFolderButton.directory = str(folder)

    def listed() -> bool:
        return tab.ui.casesTable.rowCount == BATCH_CASES and tab.ui.startButton.enabled

    yield f"list {BATCH_CASES} cases of a batch", place.pause(choose, listed)
    yield "come back to them", place.pause(tab.enter, listed)
    end = time.monotonic() + 15

    def worked() -> bool:
        if time.monotonic() > end and tab._run is not None and tab._run.state == "running":
            tab.ui.startButton.click()
        return time.monotonic() > end and tab._run is None and listed()

    yield "run and cancel them", place.pause(tab.ui.startButton.click, worked)


def training(place: PanelPlace) -> Pauses:
    """Data of a training: a folder of many cases, and volumes of the scene."""
    tab = place.show_tab("train")
    tab.ui.systemSelector.currentIndex = tab.ui.systemSelector.findData("paired")
    for role in ("source", "target"):
        folder = place.images(f"training/{role}", TRAINING_CASES).parent
    tab.ui.dataPathLineEdit.currentPath = str(folder)

    def checked(count: int) -> bool:
        return not tab.check.stage and len(tab.data.rows) == count

    yield f"check a folder of {TRAINING_CASES} cases", place.pause(
        tab.ui.checkButton.click, lambda: checked(TRAINING_CASES))
    tab.ui.sceneRadioButton.checked = True
    for role in ("source", "target"):
        item = place.scene_folder(role, [head(256), head(256, turn=1.0)])
        tab.data._selectors[role][0].setCurrentItem(item)
    yield "write 4 volumes of 256³ as cases", place.pause(tab.ui.checkButton.click, lambda: checked(2))
    tab.data.removeWritten()


def watching(place: PanelPlace) -> Pauses:
    """A panel that finds a long run, and the card of a model."""
    from PySide6 import QtCore

    tab, models = place.show_tab("train"), place.folder / "models"
    job = SimpleNamespace(arguments={"output": str(_long_run(models))}, log=[], finished=False, state="running")

    def shown() -> bool:
        curves = tab.watch._curves
        whole = curves is not None and curves.chart is not None and curves._shown == ROWS
        return whole and tab.watch._preview is not None

    timer = QtCore.QTimer(interval=20)  # the panel's own looks after runs that it has started
    timer.timeout.connect(tab.watch.poll)
    timer.start()
    yield f"{ROWS} rows of curves and a preview", place.pause(lambda: tab.watch.begin(job), shown)
    timer.stop()
    tab.watch._job = None
    path = small_model(models, "large", weights=8_000_000)
    tab.card.refresh("large")
    tab.ui.cardTitleLineEdit.text = "Another title"
    yield "save the card of a model of 32 MB", place.pause(
        tab.ui.saveCardButton.click, lambda: str(path) in tab.ui.cardStatusLabel.text)


GROUPS = {each.__name__: each for each in (choosing, looking, evaluating, listing, training, watching)}


def measure(only: str = "") -> list[Entry]:
    with tempfile.TemporaryDirectory() as name:
        for number in range(MODELS):
            small_model(Path(name) / "models", f"small-{number}")
        with PanelPlace.made(Path(name)) as place:
            found = list(opening(place))
            for group in [GROUPS[only]] if only else GROUPS.values():
                found += group(place)
                place.clear()
    rows = [(name, f"{1000 * wall:.0f}", f"{1000 * computing:.0f}") for name, (wall, computing) in found]
    print_table("Longest pause of the windows, per action (ms)", ("action", "pause", "computing"), rows)
    (_, opened), *others = found
    name, longest = max(others, key=lambda each: each[1])
    return [
        Entry("opening the panel", opened[0], OPENING_GOAL, "s", "peer: the goal; lower"),
        Entry("longest pause of all actions", longest[0], GOAL, "s", f"{name}; peer: the goal; lower"),
    ]


def _long_run(models: Path) -> Path:
    """Folder of a run with many rows of losses and one preview; gives the model that it makes."""
    from PIL import Image

    run_folder = models / "long.run"
    (run_folder / "previews").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 1536), np.uint8)).save(
        run_folder / "previews" / "step_100000.png")
    with (run_folder / "losses.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", *(f"term {number}" for number in range(10))])
        values = np.random.default_rng(0).random((ROWS, 10)).round(5)
        writer.writerows([20 * (row + 1), *each] for row, each in enumerate(values))
    return models / "long.safetensors"


def _node(name: str):
    import slicer

    return slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", name)


def _volumes() -> int:
    import slicer

    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")


def _expect(holds: bool, told: str) -> None:
    if not holds:
        raise RuntimeError(told)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", choices=GROUPS, default="", help="one group of actions alone")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.only))


if __name__ == "__main__":
    sys.exit(main())
