"""The Batch tab in Testing/SlicerHost, by clicks: files through a real worker, volumes of the scene, going on."""

import os
import signal
import types
from pathlib import Path

import pytest
import slicer
from batch_fixtures import files_in, write_heads, write_model
from panel_fixtures import add_volume
from synthetic_cases import head, write_pairs

from GANSynthesisLib import jobs, steps
from GANSynthesisLib.batch import read_record
from GANSynthesisLib.batch.lock import locked
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.models import list_models
from GANSynthesisLib.mrml import read_provenance
from SlicerHost import pythonqt
from SlicerHost.host import handle_events

UI = Path(__file__).resolve().parents[2] / "GANSynthesis" / "Resources" / "UI" / "BatchTab.ui"


class Tab:
    """The tab as the panel has it: its widget, and the timer that polls it."""

    def __init__(self):
        from GANSynthesisLib.panel.batch_tab import BatchTab

        self.reason = ""
        self.widget = slicer.util.loadUI(str(UI))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.tab = BatchTab(self.widget, types.SimpleNamespace(models=list_models), lambda: self.reason)
        self.ui = self.tab.ui
        self.widget.show()
        self.tab.enter()

    def choose(self, place, model="t1-t2"):
        self.ui.modelSelector.currentIndex = self.ui.modelSelector.findData(model)
        self.ui.inputFolderButton.directory = str(place / "in")
        self.ui.outputFolderButton.directory = str(place / "out")

    def choose_item(self, item):
        self.ui.sourceSelector.currentIndex = self.ui.sourceSelector.findData("scene")
        self.ui.itemSelector.setCurrentItem(item)

    def rows(self):
        table = self.ui.casesTable
        return [tuple(table.item(row, column).text() for column in range(3)) for row in range(table.rowCount)]

    def states(self):
        return {name: state for name, state, message in self.rows()}

    def wait(self, until=lambda: False, seconds=60.0):
        """Poll until something holds, or the run has ended."""

        def over():
            jobs.poll_all()
            self.tab.poll()
            return until() or self.tab._run is None

        handle_events(seconds, over)
        assert over(), f"still waiting: {self.ui.statusLabel.text}"

    def start(self):
        self.ui.startButton.click()
        assert pythonqt.slot_errors == []


@pytest.fixture
def place(place):
    write_model(place / "models", "t1-t2")
    write_heads(place / "in", "a", "c")
    (place / "in" / "b.nii.gz").write_bytes(b"no image")
    return place


@pytest.fixture
def opened(place):
    made = []

    def open_tab():
        made.append(Tab())
        return made[-1]

    yield open_tab
    for each in made:
        each.tab.close()
    worker = jobs.worker("apply")
    if worker.state != "idle":
        worker.job.cancel()
        handle_events(30, lambda: worker.poll() or worker.state == "idle")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Few cases are found at once, however busy the machine is."""
    monkeypatch.setattr(steps, "SLICE", 5.0)


@pytest.fixture
def hurried(unhurried, monkeypatch):
    monkeypatch.setattr(steps, "SLICE", 0.005)


@pytest.fixture(scope="module", autouse=True)
def no_worker_is_left():
    yield
    jobs.stop_all()


def folder_item(*nodes):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patients")
    for node in nodes:
        hierarchy.CreateItem(item, node)
    return item


# What is asked for


def test_start_says_what_is_missing_step_by_step(opened, place):
    tab = opened()
    tip = lambda: tab.ui.startButton.toolTip  # noqa: E731
    assert not tab.ui.startButton.enabled and "Choose the input folder" in tip()
    tab.ui.inputFolderButton.directory = str(place / "in")
    assert "Choose the output folder" in tip()
    tab.ui.outputFolderButton.directory = str(place / "in" / "results")
    assert "lies in the input folder" in tip() and tab.ui.statusLabel.text == tip()
    tab.ui.outputFolderButton.directory = str(place / "out")
    assert tab.ui.startButton.enabled and "Do the cases that are left" in tip()
    assert tab.rows() == [("a", "Waiting", ""), ("b", "Waiting", ""), ("c", "Waiting", "")]
    assert "T1 → T2" in tab.ui.modelSummaryLabel.text
    assert not (place / "out").exists()


def test_without_models_or_packages_start_is_off_and_says_why(opened, place):
    tab = opened()
    tab.choose(place)
    tab.reason = "PyTorch is missing."
    tab.tab.enter()
    assert (tab.ui.startButton.enabled, tab.ui.startButton.toolTip) == (False, "PyTorch is missing.")
    (place / "models" / "t1-t2.safetensors").unlink()
    tab.tab.enter()
    assert "No model is installed" in tab.ui.startButton.toolTip and tab.rows() == []


def test_the_form_shows_what_the_source_needs(opened):
    tab = opened()
    shown = lambda: (tab.ui.inputFolderButton.visible, tab.ui.outputFolderButton.visible,  # noqa: E731
                     tab.ui.itemSelector.visible)
    assert shown() == (True, True, False)
    tab.ui.sourceSelector.currentIndex = tab.ui.sourceSelector.findData("scene")
    assert shown() == (False, False, True) and "scene folder" in tab.ui.startButton.toolTip


def test_another_job_keeps_start_off_until_it_has_ended(opened, place, monkeypatch):
    tab = opened()
    tab.choose(place)
    worker = types.SimpleNamespace(state="running", job=None)
    monkeypatch.setattr(jobs, "worker", lambda name: worker)
    tab.tab.poll()
    assert not tab.ui.startButton.enabled and "Another job is running" in tab.ui.startButton.toolTip
    worker.state = "idle"
    tab.tab.poll()
    assert tab.ui.startButton.enabled


# Many cases


def many(folder: Path, *names: str) -> Path:
    """Files that are listed, and never read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.nii").touch()
    return folder


