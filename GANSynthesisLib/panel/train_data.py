"""Data of a training in the panel: from a folder or from the scene, and the table of the cases found."""

import os
import shutil
import tempfile
from pathlib import Path

import qt
import slicer

from GANSynthesisLib.presentation import _

_COLUMNS = 3
_SHOWN = 500  # rows shown at most, those with problems first: more would take long to lay out


class DataSection:
    """Chooses where cases come from, and shows them. onChange(): called when the choice has changed."""

    def __init__(self, ui, onChange):
        self.ui, self._onChange = ui, onChange
        self._selectors, self._written, self._steps, self.rows = {}, None, None, []
        ui.casesTable.setColumnCount(_COLUMNS)
        ui.casesTable.setHorizontalHeaderLabels([_("Case"), _("Files"), _("Problem or remark")])
        ui.casesTable.horizontalHeader().setStretchLastSection(True)
        ui.casesTable.verticalHeader().setVisible(False)
        ui.folderRadioButton.connect("toggled(bool)", self._onSource)
        ui.dataPathLineEdit.connect("currentPathChanged(QString)", lambda *_: self._onChange())
        ui.leaveOutCheckBox.connect("toggled(bool)", lambda *_: self._onChange())
        self.clear()
        self._showSource()

    def showRoles(self, roles: dict[str, bool]) -> None:
        """Offer a subject-hierarchy item for every role; roles: name -> whether it may be left out."""
        if roles == {role: optional for role, (_selector, optional) in self._selectors.items()}:
            return
        form = self.ui.rolesWidget.layout()
        while form.rowCount():
            form.removeRow(0)
        self._selectors = {}
        for role, optional in roles.items():
            selector = slicer.qMRMLSubjectHierarchyComboBox()
            selector.setObjectName(f"{role}Selector")
            selector.noneEnabled = True
            selector.noneDisplay = _("None (optional)") if optional else _("Select a folder")
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"]
            selector.toolTip = _(
                "Folder of the subject hierarchy (or a single node) with the images for '{role}'. Images of the same "
                "name belong together, else the first of each folder, the second of each, and so on."
            ).format(role=role)
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("currentItemChanged(vtkIdType)", lambda *_: self._onChange())
            form.addRow(qt.QLabel(role.replace("_", " ").capitalize() + ":"), selector)
            self._selectors[role] = (selector, optional)

    @property
    def fromScene(self) -> bool:
        return self.ui.sceneRadioButton.checked

    def choice(self):
        """What is chosen, comparable and JSON-able: the folder's path, or [role, item] of the scene."""
        if self.fromScene:
            return [[role, int(selector.currentItem())] for role, (selector, _optional) in self._selectors.items()]
        return self.ui.dataPathLineEdit.currentPath.strip()

    def missing(self) -> str:
        """One sentence on what is still to be chosen; empty where nothing is."""
        if not self.fromScene:
            path = self.choice()
            if not path:
                return _("Choose the folder of the training cases.")
            return "" if os.path.exists(path) else _("There is no folder or manifest {path}.").format(path=path)
        for role, (selector, optional) in self._selectors.items():
            if not optional and not selector.currentItem():
                return _("Choose a folder of the scene for '{role}'.").format(role=role)
        return ""

    # --- from the scene to files

    def beginWriting(self, folder: Path, paired: bool) -> None:
        """Prepare writing the scene's cases under `folder`. Raises DataError where they do not fit together."""
        from GANSynthesisLib.mrml.training_data import scene_cases, write_cases

        self.removeWritten()
        cases = scene_cases({role: item for role, item in self.choice() if item}, paired)
        folder.mkdir(parents=True, exist_ok=True)
        self._written = Path(tempfile.mkdtemp(prefix=".training-data-", dir=folder))
        self._steps = write_cases(cases, self._written)

    def writeNext(self) -> str:
        """Write one more file and give its name; empty when all are written. Raises VolumeError, DataError."""
        return next(self._steps, "")

    @property
    def folder(self) -> Path:
        """Where the cases are as files."""
        return self._written if self.fromScene else Path(self.choice())

    def handOver(self, folder: Path) -> Path:
        """The data for a run: what was written from the scene moves to `folder`, of which the run takes care."""
        if not self.fromScene:
            return self.folder
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(self._written, folder)
        self._written = None
        return folder

    def removeWritten(self) -> None:
        """Remove what was written and not handed over."""
        if self._written is not None:
            shutil.rmtree(self._written, ignore_errors=True)
        self._written, self._steps = None, None

    # --- the table

    def clear(self) -> None:
        """Show no cases: what was found is no longer what is chosen."""
        self.rows = []
        self.ui.casesTable.visible = self.ui.leaveOutCheckBox.visible = self.ui.casesLabel.visible = False

    def showRows(self, rows: list[dict]) -> None:
        """Show the cases found, those with problems first."""
        self.rows = rows
        table, ordered = self.ui.casesTable, sorted(rows, key=lambda row: (not row["problem"], not row["remark"]))
        table.setRowCount(min(len(ordered), _SHOWN))
        for number, row in enumerate(ordered[:_SHOWN]):
            mark = "✖ " if row["problem"] else ""
            for column, text in enumerate((row["name"], ", ".join(row["files"]), row["problem"] or row["remark"])):
                item = qt.QTableWidgetItem((mark if column == 0 else "") + text)
                item.setToolTip(text if column != 1 else "\n".join(row["files"].values()))
                table.setItem(number, column, item)
        bad, told = self.withProblems(), sum(bool(row["remark"]) for row in rows)
        words = [_("{count} cases of {subjects} subjects").format(
            count=len(rows), subjects=len({row["subject"] for row in rows}))]
        if bad:
            words.append(_("{count} cannot be trained on").format(count=len(bad)))
        if told:
            words.append(_("{count} with a remark").format(count=told))
        self.ui.casesLabel.text = ", ".join(words) + "."
        table.visible = self.ui.casesLabel.visible = True
        self.ui.leaveOutCheckBox.visible = bool(bad)
        table.resizeColumnToContents(0)
        table.resizeColumnToContents(1)
        table.resizeRowsToContents()

    def withProblems(self) -> list[str]:
        """Names of the cases that cannot be trained on."""
        return [row["name"] for row in self.rows if row["problem"]]

    def obstacle(self) -> str:
        """One sentence on why the cases found do not allow training; empty where they do."""
        bad = self.withProblems()
        if len(bad) == len(self.rows):
            return _("No case can be trained on: see the table.")
        if bad and not self.ui.leaveOutCheckBox.checked:
            return _("{count} of {all} cases cannot be trained on: mend them, or leave them out.").format(
                count=len(bad), all=len(self.rows))
        return ""

    def _onSource(self, *_arguments) -> None:
        self._showSource()
        self._onChange()

    def _showSource(self) -> None:
        self.ui.dataPathLineEdit.visible = self.ui.dataLabel.visible = not self.fromScene
        self.ui.rolesWidget.visible = self.fromScene
