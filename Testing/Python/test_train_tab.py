"""The Train tab in Testing/SlicerHost, on a real worker: cases, settings, a run stopped and resumed, a card."""

import json
import os
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from safetensors.torch import load_file
from synthetic_cases import head, write_cases

from GANSynthesisLib import jobs
from GANSynthesisLib import models as library
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.systems import names, system_class
from GANSynthesisLib.training.losses import write_losses
from SlicerHost import pythonqt
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

UI = Path(__file__).resolve().parents[2] / "GANSynthesis" / "Resources" / "UI" / "TrainTab.ui"
SMALL = {
    "context": "2D", "patch": [16, 16], "width": 4, "levels": 2, "batch": 2, "warmup": 0, "validation_fraction": 0.4,
    "validate_every": 120, "checkpoint_every": 1000,
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A host with an empty scene, no shipped models, and a folder for the user's models."""
    monkeypatch.setattr(library, "shipped_models_folder", lambda: tmp_path / "none shipped")
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path / "models"))
    start_host()
    start_scene()
    monkeypatch.setattr("GANSynthesisLib.panel.train_watch._EVERY", 0.05)
    pythonqt.slot_errors.clear()
    yield tmp_path
    assert not pythonqt.slot_errors


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    yield
    for name in ("training", "short"):
        jobs.worker(name).stop()


@pytest.fixture
def cases(tmp_path):
    return write_cases(tmp_path / "cases", 6, shape=(4, 24, 20))