def listed(tab) -> None:
    handle_events(60, lambda: tab.tab.poll() or (tab.ui.startButton.enabled and tab.tab.table.filled))


def test_two_thousand_cases_are_listed_whole_and_in_order_without_standing_still(opened, place, hurried):
    names = [f"case-{number:04d}" for number in range(2000)]
    many(place / "many", *names)
    tab = opened()
    tab.ui.outputFolderButton.directory = str(place / "out")
    tab.ui.inputFolderButton.directory = str(place / "many")
    assert tab.ui.statusLabel.text == "Looking at the cases…" and not tab.ui.startButton.enabled
    assert tab.ui.startButton.toolTip == "Looking at the cases…" and tab.rows() == []
    polls = 0
    while not (tab.ui.startButton.enabled and tab.tab.table.filled):
        tab.tab.poll()
        polls += 1
    assert polls > 2
    assert [row[:2] for row in tab.rows()] == [(name, "Waiting") for name in names]
    assert tab.ui.statusLabel.text == "2000 cases, of which 0 are done."


def test_another_choice_drops_the_list_that_is_being_made(opened, place, hurried):
    many(place / "first", *[f"old-{number:04d}" for number in range(1500)])
    many(place / "second", *[f"new-{number:03d}" for number in range(300)])
    tab = opened()
    tab.ui.outputFolderButton.directory = str(place / "out")
    tab.ui.inputFolderButton.directory = str(place / "first")
    assert tab.ui.statusLabel.text == "Looking at the cases…"
    tab.ui.inputFolderButton.directory = str(place / "second")
    listed(tab)
    assert [row[0] for row in tab.rows()] == [f"new-{number:03d}" for number in range(300)]
    tab.ui.inputFolderButton.directory = str(place / "first")
    handle_events(60, lambda: tab.tab.poll() or tab.ui.startButton.enabled)
    assert not tab.tab.table.filled, "the rows are still being written"
    tab.ui.inputFolderButton.directory = str(place / "in")
    listed(tab)
    assert [row[0] for row in tab.rows()] == ["a", "b", "c"]


def test_start_is_given_up_where_something_else_is_chosen_while_cases_are_looked_at(opened, place, hurried):
    many(place / "many", *[f"case-{number:04d}" for number in range(1500)])
    tab = opened()
    tab.ui.outputFolderButton.directory = str(place / "out")
    tab.ui.inputFolderButton.directory = str(place / "many")
    listed(tab)
    tab.ui.startButton.click()
    assert tab.ui.statusLabel.text == "Looking at the cases…"
    tab.ui.inputFolderButton.directory = str(place / "in")
    listed(tab)
    assert not tab.tab.running and tab.ui.startButton.text == "Start" and len(tab.rows()) == 3


def test_a_batch_into_a_folder_that_another_one_writes_into_is_refused_in_one_sentence(opened, place):
    (place / "out").mkdir()
    tab = opened()
    tab.choose(place)
    with locked(place / "out"):
        tab.start()
        tab.wait()
    assert tab.ui.statusLabel.text.startswith("Another batch is writing into ")
    assert set(tab.states().values()) == {"Waiting"} and files_in(place / "out") == []
    tab.start()
    tab.wait()
    assert tab.states()["a"] == "Done"


# Files


