"""The host itself: what Slicer's widgets, scene and application do, the stand-ins in Testing/SlicerHost do too."""

import sys

import numpy as np
import pytest
import slicer
import slicer.util

from SlicerHost import pythonqt
from SlicerHost.host import handle_events, open_panel, start_host
from SlicerHost.scene import start_scene
from SlicerHost.scripted_module import QFileDialog

MODULE = """
import qt
import slicer
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

happened = {happened!r}
code = "first"


class Sample(ScriptedLoadableModule):
    pass


class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.button = qt.QPushButton(code)
        self.layout.addWidget(self.button)
        self.say("setup")

    def say(self, what):
        with open(happened, "a") as file:
            file.write(f"{{code}} {{what}} ")

    def enter(self):
        self.say("enter")

    def cleanup(self):
        self.removeObservers()
        self.say("cleanup")
"""


@pytest.fixture(autouse=True)
def scene():
    start_host()
    pythonqt.slot_errors.clear()
    yield start_scene()
    assert pythonqt.slot_errors == []


@pytest.fixture
def sample(tmp_path):
    """A tiny scripted module's file, and what its panel did so far."""
    path, happened = tmp_path / "Sample.py", tmp_path / "happened"
    path.write_text(MODULE.format(happened=str(happened)))
    yield path, lambda: happened.read_text().split()
    sys.path.remove(str(tmp_path))
    del sys.modules["Sample"]