class Opened:
    """A Train tab, as the panel makes it."""

    def __init__(self):
        from GANSynthesisLib.panel.train_tab import TrainTab

        self.widget = slicer.util.loadUI(str(UI))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.tab = TrainTab(self.widget, None)
        self.ui = self.tab.ui
        self.tab.enter()

    def until(self, reached, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, (self.ui.statusLabel.text, self.tab.worker.job)
            self.tab.poll()
            time.sleep(0.01)

    def choose(self, system: str) -> None:
        self.until(lambda: self.tab.catalog.complete and not self.tab.catalog.asking)
        self.ui.systemSelector.currentIndex = self.ui.systemSelector.findData(system)

    def checked(self) -> None:
        self.ui.checkButton.click()
        self.until(lambda: not self.tab.check.stage)


@pytest.fixture
def opened():
    made = []

    def make() -> Opened:
        made.append(Opened())
        return made[-1]

    yield make
    for each in made:
        each.tab.close()
    worker = jobs.worker("training")
    if worker.job is not None:
        worker.job.cancel()
        end = time.monotonic() + 30
        while not worker.job.finished and time.monotonic() < end:
            worker.poll()
            time.sleep(0.01)
        worker.job = None


def nodes_of(class_name: str) -> list:
    return slicer.util.getNodesByClass(class_name)


def set_up(panel: Opened, data: Path, steps: int = 120) -> None:
    panel.choose("paired")
    panel.tab.form.setValues(SMALL)
    panel.ui.stepsSpinBox.value = steps
    panel.ui.deviceSelector.currentIndex = panel.ui.deviceSelector.findText("cpu")
    panel.ui.nameLineEdit.text = "tiny"
    panel.ui.dataPathLineEdit.currentPath = str(data)


def test_a_run_is_started_stopped_found_again_resumed_and_finished(opened, cases, place):
    first = opened()
    set_up(first, cases, steps=240)
    assert first.ui.startButton.text == "Start" and first.ui.startButton.enabled, first.ui.startButton.toolTip
    first.ui.startButton.click()
    first.until(lambda: first.tab.training)
    assert first.ui.startButton.text == "Stop" and not first.ui.settingsWidget.enabled
    first.until(lambda: first.ui.curvesButton.enabled)

    second = opened()  # the panel is reloaded in the middle
    first.tab.close()
    assert second.tab.training and second.ui.nameLineEdit.text == "tiny"
    assert second.tab.form.values() == SMALL and second.ui.stepsSpinBox.value == 240
    assert second.ui.dataPathLineEdit.currentPath == str(cases)
    second.until(lambda: second.ui.curvesButton.enabled)
    assert [node.GetName() for node in nodes_of("vtkMRMLPlotChartNode")] == ["tiny losses"]

    second.ui.startButton.click()
    second.until(lambda: not second.tab.training)
    assert second.ui.statusLabel.text == "Stopped. Resume goes on from there."
    run = place / "models" / "tiny.run"
    reached = [int(row.split(",")[0]) for row in (run / "losses.csv").read_text().split("\n")[1:] if row]
    assert 20 <= max(reached) < 240
    assert "unfinished run 'tiny'" in tool_tip_for_name(second, "tiny")

    third = opened()
    assert not third.ui.resumeButton.isHidden() and third.ui.resumeSelector.currentText == "tiny"
    third.until(lambda: third.ui.resumeButton.enabled)
    third.ui.resumeButton.click()
    third.until(lambda: not third.tab.training)
    assert third.ui.statusLabel.text.startswith("Done: the model 'tiny'"), third.ui.statusLabel.text
    assert [model.card.name for model in library.list_models()] == ["tiny"]
    assert not third.ui.previewLabel.isHidden() and third.ui.previewTitleLabel.text == "Step 240:"
    assert third.ui.resumeButton.isHidden() and third.ui.cardModelSelector.currentText == "tiny"
    shown = nodes_of("vtkMRMLTableNode")[0].GetTable().GetColumnByName("step")
    assert [shown.GetValue(row) for row in range(shown.GetNumberOfValues())] == [20 * n for n in range(1, 13)]
    assert "already" in tool_tip_for_name(third, "tiny")
    assert third.ui.nameLineEdit.text == "paired"


def tool_tip_for_name(panel: Opened, name: str) -> str:
    panel.until(lambda: panel.tab.worker.state == "idle")
    before, panel.ui.nameLineEdit.text = panel.ui.nameLineEdit.text, name
    told = panel.ui.startButton.toolTip
    assert not panel.ui.startButton.enabled
    panel.ui.nameLineEdit.text = before
    return told


def test_a_closed_scene_takes_the_curves_and_a_running_training_brings_them_back(opened, cases):
    panel = opened()
    set_up(panel, cases, steps=100000)
    panel.ui.startButton.click()
    panel.until(lambda: panel.ui.curvesButton.enabled)
    panel.tab.sceneClosing()
    slicer.mrmlScene.Clear(0)
    assert panel.tab.training and not nodes_of("vtkMRMLPlotChartNode") and not panel.ui.curvesButton.enabled
    panel.until(lambda: panel.ui.curvesButton.enabled)
    panel.ui.startButton.click()
    panel.until(lambda: not panel.tab.training)
    panel.tab.sceneClosing()
    slicer.mrmlScene.Clear(0)
    for _ in range(20):
        panel.tab.poll()
        time.sleep(0.01)
    assert not nodes_of("vtkMRMLPlotChartNode") and not nodes_of("vtkMRMLTableNode")


def test_the_table_marks_what_cannot_be_trained_on_and_it_can_be_left_out(opened, cases):
    (cases / "target" / "sub-01.nii.gz").unlink()
    (cases / "source" / "sub-02.nii.gz").write_bytes(b"no image")
    write_volume(head(3, (4, 24, 20), np.diag([1.5, 1.5, 3, 1])), cases / "target" / "sub-03.nii.gz")
    panel = opened()
    set_up(panel, cases, steps=5)
    panel.checked()
    shown = [[panel.ui.casesTable.item(row, column).text() for column in range(3)] for row in range(6)]
    assert [row[0] for row in shown] == ["✖ sub-01", "✖ sub-02", "sub-00", "sub-03", "sub-04", "sub-05"]
    assert "no file for target" in shown[0][2] and "cannot be read" in shown[1][2] and shown[3][2] == ""
    assert panel.ui.casesLabel.text == "6 cases of 6 subjects, 2 cannot be trained on."
    panel.until(lambda: panel.tab.worker.state == "idle")
    assert not panel.ui.startButton.enabled and "leave them out" in panel.ui.startButton.toolTip
    panel.ui.leaveOutCheckBox.checked = True
    assert panel.ui.startButton.enabled, panel.ui.startButton.toolTip
    panel.ui.startButton.click()
    panel.until(lambda: not panel.tab.training)
    training = library.load_model("tiny").card.training
    assert sorted(training["subjects"] + training["held_out_subjects"]) == ["sub-00", "sub-03", "sub-04", "sub-05"]


def test_what_was_found_is_forgotten_when_the_choice_changes(opened, cases):
    panel = opened()
    set_up(panel, cases)
    panel.checked()
    assert not panel.ui.casesTable.isHidden()
    panel.tab.form.setValues({**SMALL, "patch": [24, 24]})
    assert panel.ui.casesTable.isHidden()
    panel.ui.dataPathLineEdit.currentPath = str(cases / "nowhere")
    assert not panel.ui.checkButton.enabled and "nowhere" in panel.ui.checkButton.toolTip


def test_data_that_fit_no_role_are_told_in_one_sentence(opened, place):
    (place / "empty").mkdir()
    panel = opened()
    set_up(panel, place / "empty")
    panel.ui.startButton.click()
    panel.until(lambda: not panel.tab.check.stage)
    assert "has no files for the role 'source'" in panel.ui.statusLabel.text
    assert not panel.tab.training


def test_settings_of_every_system_come_back_from_the_form_as_they_went_in(opened):
    panel = opened()
    for name in names():
        panel.choose(name)
        form, settings = panel.tab.form, system_class(name).Settings
        assert form.problem() == "" and form.values() == {}, name
        changed = {}
        for entry in settings.describe():
            default, low, high = entry["default"], entry["low"], entry["high"]
            if entry["choices"] and len(entry["choices"]) > 1:
                changed[entry["name"]] = next(each for each in entry["choices"] if each != default)
            elif entry["type"] == "bool":
                changed[entry["name"]] = not default
            elif entry["type"] in ("int", "float") and low != high:
                changed[entry["name"]] = high if default != high else low
            elif entry["type"] == "str" and not entry["choices"]:
                changed[entry["name"]] = "window:0:255"
            elif entry["type"] == "list of str":
                changed[entry["name"]] = ["one", "two", "three"]
        form.setValues(changed)
        assert form.values() == changed, name
        system_class(name).Settings.parse(form.values())
        form.setValues({})
        assert form.values() == {}, name


def test_a_wrong_setting_is_named_under_the_form_and_holds_start_back(opened, cases):
    panel = opened()
    set_up(panel, cases)
    rate = next(each for each in panel.ui.commonWidget.children() if each.name == "learning_rate")
    assert "1e-07 to 1" in rate.toolTip
    rate.text = "fast"
    assert panel.ui.settingsProblemLabel.text == "Learning_rate must be float, not 'fast'."
    assert not panel.ui.startButton.enabled and "learning_rate" in panel.ui.startButton.toolTip.lower()
    rate.text = "1e-3"
    assert panel.ui.settingsProblemLabel.isHidden() and panel.ui.startButton.enabled
    assert panel.tab.form.values()["learning_rate"] == 1e-3


def test_the_scene_is_asked_for_every_source_that_the_settings_name(opened):
    panel = opened()
    panel.choose("paired")
    panel.ui.sceneRadioButton.checked = True
    assert "for 'source'" in panel.ui.startButton.toolTip
    panel.tab.form.setValues({"sources": ["T1", "FLAIR"]})
    assert [role for role, _item in panel.tab.data.choice()] == ["T1", "FLAIR", "target"]
    panel.choose("cyclegan")
    assert [role for role, _item in panel.tab.data.choice()] == ["source", "target", "labels"]


def test_volumes_of_the_scene_become_cases_that_go_when_the_model_is_there(opened, place):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folders = {role: hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), role) for role in ("source", "target")}
    for number in range(3):
        for role, folder in folders.items():
            volume = head(number, (2, 20, 20))
            node = slicer.util.addVolumeFromArray(volume.voxels, name=f"{role} {number}")
            hierarchy.CreateItem(folder, node)
    panel = opened()
    set_up(panel, "", steps=6)
    panel.ui.sceneRadioButton.checked = True
    assert "for 'source'" in panel.ui.startButton.toolTip
    for role, folder in folders.items():
        panel.tab.data._selectors[role][0].setCurrentItem(folder)
    panel.until(lambda: panel.ui.startButton.enabled)
    panel.ui.startButton.click()
    panel.until(lambda: panel.tab.training)
    assert (place / "models" / "tiny.data").is_dir()
    panel.until(lambda: not panel.tab.training)
    assert library.load_model("tiny").card.training["cases"] == 2, "two of three cases; one is for validation"
    assert sorted(path.name for path in (place / "models").iterdir()) == ["tiny.run", "tiny.safetensors"]


