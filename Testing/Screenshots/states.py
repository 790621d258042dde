"""The states of the panel that are rendered: what a picture shows, and how the panel is brought there by its widgets.

The models are the shipped ones; the images are slabs of the average brain that `make demo` works on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import slicer
import vtk
from Demo.images import average_brain

from GANSynthesisLib import jobs
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.mrml import volume_to_node
from GANSynthesisLib.volumes import Grid, Volume, resample
from SlicerHost.host import handle_events

PATIENCE = 180.0  # seconds for a job, on one core


@dataclass(frozen=True)
class State:
    """name: of the pictures. shows: in words. reach(panel, folder): bring the panel there; folder is for files.

    refused: the panel is shown refusing, with an error that Slicer's console shows too.
    """

    name: str
    shows: str
    reach: Callable
    refused: bool = False


@cache
def slab(name: str, millimeters: float = 2.0) -> Volume:
    """A part of the average brain with isotropic voxels, 24 slices; "T2" is its T1 with the contrast turned round."""
    t1 = average_brain().t1
    grid = Grid.centred(t1.grid.centre_ras, (24, 96, 80), (millimeters,) * 3)
    found = resample(t1, grid)
    voxels = found.voxels if "T2" not in name else np.where(found.voxels > 0, found.voxels.max() - found.voxels, 0)
    return replace(found, voxels=voxels.astype(np.float32), name=name)


def add(name: str):
    """A node of a slab, in the scene."""
    return volume_to_node(slab(name))


def tab(panel, name: str):
    """Show a tab, as a click on it does; returns its widgets."""
    panel.widget.ui.tabWidget.currentIndex = list(panel.widget.tabs).index(name)
    handle_events(0.2)  # a few ticks of the panel's timer
    return panel.widget.tabs[name].ui


def until(condition, what: str) -> None:
    assert handle_events(PATIENCE, condition), what


def finished(worker: str = "apply") -> bool:
    """Whether a worker has done what it was asked last."""
    job = jobs.worker(worker).job
    return job is None or job.finished


def end_jobs() -> None:
    """Cancel what runs, so that the next state begins with idle workers."""
    for name in ("apply", "training"):
        if not finished(name):
            jobs.worker(name).job.cancel()

    def idle() -> bool:
        jobs.poll_all()
        return finished("apply") and finished("training")

    until(idle, "a canceled job does not end")


# --- Apply


def apply_empty(panel, folder):
    tab(panel, "apply")


def apply_ready(panel, folder):
    add("Patient 12 T1")
    panel.widget.enter()
    ui = tab(panel, "apply")
    assert ui.applyButton.enabled, ui.applyButton.toolTip


def apply_nothing_found(panel, folder):
    tab(panel, "apply").modelSearchBox.text = "lung CT"


def apply_registration(panel, folder):
    fixed, moving = add("Patient 12 T1"), add("Patient 12 T2")
    ui = tab(panel, "apply")
    ui.registerButton.click()
    ui.inputSelector1.setCurrentNode(fixed)
    ui.inputSelector2.setCurrentNode(moving)
    ui.advancedCollapsibleButton.collapsed = False
    assert ui.applyButton.enabled, ui.applyButton.toolTip


def apply_does_not_fit(panel, folder):
    volume = slab("Thick slices, in HU")
    coarse = resample(volume, Grid.centred(volume.grid.centre_ras, (6, 48, 40), (4.0, 4.0, 8.0)))
    volume_to_node(coarse.with_voxels(coarse.voxels * 40 - 1024, name=volume.name))
    panel.widget.enter()
    tab(panel, "apply")


def apply_running(panel, folder):
    volume_to_node(replace(average_brain().t1, name="Patient 12 T1"))  # whole: time to take its pictures
    panel.widget.enter()
    ui = tab(panel, "apply")
    ui.applyButton.click()
    until(lambda: 3 < ui.progressBar.value or ui.applyButton.text == "Apply", "the run does not get on")
    assert ui.applyButton.text == "Cancel", ui.statusLabel.text


def apply_to_the_end(panel):
    ui = panel.widget.tabs["apply"].ui
    ui.applyButton.click()
    until(lambda: ui.applyButton.text == "Apply", "the run does not end")
    assert jobs.worker("apply").job.state == "done", ui.statusLabel.text


def apply_done(panel, folder):
    apply_ready(panel, folder)
    apply_to_the_end(panel)


def apply_registered(panel, folder):
    apply_registration(panel, folder)
    panel.widget.tabs["apply"].ui.advancedCollapsibleButton.collapsed = True
    apply_to_the_end(panel)


def apply_error(panel, folder):
    volume = add("Patient 12 T1")
    slicer.util.arrayFromVolume(volume)[2, 3, 4] = np.nan
    volume.GetImageData().Modified()
    panel.widget.enter()
    ui = tab(panel, "apply")
    ui.applyButton.click()
    until(lambda: ui.applyButton.text == "Apply", "the run does not end")
    assert "Patient 12 T1" in ui.statusLabel.text


# --- Train


def training_folder(folder: Path, name: str, spoilt: bool = False) -> str:
    """Five cases of a paired training, small; one of them without its target where they are to be spoilt."""
    grid = Grid.centred(slab("T1").grid.centre_ras, (12, 48, 40), (4.0, 4.0, 4.0))
    for number in range(5):
        for role, image in (("source", "T1"), ("target", "T2")):
            if not (spoilt and number == 2 and role == "target"):
                (folder / name / role).mkdir(parents=True, exist_ok=True)
                write_volume(resample(slab(image), grid), folder / name / role / f"case{number + 1}.nii.gz")
    return str(folder / name)


def train_empty(panel, folder):
    ui = tab(panel, "train")
    until(lambda: ui.systemSelector.count > 0, "the methods are not listed")


def train_checked(panel, folder):
    train_empty(panel, folder)
    ui = panel.widget.tabs["train"].ui
    ui.systemSelector.currentIndex = ui.systemSelector.findData("paired")
    ui.dataPathLineEdit.currentPath = training_folder(folder, "spoilt cases", spoilt=True)
    ui.checkButton.click()
    until(lambda: ui.casesTable.rowCount >= 5 or (finished("training") and ui.checkButton.enabled), "no check")
    assert ui.casesTable.rowCount >= 5, ui.statusLabel.text


def start_training(panel, folder, steps: int):
    """A small network on small cases; returns the tab's widgets."""
    train_empty(panel, folder)
    ui = panel.widget.tabs["train"].ui
    ui.systemSelector.currentIndex = ui.systemSelector.findData("paired")
    ui.dataPathLineEdit.currentPath = training_folder(folder, "cases")
    ui.nameLineEdit.text = f"brain-{steps}-steps"
    ui.stepsSpinBox.value = steps
    slicer.util.findChild(ui.commonWidget, "width").value = 8
    slicer.util.findChild(ui.moreGroupBox, "patch").text = "48, 40"
    slicer.util.findChild(ui.moreGroupBox, "validate_every").value = 5
    assert ui.startButton.enabled, ui.startButton.toolTip
    ui.startButton.click()
    return ui