class TestWidgets:
    def test_tabs_give_back_the_widgets_put_into_them(self):
        import qt

        tabs, shown = qt.QTabWidget(), []
        pages = [slicer.qMRMLWidget(), qt.QWidget()]
        tabs.connect("currentChanged(int)", shown.append)
        for page in pages:
            tabs.addTab(page, "Page")
        tabs.currentIndex = 1
        assert (tabs.count, tabs.currentWidget(), tabs.widget(0), shown) == (2, pages[1], pages[0], [0, 1])
        with pytest.raises(AttributeError):
            tabs.setTabIcons(1)
        with pytest.raises(TypeError):
            tabs.count()

    def test_table_holds_items_and_widgets_and_tells_of_changes(self):
        import qt

        table, heard = qt.QTableWidget(2, 2), []
        table.connect("currentCellChanged(int,int,int,int)", lambda *cells: heard.append(cells))
        table.setHorizontalHeaderLabels(["Case", "State"])
        item = qt.QTableWidgetItem("case 1")
        item.setToolTip("why")
        table.setItem(0, 0, item)
        check = qt.QCheckBox("use")
        table.setCellWidget(0, 1, check)
        table.setCurrentCell(1, 1)
        assert table.item(0, 0).text() == "case 1" and table.item(1, 1) is None
        assert table.cellWidget(0, 1) == check
        assert (table.rowCount, heard) == (2, [(1, 1, -1, -1)])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.horizontalHeader().setStretchLastSection(True)
        with pytest.raises(AttributeError):
            table.horizontalHeader().setCascadingSectionResizes(True)

    def test_buttons_of_a_group_exclude_one_another(self):
        import qt

        group, buttons, heard = qt.QButtonGroup(), [qt.QRadioButton("a"), qt.QRadioButton("b")], []
        for number, button in enumerate(buttons):
            group.addButton(button, number)
        group.connect("idClicked(int)", lambda number: heard.append(number))
        group.connect("buttonClicked(QAbstractButton*)", lambda button: heard.append(button))
        for button in buttons:
            button.click()
        assert sorted(each for each in heard if isinstance(each, int)) == [0, 1]
        assert buttons[0] in heard and buttons[1] in heard
        assert group.checkedId() == 1 and not buttons[0].checked

    def test_texts_numbers_and_lists_are_properties(self):
        import ctk
        import qt

        text = qt.QPlainTextEdit()
        text.appendPlainText("one")
        text.appendPlainText("two")
        assert text.plainText == "one\ntwo"
        browser = qt.QTextBrowser()
        browser.html = "<b>card</b>"
        assert browser.plainText == "card"
        slider, spin = qt.QSlider(), qt.QDoubleSpinBox()
        slider.maximum = 100
        slider.connect("valueChanged(int)", lambda value: spin.setValue(value / 100))
        slider.value = 25
        assert spin.value == 0.25
        names = qt.QListWidget()
        names.addItems(["a", "b"])
        names.currentRow = 1
        assert (names.count, names.currentItem().text()) == (2, "b")
        search = ctk.ctkSearchBox()
        search.showSearchIcon = True
        search.text = "brain"
        assert search.text == "brain" and search.showSearchIcon

    def test_layouts_splitters_and_scroll_areas_take_widgets(self):
        import qt

        area, group = qt.QScrollArea(), qt.QGroupBox("Group")
        grid = qt.QGridLayout(group)
        grid.setContentsMargins(1, 2, 3, 4)
        grid.addWidget(qt.QLabel("a"), 0, 0)
        grid.addWidget(qt.QToolButton(), 0, 1)
        area.setWidget(group)
        area.widgetResizable = True
        assert area.widget() == group and grid.count() == 2
        splitter = qt.QSplitter()
        splitter.addWidget(area)
        assert splitter.count() == 1

    def test_picture_is_shown_on_a_label(self):
        import qt

        picture, label = qt.QPixmap(8, 4), qt.QLabel()
        picture.fill(qt.QColor(255, 0, 0))
        label.setPixmap(picture)
        assert label.pixmap.width() == 8

    def test_timers_run_until_they_are_stopped_in_both_manners_of_connecting(self):
        import qt

        timer, heard = qt.QTimer(), []
        timer.setInterval(1)
        timer.connect("timeout()", lambda: heard.append("by name"))
        timer.timeout.connect(lambda: heard.append("by attribute"))
        timer.start()
        assert handle_events(5, lambda: len(heard) > 5) and set(heard) == {"by name", "by attribute"}
        timer.stop()
        count = len(heard)
        qt.QTimer.singleShot(5, lambda: heard.append("once"))
        assert handle_events(5, lambda: "once" in heard) and len(heard) == count + 1
        assert not timer.active

    def test_what_a_timer_runs_into_is_kept_for_tests(self):
        import qt

        qt.QTimer.singleShot(0, lambda: 1 / 0)
        assert handle_events(5, lambda: pythonqt.slot_errors)
        assert isinstance(pythonqt.slot_errors.pop(), ZeroDivisionError)

    def test_collapsed_group_box_hides_what_it_showed(self):
        import ctk
        import qt

        box = ctk.ctkCollapsibleGroupBox()
        layout = qt.QVBoxLayout(box)
        shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
        for label in (shown, hidden):
            layout.addWidget(label)
        hidden.visible = False
        box.show()
        tall = box.sizeHint.height()
        box.collapsed = True
        assert not shown.visible and box.collapsed and box.maximumHeight < tall
        box.collapsed = False
        assert shown.visible and not hidden.visible

    def test_paths_are_told_where_they_change_and_folders_with_every_choice(self, tmp_path):
        import ctk

        heard = []
        path, folder = ctk.ctkPathLineEdit(), ctk.ctkDirectoryButton()
        path.connect("currentPathChanged(QString)", heard.append)
        folder.connect("directoryChanged(QString)", heard.append)
        path.currentPath = "a.nii"
        folder.directory = str(tmp_path)
        folder.connect("directorySelected(QString)", lambda chosen: heard.append("chosen"))
        for _ in range(2):
            folder.directory = str(tmp_path / "b")
        assert heard == ["a.nii", str(tmp_path), "chosen", str(tmp_path / "b"), "chosen"]
        assert (path.currentPath, folder.directory) == ("a.nii", str(tmp_path / "b"))
        with pytest.raises(AttributeError):
            path.directory = "elsewhere"