@pytest.mark.parametrize("how", ["sceneClosing", "close"])
def test_a_scene_that_is_closed_while_its_volumes_are_written_leaves_no_file(opened, place, how):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folders = {role: hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), role) for role in ("source", "target")}
    for number in range(4):
        for role, folder in folders.items():
            node = slicer.util.addVolumeFromArray(head(number, (60, 200, 200)).voxels, name=f"{role} {number}")
            hierarchy.CreateItem(folder, node)
    panel = opened()
    set_up(panel, "", steps=6)
    panel.ui.sceneRadioButton.checked = True
    for role, folder in folders.items():
        panel.tab.data._selectors[role][0].setCurrentItem(folder)
    panel.until(lambda: panel.ui.checkButton.enabled)
    panel.ui.checkButton.click()
    panel.until(lambda: list((place / "models").rglob("*.nii")))
    panel.until(lambda: panel.tab.worker.state == "running")
    getattr(panel.tab, how)()
    slicer.mrmlScene.Clear(0)
    panel.until(lambda: panel.tab.worker.state == "idle")
    assert panel.tab.check.stage == "" and list((place / "models").iterdir()) == []
    assert not list(Path(tempfile.gettempdir()).glob(f"gansynthesis-{os.getpid()}-*"))


def test_a_thousand_cases_are_all_shown_those_with_problems_first(opened):
    panel, rows = opened(), []
    for number in range(1000):
        problem = "It is broken." if number % 300 == 7 else ""
        rows.append({"name": f"case-{number:04d}", "subject": str(number), "files": {"source": "a.nii"},
                     "problem": problem, "remark": ""})
    panel.tab.data.showRows(rows)
    panel.until(lambda: panel.tab.data.table.filled)
    shown = [panel.ui.casesTable.item(row, 0).text() for row in range(panel.ui.casesTable.rowCount)]
    broken = [row["name"] for row in rows if row["problem"]]
    assert shown[: len(broken)] == [f"✖ {name}" for name in broken]
    assert shown[len(broken):] == [row["name"] for row in rows if not row["problem"]]