def test_a_folder_is_worked_through_case_by_case_and_goes_on(opened, place):
    tab = opened()
    tab.choose(place)
    tab.start()
    assert (tab.ui.startButton.text, tab.ui.progressBar.visible) == ("Cancel", True)
    assert not tab.ui.casesCollapsibleButton.enabled and "cancel it" in tab.ui.casesCollapsibleButton.toolTip
    seen = set()
    tab.wait(lambda: seen.update(tab.states().items()))
    assert tab.states() == {"a": "Done", "b": "Failed", "c": "Done"}
    assert "cannot be read as a volume" in tab.rows()[1][2]
    assert tab.ui.statusLabel.text == "2 of 3 cases are done, 1 failed, 0 are left."
    assert files_in(place / "out") == ["a.json", "a_target.nii.gz", "batch.json", "c.json", "c_target.nii.gz"]
    assert (place / "out").as_uri() in tab.ui.resultsLabel.text and tab.ui.resultsLabel.visible
    assert (tab.ui.startButton.text, tab.ui.startButton.enabled, tab.ui.progressBar.visible) == ("Start", True, False)
    write_volume(head(3), place / "in" / "b.nii.gz")
    tab.start()
    tab.wait()
    assert tab.states() == {"a": "Done", "b": "Done", "c": "Done"}
    assert not tab.ui.startButton.enabled and "'Do all cases anew'" in tab.ui.startButton.toolTip
    tab.ui.restartCheckBox.checked = True
    assert tab.ui.startButton.enabled and set(tab.states().values()) == {"Waiting"}


def test_stopping_keeps_what_is_done_and_start_goes_on(opened, place):
    names = [f"case-{number:02d}" for number in range(30)]
    write_heads(place / "in", *names)
    tab = opened()
    tab.choose(place)
    tab.start()
    tab.wait(lambda: tab.states()["a"] == "Done")
    tab.ui.startButton.click()
    assert tab.ui.statusLabel.text == "Canceling…"
    tab.wait()
    states = tab.states()
    assert states["a"] == "Done" and states[names[-1]] == "Waiting" and "Running" not in states.values()
    assert tab.ui.statusLabel.text.startswith("Canceled: ") and tab.ui.startButton.enabled
    done = [name for name, state in states.items() if state == "Done"]
    made = [name for name in files_in(place / "out") if name.endswith(".nii.gz")]
    assert made == [f"{name}_target.nii.gz" for name in sorted(done)]
    before = (place / "out" / "a_target.nii.gz").stat().st_mtime_ns
    tab.start()
    tab.wait()
    assert list(tab.states().values()).count("Done") == 32
    assert (place / "out" / "a_target.nii.gz").stat().st_mtime_ns == before


def test_a_killed_worker_is_told_in_one_sentence_and_the_next_start_goes_on(opened, place):
    write_heads(place / "in", *[f"case-{number:02d}" for number in range(30)])
    tab = opened()
    tab.choose(place)
    tab.start()
    tab.wait(lambda: tab.states()["a"] == "Done")
    os.kill(jobs.worker("apply").pid, signal.SIGKILL)
    tab.wait()
    assert tab.ui.statusLabel.text.startswith("The worker process ")
    assert "are left." in tab.ui.statusLabel.text and "Running" not in tab.states().values()
    (place / "in" / "b.nii.gz").unlink()
    tab.start()
    tab.wait()
    assert set(tab.states().values()) == {"Done"}
    assert not [name for name in files_in(place / "out") if name.startswith(".")]


def test_a_batch_survives_the_reload_of_the_panel(opened, place):
    write_heads(place / "in", *[f"case-{number:02d}" for number in range(30)])
    first = opened()
    first.choose(place)
    first.ui.seedSpinBox.value = 5
    first.start()
    first.wait(lambda: first.states()["a"] == "Done")
    first.tab.close()
    second = opened()
    assert second.ui.startButton.text == "Cancel" and second.states()["a"] == "Done"
    assert (second.ui.inputFolderButton.directory, second.ui.seedSpinBox.value) == (str(place / "in"), 5)
    second.wait()
    assert list(second.states().values()).count("Done") == 32
    assert read_record(place / "out").settings["seed"] == 5


def test_a_batch_of_other_settings_is_refused_before_it_starts(opened, place):
    tab = opened()
    tab.choose(place)
    tab.start()
    tab.wait()
    tab.ui.seedSpinBox.value = 1
    assert not tab.ui.startButton.enabled and "other settings (seed)" in tab.ui.startButton.toolTip
    tab.ui.restartCheckBox.checked = True
    tab.start()
    tab.wait()
    assert read_record(place / "out").settings["seed"] == 1
    assert not tab.ui.restartCheckBox.checked, "the next start goes on"