def train_running(panel, folder):
    ui = start_training(panel, folder, 5000)
    until(lambda: ui.previewTitleLabel.text or ui.startButton.text == "Start", "the training gives no preview")
    assert ui.startButton.text != "Start", ui.statusLabel.text


def train_done(panel, folder):
    ui = start_training(panel, folder, 10)
    until(lambda: ui.startButton.text == "Start", "the training does not end")
    ui.cardCollapsibleButton.collapsed = False
    assert ui.cardModelSelector.currentText == "brain-10-steps", ui.statusLabel.text


# --- Evaluate


def evaluate_empty(panel, folder):
    tab(panel, "evaluate")


def evaluate_done(panel, folder):
    result, reference = add("Patient 12 T1 [synthetic T2]"), add("Patient 12 T2")
    slicer.util.arrayFromVolume(result)[:] *= 0.95
    slicer.util.arrayFromVolumeModified(result)
    ui = tab(panel, "evaluate")
    ui.resultSelector.setCurrentNode(result)
    ui.referenceSelector.setCurrentNode(reference)
    assert ui.evaluateButton.enabled, ui.evaluateButton.toolTip
    ui.evaluateButton.click()
    until(lambda: ui.resultsCollapsibleButton.visible, "the evaluation does not end")


def evaluate_landmarks(panel, folder):
    nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name) for name in ("Fixed", "Moving")]
    for index in range(6):
        for shift, node in enumerate(nodes):
            node.AddControlPoint(vtk.vtkVector3d(10 * index, 3 * shift, index * shift))
    ui = tab(panel, "evaluate")
    ui.landmarksCollapsibleButton.collapsed = False
    ui.fixedLandmarksSelector.setCurrentNode(nodes[0])
    ui.movingLandmarksSelector.setCurrentNode(nodes[1])
    ui.evaluateButton.click()
    until(lambda: ui.resultsCollapsibleButton.visible, ui.statusLabel.text)