def test_a_panel_that_finds_a_long_run_plots_all_of_it_some_rows_in_each_look(opened, place):
    run = place / "models" / "long.run"
    run.mkdir(parents=True)
    write_losses(run / "losses.csv", [{"step": 20.0 * n, "generator/l1": 1.0 / n} for n in range(1, 1801)])
    panel, looks = opened(), []
    job = types.SimpleNamespace(arguments={"output": str(place / "models" / "long.safetensors")}, log=[],
                                finished=False, state="running", error="")
    panel.tab.watch.begin(job)
    for _ in range(8):
        panel.tab.watch.poll()
        tables = nodes_of("vtkMRMLTableNode")
        looks.append(tables[0].GetNumberOfRows() if tables else 0)
    assert looks == sorted(looks) and looks[-1] == 1800 and max(np.diff([0, *looks])) <= 500
    steps = nodes_of("vtkMRMLTableNode")[0].GetTable().GetColumnByName("step")
    assert [steps.GetValue(row) for row in range(1800)] == [20 * n for n in range(1, 1801)]


def test_the_card_is_saved_and_the_weights_stay_the_same_bits(opened, cases, place):
    panel = opened()
    set_up(panel, cases, steps=2)
    panel.ui.startButton.click()
    panel.until(lambda: panel.tab.training)
    panel.until(lambda: not panel.tab.training)
    path = place / "models" / "tiny.safetensors"
    before, file = {name: value.numpy().tobytes() for name, value in load_file(path).items()}, path.read_bytes()
    panel.ui.cardTitleLineEdit.text = "Köpfe: T1 to T2"
    panel.ui.cardDescriptionTextEdit.plainText = "For tests."
    panel.ui.cardLicenceLineEdit.text = "CC BY 4.0"
    next(each for each in panel.ui.cardPortsWidget.children() if each.name == "input_source").text = "T1"
    panel.ui.saveCardButton.click()
    assert panel.ui.cardStatusLabel.text == "Saving…" and path.read_bytes() == file
    assert not panel.ui.saveCardButton.enabled and "being saved" in panel.ui.saveCardButton.toolTip
    assert not panel.ui.cardTitleLineEdit.enabled and not panel.ui.cardModelSelector.enabled
    panel.until(lambda: panel.ui.saveCardButton.enabled)
    assert str(path) in panel.ui.cardStatusLabel.text
    card = library.load_model("tiny").card
    assert (card.title, card.description, card.licence) == ("Köpfe: T1 to T2", "For tests.", "CC BY 4.0")
    assert card.input("source").modality == "T1"
    assert {name: value.numpy().tobytes() for name, value in load_file(path).items()} == before
    assert path.read_bytes() != file and library.load_model("tiny").build() is not None
    panel.ui.cardTitleLineEdit.text = ""
    panel.ui.saveCardButton.click()
    assert "title" in panel.ui.cardStatusLabel.text and library.load_model("tiny").card == card


