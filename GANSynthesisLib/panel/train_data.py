"""Data of a training in the panel: from a folder or from the scene, and the table of the cases found."""

import os
import shutil
import tempfile
from pathlib import Path

import qt
import slicer

from GANSynthesisLib.panel.cases_table import CasesTable
from GANSynthesisLib.presentation import _

_WIDTHS = (80, 92)  # pixels of the columns Case and Files


class DataSection:
    """Chooses where cases come from, and shows them. onChange(): called when the choice has changed."""

    def __init__(self, ui, onChange):
        self.ui, self._onChange = ui, onChange
        self._selectors, self._written, self._writer, self.rows = {}, None, None, []
        ui.casesTable.setColumnCount(len(_WIDTHS) + 1)
        ui.casesTable.setHorizontalHeaderLabels([_("Case"), _("Files"), _("Problem or remark")])
        ui.casesTable.verticalHeader().setVisible(False)
        self.table = CasesTable(ui.casesTable, _WIDTHS)
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

    def beginWriting(self, folder: Path, paired: bool, worker) -> None:
        """Prepare having a worker write the scene's cases under `folder`. Raises ValueError where they do not fit
        together, or the folder cannot be written."""
        from GANSynthesisLib.mrml.case_files import CaseWriter
        from GANSynthesisLib.mrml.training_data import scene_cases

        self.removeWritten()
        cases = scene_cases({role: item for role, item in self.choice() if item}, paired)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._written = Path(tempfile.mkdtemp(prefix=".training-data-", dir=folder))
        except OSError as error:
            raise ValueError(unwritable(folder, error)) from error
        self._writer = CaseWriter(cases, self._written, worker)

    def writeOn(self) -> bool:
        """Go on writing for some milliseconds; whether all is written. Raises ValueError."""
        return self._writer.advance()

    @property
    def writing(self) -> str:
        """Name of the file at hand."""
        return self._writer.text

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
        """Remove what was written and not handed over; what is being written stops."""
        if self._writer is not None:
            self._writer.abandon()
        if self._written is not None:
            shutil.rmtree(self._written, ignore_errors=True)
        self._written = self._writer = None

    # --- the table

    def clear(self) -> None:
        """Show no cases: what was found is no longer what is chosen."""
        self.rows = []
        self.ui.casesTable.visible = self.ui.leaveOutCheckBox.visible = self.ui.casesLabel.visible = False

    def showRows(self, rows: list[dict]) -> None:
        """Show the cases found, those with problems first."""
        self.rows = rows
        self.ui.casesTable.visible = self.ui.casesLabel.visible = True
        ordered = sorted(rows, key=lambda row: (not row["problem"], not row["remark"]))
        self.table.show([_cells(row) for row in ordered])
        bad, told = self.withProblems(), sum(bool(row["remark"]) for row in rows)
        words = [_("{count} cases of {subjects} subjects").format(
            count=len(rows), subjects=len({row["subject"] for row in rows}))]
        if bad:
            words.append(_("{count} cannot be trained on").format(count=len(bad)))
        if told:
            words.append(_("{count} with a remark").format(count=told))
        self.ui.casesLabel.text = ", ".join(words) + "."
        self.ui.leaveOutCheckBox.visible = bool(bad)

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


def unwritable(folder: Path, error: OSError) -> str:
    """One sentence on why nothing can be trained into a folder of models."""
    return _("The folder of models {folder} cannot be written ({reason}): name another one in the environment "
             "variable GANSYNTHESIS_MODELS.").format(folder=folder, reason=error.strerror or error)


def _cells(row: dict) -> tuple[tuple[str, str], ...]:
    """Name, files and what is wrong with a case, each with its tool tip."""
    name, said = row["name"], row["problem"] or row["remark"]
    files = (", ".join(row["files"]), "\n".join(row["files"].values()))
    return (("✖ " if row["problem"] else "") + name, name), files, (said, said)