# --- Batch


def batch_empty(panel, folder):
    tab(panel, "batch")


def batch_ready(panel, folder, name="cases"):
    cases, results = folder / f"batch {name}", folder / f"results {name}"
    for path in (cases, results):
        path.mkdir(exist_ok=True)
    for number in range(4):
        write_volume(slab("T1"), cases / f"patient {number + 1}.nii.gz")
    (cases / "patient 5.nii.gz").write_bytes(b"not an image")
    ui = tab(panel, "batch")
    ui.modelSelector.currentIndex = ui.modelSelector.findData("brain-t1-to-t2")
    ui.inputFolderButton.directory = str(cases)
    ui.outputFolderButton.directory = str(results)
    until(lambda: ui.startButton.enabled, "the cases are not found")
    return ui


def batch_running(panel, folder):
    ui = batch_ready(panel, folder, "running")
    ui.startButton.click()
    until(lambda: ui.startButton.text == "Cancel", "the batch does not start")
    until(lambda: ui.progressBar.value > 20 or ui.startButton.text == "Start", "the batch does not get on")
    assert ui.startButton.text != "Start", ui.statusLabel.text


def batch_done(panel, folder):
    ui = batch_ready(panel, folder, "done")
    ui.startButton.click()
    until(lambda: ui.startButton.text == "Cancel", "the batch does not start")
    until(lambda: ui.startButton.text == "Start", "the batch does not end")
    assert ui.resultsLabel.visible, ui.statusLabel.text


STATES = (
    State("apply-empty", "an empty scene: Apply is off, and says why", apply_empty),
    State("apply-ready", "volume and model are chosen", apply_ready),
    State("apply-nothing-found", "a search without a hit", apply_nothing_found),
    State("apply-registration", "two inputs, landmarks and advanced settings of a registration", apply_registration),
    State("apply-does-not-fit", "an input unlike what the model was trained on", apply_does_not_fit),
    State("apply-running", "a run with progress; Apply is Cancel", apply_running),
    State("apply-done", "a synthetic volume was made", apply_done),
    State("apply-registered", "a registration was made", apply_registered),
    State("apply-error", "an input that cannot be used", apply_error, refused=True),
    State("train-empty", "a method, no data yet", train_empty),
    State("train-checked", "cases with a problem in one of them", train_checked),
    State("train-running", "a training with curves and preview", train_running),
    State("train-done", "a model was trained, and its card can be edited", train_done),
    State("evaluate-empty", "nothing is chosen", evaluate_empty),
    State("evaluate-done", "two volumes were compared", evaluate_done),
    State("evaluate-landmarks", "landmarks were compared", evaluate_landmarks),
    State("batch-empty", "no folder is chosen", batch_empty),
    State("batch-ready", "cases of a folder are listed", batch_ready),
    State("batch-running", "a batch goes on", batch_running),
    State("batch-done", "a batch has ended, with one case that failed", batch_done),
)
