"""What a batch is to be: model, cases, output folder and settings, as chosen in the Batch tab."""

import warnings
from pathlib import Path

from GANSynthesisLib import presentation
from GANSynthesisLib.presentation import _


class BatchChoice:
    """The widgets of the Batch tab in which one chooses. onChange(): called when something else has been chosen.

    models(): the installed models. folders: `input` and `output`, as text.
    """

    def __init__(self, ui, models, onChange):
        self.ui, self._list, self._onChange = ui, models, onChange
        self._models, self._leftOut = {}, []
        self.folders = {"input": "", "output": ""}
        ui.sourceSelector.addItem(_("Files in a folder"), "files")
        ui.sourceSelector.addItem(_("Volumes of the scene"), "scene")
        for name in self.folders:
            button = self._folderButton(name)
            button.text = _("Choose a folder…")
            for signal in ("directorySelected(QString)", "directoryChanged(QString)"):
                button.connect(signal, lambda path, name=name: self._onFolder(name, path))
        ui.modelSelector.connect("currentIndexChanged(int)", onChange)
        ui.sourceSelector.connect("currentIndexChanged(int)", onChange)
        ui.itemSelector.connect("currentItemChanged(vtkIdType)", onChange)
        ui.precisionSelector.connect("currentIndexChanged(int)", onChange)
        ui.seedSpinBox.connect("valueChanged(int)", onChange)
        ui.restartCheckBox.connect("toggled(bool)", onChange)

    @property
    def fromScene(self) -> bool:
        return self.ui.sourceSelector.currentData == "scene"

    @property
    def model(self):
        return self._models.get(self.ui.modelSelector.currentData)

    @property
    def restart(self) -> bool:
        return bool(self.ui.restartCheckBox.checked)

    def listModels(self) -> None:
        """List the installed models anew; the chosen one stays chosen where it is still there."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = [model for model in self._list() if model.card.task != "generate"]
        self._leftOut = [str(each.message) for each in caught]
        self._models = {model.card.name: model for model in found}
        selector, chosen = self.ui.modelSelector, self.ui.modelSelector.currentData
        blocked = selector.blockSignals(True)
        selector.clear()
        for model in found:
            selector.addItem(model.card.title, model.card.name)
        selector.currentIndex = max(selector.findData(chosen), 0) if found else -1
        selector.blockSignals(blocked)

    def show(self) -> None:
        """Show what the chosen model takes and gives, and the widgets that the kind of cases needs."""
        model, files = self.model, not self.fromScene
        lines = presentation.model_lines(model.card, model.card.task).split("\n") if model else [""]
        self.ui.modelSummaryLabel.text = lines[-1]
        for widget in ("inputFolderButton", "outputFolderButton"):
            getattr(self.ui, widget).visible = getattr(self.ui, f"{widget}Label").visible = files
        self.ui.itemSelector.visible = self.ui.itemSelectorLabel.visible = not files

    def missing(self) -> str:
        """What has to be chosen before cases can be looked for; empty where nothing has."""
        if self.model is None:
            from GANSynthesisLib.models import user_models_folder

            return " ".join([presentation.no_model_sentence(user_models_folder()), *self._leftOut])
        if self.fromScene:
            return "" if self.ui.itemSelector.currentItem() else _("Choose the scene folder with the volumes.")
        if not self.folders["input"]:
            return _("Choose the input folder: where the cases are.")
        return "" if self.folders["output"] else _("Choose the output folder: where the results go.")

    def planning(self):
        """In steps: a BatchPlan or SceneBatch that can be started, and its rows. Raises ValueError with one sentence
        where nothing can."""
        if self.fromScene:
            from GANSynthesisLib.mrml.batch import SceneBatch

            batch = SceneBatch(self.model, self.ui.itemSelector.currentItem(), self.restart)
            return batch, batch.rows
        from GANSynthesisLib.batch.follow import rows_of
        from GANSynthesisLib.batch.plan import planning_batch

        options = {"precision": self.ui.precisionSelector.currentText, "seed": self.ui.seedSpinBox.value}
        plan = yield from planning_batch(
            self.model, self.folders["input"], self.folders["output"], restart=self.restart, **options)
        yield
        return plan, rows_of(plan)

    def take(self, arguments: dict) -> None:
        """Choose what a batch job (see `jobs.batch`) was given."""
        options, path = arguments["options"], Path(arguments["model"])
        names = [name for name, model in self._models.items() if model.path == path]
        self.ui.sourceSelector.currentIndex = self.ui.sourceSelector.findData("files")
        self.ui.modelSelector.currentIndex = self.ui.modelSelector.findData(names[0] if names else "")
        self.folders = {"input": arguments["input_folder"], "output": arguments["output_folder"]}
        for name, folder in self.folders.items():
            self._folderButton(name).directory = folder
            self._folderButton(name).text = folder
        self.ui.deviceSelector.currentText = arguments["device"]
        self.ui.precisionSelector.currentText = options["precision"]
        self.ui.seedSpinBox.value = options["seed"]
        self.ui.restartCheckBox.checked = options["restart"]

    def goOn(self) -> None:
        """The next start is to do what a run has left, not all anew."""
        blocked = self.ui.restartCheckBox.blockSignals(True)
        self.ui.restartCheckBox.checked = False
        self.ui.restartCheckBox.blockSignals(blocked)

    def _folderButton(self, name: str):
        return self.ui.inputFolderButton if name == "input" else self.ui.outputFolderButton

    def _onFolder(self, name: str, path: str) -> None:
        self._folderButton(name).text = path
        if self.folders[name] != path:
            self.folders[name] = path
            self._onChange()