def test_a_failed_run_says_what_to_try(opened, cases):
    image = sitk.ReadImage(str(cases / "source" / "sub-00.nii.gz"))
    panel = opened()
    set_up(panel, cases, steps=200)
    panel.tab.form.setValues({**SMALL, "learning_rate": 1.0, "optimizer": "rmsprop", "checkpoint_every": 1})
    voxels = sitk.GetArrayFromImage(image) * np.nan
    broken = sitk.GetImageFromArray(voxels)
    broken.CopyInformation(image)
    sitk.WriteImage(broken, str(cases / "source" / "sub-00.nii.gz"))
    panel.ui.startButton.click()
    panel.until(lambda: panel.tab.training)
    panel.until(lambda: not panel.tab.training)
    assert "sub-00" in panel.ui.statusLabel.text and "sub-00" in panel.ui.alertsLabel.text


def test_an_unfinished_run_is_discarded_when_the_user_agrees(opened, place, monkeypatch):
    run = place / "models" / "old.run"
    run.mkdir(parents=True)
    (run / "checkpoint.pt").touch()
    (run / "resume.json").write_text(json.dumps({"output": str(run.with_suffix(".safetensors")), "data": "x"}))
    panel = opened()
    assert panel.ui.resumeSelector.currentText == "old"
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    panel.until(lambda: panel.ui.discardButton.enabled)
    panel.ui.discardButton.click()
    assert run.exists()
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: "old" in text)
    panel.ui.discardButton.click()
    assert not run.exists() and panel.ui.resumeButton.isHidden()