class TestScene:
    def test_closing_tells_before_and_after(self, scene):
        heard = []
        for name in ("StartCloseEvent", "EndCloseEvent"):
            scene.AddObserver(getattr(scene, name), lambda *_, name=name: heard.append(name))
        scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        scene.Clear()
        assert heard == ["StartCloseEvent", "EndCloseEvent"]

    def test_selector_of_a_node_class_lists_that_class_and_new_nodes(self, scene):
        for class_name in ("vtkMRMLMarkupsROINode", "vtkMRMLTableNode", "vtkMRMLTextNode"):
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = [class_name]
            selector.setMRMLScene(scene)
            node = scene.AddNewNodeByClass(class_name, "new")
            scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
            assert (selector.nodeCount(), selector.currentNode()) == (1, None)
            selector.setCurrentNode(node)
            assert selector.currentNode() == node
            scene.RemoveNode(node)
            assert selector.currentNode() is None

    def test_selector_is_as_narrow_as_its_policy_says_whatever_its_nodes_are_called(self, scene):
        import qt

        widths = []
        for policy in (qt.QComboBox.AdjustToContents, qt.QComboBox.AdjustToMinimumContentsLengthWithIcon):
            selector = slicer.qMRMLNodeComboBox()
            selector.sizeAdjustPolicy = policy
            selector.nodeTypes = ["vtkMRMLTextNode"]
            selector.setMRMLScene(scene)
            scene.AddNewNodeByClass("vtkMRMLTextNode", "a rather long name for a node in a narrow panel")
            widths.append(selector.minimumSizeHint.width())
        assert widths[1] < 150 < 250 < widths[0]

    def test_selector_of_subject_hierarchy_items_follows_the_hierarchy(self, scene):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        selector, heard = slicer.qMRMLSubjectHierarchyComboBox(), []
        selector.connect("currentItemChanged(vtkIdType)", heard.append)
        selector.setMRMLScene(scene)
        assert selector.currentItem() == 0
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient 1")
        volume = hierarchy.CreateItem(folder, scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1"))
        assert [selector.itemText(index) for index in range(selector.count)] == ["Patient 1", "Patient 1 / T1"]
        selector.setCurrentItem(volume)
        selector.setCurrentItem(12345)
        selector.setCurrentItem(folder)
        selector.nodeTypes = ["vtkMRMLTableNode"]
        assert selector.count == 0 and heard == [volume, 0, folder, 0]

    def test_closed_scene_leaves_no_items(self, scene):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        selector = slicer.qMRMLSubjectHierarchyComboBox()
        selector.setMRMLScene(scene)
        selector.setCurrentItem(hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Cases"))
        scene.Clear()
        assert (selector.count, selector.currentItem()) == (0, 0)

    def test_layers_of_slice_views_are_set_without_views(self, scene):
        view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        volume = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)))
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        assert view.GetBackgroundVolumeID() == volume.GetID()


class TestApplication:
    def test_questions_that_no_test_answers_are_refused(self):
        with pytest.raises(AttributeError, match="ctkMessageBox"):
            slicer.util.confirmOkCancelDisplay("Install?")

    def test_file_dialogs_answer_with_the_path_alone(self):
        import qt

        QFileDialog.answers[:] = ["a.txt"]
        assert qt.QFileDialog.getSaveFileName(None, "Save", "", "Text (*.txt)") == "a.txt"
        assert qt.QFileDialog.getExistingDirectory(None, "Folder") == ""

    def test_application_is_qts_own_with_what_slicer_adds(self):
        assert slicer.app.applicationName == "Slicer" and not slicer.app.testingEnabled()
        assert slicer.app.connect("aboutToQuit()", print) and slicer.app.disconnect("aboutToQuit()", print)
        with pytest.raises(ValueError):
            slicer.app.connect("aboutToEnd()", print)


class TestModule:
    def test_reload_cleans_up_and_makes_a_new_panel_from_the_present_code(self, sample):
        path, happened = sample
        panel = open_panel(path)
        before = panel.widget
        path.write_text(path.read_text().replace('code = "first"', 'code = "second"'))
        slicer.util.reloadScriptedModule(panel.moduleName)
        assert happened() == "first setup first enter first cleanup second setup".split()
        assert panel.widget is not before and slicer.modules.SampleWidget is panel.widget
        assert not before.button.visible and panel.widget.button.text == "second"
        assert panel.widget.parent.isEntered
        panel.close()

    def test_quitting_cleans_a_reloaded_panel_up_once(self, sample):
        path, happened = sample
        panel = open_panel(path)
        slicer.util.reloadScriptedModule(panel.moduleName)
        panel.close()
        assert happened()[-2:] == ["first", "cleanup"] and happened().count("cleanup") == 2