def test_pairs_of_files_are_registered(opened, place):
    write_model(place / "models", "align")
    write_pairs(place / "pairs" / "in", 1)
    tab = opened()
    tab.choose(place / "pairs", "align")
    tab.start()
    tab.wait()
    assert tab.states() == {"sub-00": "Done"}
    assert {"sub-00_transform.h5", "sub-00_warped.nii.gz"} <= set(files_in(place / "pairs" / "out"))


# Volumes of the scene


def test_volumes_of_a_scene_folder_get_results_beside_them(opened):
    good, other = add_volume("Anna"), add_volume("Cleo")
    flat = add_volume("Bert")
    slicer.util.arrayFromVolume(flat)[:] = 7
    slicer.util.arrayFromVolumeModified(flat)
    item = folder_item(good, flat, other)
    tab = opened()
    tab.choose_item(item)
    assert tab.states() == {"Anna": "Waiting", "Bert": "Waiting", "Cleo": "Waiting"}
    tab.start()
    tab.wait()
    assert tab.states() == {"Anna": "Done", "Bert": "Failed", "Cleo": "Done"}
    assert "the same value 7" in tab.rows()[1][2] and tab.rows()[0][2] == "Anna [synthetic T2]"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    result = slicer.util.getNode("Cleo [[]synthetic T2]")
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == item
    assert read_provenance(result)["Model"] == "t1-t2"
    tab.tab.enter()
    assert tab.states() == {"Anna": "Done", "Bert": "Waiting", "Cleo": "Done"}, "results are no cases"
    slicer.util.arrayFromVolume(flat)[2:5, 5:30, 5:30] = 300
    tab.start()
    tab.wait()
    assert set(tab.states().values()) == {"Done"}
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 6
    assert not tab.ui.startButton.enabled
    tab.ui.restartCheckBox.checked = True
    assert tab.ui.startButton.enabled


def test_stopping_or_closing_the_scene_leaves_whole_results_only(opened):
    volumes = [add_volume(f"P{number}") for number in range(3)]
    tab = opened()
    tab.choose_item(folder_item(*volumes))
    tab.start()
    tab.wait(lambda: tab.states()["P0"] == "Done")
    tab.ui.startButton.click()
    tab.wait()
    assert tab.states() == {"P0": "Done", "P1": "Waiting", "P2": "Waiting"}
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 4
    tab.start()
    tab.wait(lambda: jobs.worker("apply").state == "running")
    tab.tab.sceneClosing()
    slicer.mrmlScene.Clear()
    assert jobs.worker("apply").job.cancel_requested
    assert tab.rows() == [] and tab.ui.startButton.text == "Start" and not tab.ui.startButton.enabled
    handle_events(20, lambda: jobs.poll_all() or jobs.worker("apply").state == "idle")
    tab.tab.poll()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_a_volume_removed_meanwhile_is_told_and_the_others_are_done(opened):
    first, second = add_volume("First"), add_volume("Second")
    tab = opened()
    tab.choose_item(folder_item(first, second))
    tab.start()
    slicer.mrmlScene.RemoveNode(second)
    tab.wait()
    assert tab.rows()[0][1] == "Done"
    assert tab.rows()[1] == ("Second", "Failed", "'Second' is no longer in the scene.")


def test_a_model_of_several_inputs_asks_for_files(opened, place):
    write_model(place / "models", "align")
    tab = opened()
    tab.ui.modelSelector.currentIndex = tab.ui.modelSelector.findData("align")
    tab.choose_item(folder_item(add_volume()))
    assert "takes several inputs (fixed, moving): give folders of files" in tab.ui.startButton.toolTip


def test_a_folder_of_nothing_but_results_is_told(opened):
    volume = add_volume()
    volume.SetAttribute("GANSynthesis.Model", "t1-t2")
    tab = opened()
    tab.choose_item(folder_item(volume))
    assert "nothing but results of models" in tab.ui.startButton.toolTip


def test_picture_of_the_tab_shows_its_widgets(opened, place):
    tab = opened()
    tab.choose(place)
    native = pythonqt.native(tab.widget)
    native.resize(420, 700)
    handle_events()
    picture = native.grab().toImage()
    assert native.minimumSizeHint().width() <= 420
    assert len({picture.pixel(x, y) for x in range(0, 420, 3) for y in range(0, 700, 3)}) > 20
