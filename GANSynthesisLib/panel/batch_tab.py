"""The Batch tab: a folder of cases, or the volumes of a scene folder, through one model."""

import html
import logging
import warnings
from pathlib import Path

import slicer

from GANSynthesisLib import jobs, presentation
from GANSynthesisLib.panel.cases_table import CasesTable
from GANSynthesisLib.panel.running import RunDisplay
from GANSynthesisLib.presentation import _


class BatchTab:
    """Lists cases with what has become of each; Start has the worker do what is left, and becomes Cancel.

    widget: root of BatchTab.ui. logic: the module's logic. readiness(): one sentence on what must be installed first,
    empty where nothing must.
    """

    title = _("Batch")

    def __init__(self, widget, logic, readiness=lambda: ""):
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic, self._readiness = logic, readiness
        self.table = CasesTable(self.ui.casesTable)
        self._models, self._leftOut = {}, []
        self._folders = {"input": "", "output": ""}
        self._planned, self._problem = None, ""  # a BatchPlan or SceneBatch that can be started, or why there is none
        self._run, self._busy = None, ""
        self._display = RunDisplay(
            self.ui, self.ui.startButton, _("Start"),
            _("Stop after the present step. Cases that are done stay; Start goes on."), ("cases", "advanced"))
        self.ui.sourceSelector.addItem(_("Files in a folder"), "files")
        self.ui.sourceSelector.addItem(_("Volumes of the scene"), "scene")
        for name in self._folders:
            button = self._folderButton(name)
            button.text = _("Choose a folder…")
            for signal in ("directorySelected(QString)", "directoryChanged(QString)"):
                button.connect(signal, lambda path, name=name: self._onFolder(name, path))
        self.ui.modelSelector.connect("currentIndexChanged(int)", self._look)
        self.ui.sourceSelector.connect("currentIndexChanged(int)", self._look)
        self.ui.itemSelector.connect("currentItemChanged(vtkIdType)", self._look)
        self.ui.precisionSelector.connect("currentIndexChanged(int)", self._look)
        self.ui.seedSpinBox.connect("valueChanged(int)", self._look)
        self.ui.restartCheckBox.connect("toggled(bool)", self._look)
        self.ui.startButton.connect("clicked(bool)", self.onStartButton)
        self._display.show(False)

    # --- life of the panel

    def enter(self) -> None:
        """The user comes to the tab: models, files or volumes may be others by now."""
        if self._run is not None:
            return
        self._listModels()
        job = jobs.worker("apply").job
        if job is not None and job.work == "batch" and not job.finished:
            self._adopt(job)
        else:
            self._look()

    def poll(self) -> None:
        """Carry the run on and show where it is; else see whether the worker has become free."""
        if self._run is None:
            if self._planned is not None and self._busyReason() != self._busy:
                self._update()
            return
        self._run.advance()
        self._showProgress()
        if self._run.finished:
            self._finish()

    def sceneClosing(self) -> None:
        """The scene goes away: so does a run that would write into it. One that writes files goes on."""
        self._abandon()

    def close(self) -> None:
        """The panel goes away. A run that writes files goes on, and is found again after a reload."""
        self._abandon()
        self._run = None

    def _abandon(self) -> None:
        """End a run on volumes of the scene, and forget the volumes."""
        if self._source() != "scene":
            return
        if self._run is not None:
            self._run.abandon()
            self._run = None
            self._display.show(False)
        self._planned, self._problem = None, _("Choose the scene folder with the volumes.")
        self.table.show([])
        self._update()

    # --- choices

    def _source(self) -> str:
        return self.ui.sourceSelector.currentData

    def _model(self):
        return self._models.get(self.ui.modelSelector.currentData)

    def _folderButton(self, name: str):
        return self.ui.inputFolderButton if name == "input" else self.ui.outputFolderButton

    def _listModels(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = [model for model in self.logic.models() if model.card.task != "generate"]
        self._leftOut = [str(each.message) for each in caught]
        self._models = {model.card.name: model for model in found}
        selector, chosen = self.ui.modelSelector, self.ui.modelSelector.currentData
        blocked = selector.blockSignals(True)
        selector.clear()
        for model in found:
            selector.addItem(model.card.title, model.card.name)
        selector.currentIndex = max(selector.findData(chosen), 0) if found else -1
        selector.blockSignals(blocked)

    def _onFolder(self, name: str, path: str) -> None:
        self._folderButton(name).text = path
        if self._folders[name] != path:
            self._folders[name] = path
            self._look()

    def _look(self, *_changed) -> None:
        """Find the cases of what is chosen, and what of them is done; show them, or say why there are none."""
        if self._run is not None:
            return
        self._showChoices()
        self._planned, self._problem, rows = None, self._whatIsOpen(), []
        if not self._problem:
            try:
                self._planned, rows = self._plan()
            except (ValueError, OSError) as error:
                self._problem = str(error)
        self.table.show(rows)
        if self._planned is not None and not any(row.state in ("waiting", "failed") for row in rows):
            self._problem = _("All {count} cases are done; to do them again, check 'Do all cases anew'.").format(
                count=len(rows))
        self.ui.statusLabel.text = self._problem or _("{count} cases, of which {done} are done.").format(
            count=len(rows), done=sum(row.state == "done" for row in rows))
        self._showLink(any(row.state == "done" for row in rows))
        self._update()

    def _showChoices(self) -> None:
        model, files = self._model(), self._source() == "files"
        lines = presentation.model_lines(model.card, model.card.task).split("\n") if model else [""]
        self.ui.modelSummaryLabel.text = lines[-1]
        for widget in ("inputFolderButton", "outputFolderButton"):
            getattr(self.ui, widget).visible = getattr(self.ui, f"{widget}Label").visible = files
        self.ui.itemSelector.visible = self.ui.itemSelectorLabel.visible = not files

    def _showLink(self, wanted: bool) -> None:
        """Show a link to the output folder, where it holds results."""
        wanted = wanted and self._source() == "files"
        self.ui.resultsLabel.visible = wanted
        if wanted:
            link = html.escape(Path(self._folders["output"]).absolute().as_uri())
            self.ui.resultsLabel.text = f'<a href="{link}">{html.escape(_("Open the output folder"))}</a>'

    def _whatIsOpen(self) -> str:
        """What has to be chosen before cases can be looked for; empty where nothing has."""
        if self._model() is None:
            from GANSynthesisLib.models import user_models_folder

            return " ".join([presentation.no_model_sentence(user_models_folder()), *self._leftOut])
        if self._source() == "scene":
            return "" if self.ui.itemSelector.currentItem() else _("Choose the scene folder with the volumes.")
        if not self._folders["input"]:
            return _("Choose the input folder: where the cases are.")
        return "" if self._folders["output"] else _("Choose the output folder: where the results go.")

    def _plan(self):
        """What can be started, and its rows. Raises ValueError with one sentence where nothing can."""
        restart = bool(self.ui.restartCheckBox.checked)
        if self._source() == "scene":
            from GANSynthesisLib.mrml.batch import SceneBatch

            batch = SceneBatch(self._model(), self.ui.itemSelector.currentItem(), restart)
            return batch, batch.rows
        from GANSynthesisLib.batch.follow import rows_of
        from GANSynthesisLib.batch.plan import plan_batch

        options = {"precision": self.ui.precisionSelector.currentText, "seed": self.ui.seedSpinBox.value}
        plan = plan_batch(self._model(), self._folders["input"], self._folders["output"], restart=restart, **options)
        return plan, rows_of(plan)

    def _busyReason(self) -> str:
        busy = jobs.worker("apply").state != "idle"
        return _("Another job is running: wait for it, or cancel it in its tab.") if busy else ""

    def _update(self) -> None:
        """Switch Start on or off; its tool tip says why it is off."""
        self._busy = self._busyReason()
        reason = self._problem or self._readiness() or self._busy
        self.ui.startButton.enabled = not reason
        self.ui.startButton.toolTip = reason or _("Do the cases that are left; those that are done stay as they are.")

    # --- a run

    def onStartButton(self, checked=False) -> None:
        """Start what is left; while it goes on, the button cancels it."""
        if self._run is not None:
            self._run.cancel()
            self._showProgress()
            return
        self._look()  # files may have come or gone since
        if not self.ui.startButton.enabled:
            self.ui.statusLabel.text = self.ui.startButton.toolTip
            return
        with slicer.util.tryWithErrorDisplay(_("The batch was not started.")):
            self._run = self._start()
            self._display.show(True)
            self._showProgress()

    def _start(self):
        worker, device = jobs.worker("apply"), self.ui.deviceSelector.currentText
        if self._source() == "scene":
            options = {"device": device, "precision": self.ui.precisionSelector.currentText}
            self._planned.start(worker, {**options, "seed": self.ui.seedSpinBox.value})
            return self._planned
        from GANSynthesisLib.batch.follow import FolderBatch

        return FolderBatch.start(self._planned, worker, device, bool(self.ui.restartCheckBox.checked))

    def _adopt(self, job) -> None:
        """Show a batch that goes on since before the panel was reloaded, with its choices."""
        from GANSynthesisLib.batch.follow import FolderBatch

        try:
            run = FolderBatch.of_job(job)
        except (ValueError, OSError) as error:
            logging.warning(str(error))
            return
        self._run, plan = run, run.plan
        self.ui.sourceSelector.currentIndex = self.ui.sourceSelector.findData("files")
        self.ui.modelSelector.currentIndex = self.ui.modelSelector.findData(plan.model.card.name)
        self._folders = {"input": str(plan.input_folder), "output": str(plan.output_folder)}
        for name, path in self._folders.items():
            self._folderButton(name).directory = path
            self._folderButton(name).text = path
        self.ui.deviceSelector.currentText = run.device
        self.ui.precisionSelector.currentText = plan.record.settings["precision"]
        self.ui.seedSpinBox.value = plan.record.settings["seed"]
        self._showChoices()
        self._showLink(False)
        self._display.show(True)
        self._showProgress()

    def _finish(self) -> None:
        """A run has ended: say how, and where the results are."""
        run, self._run = self._run, None
        self._display.show(False)
        counts = {state: sum(row.state == state for row in run.rows) for state in ("done", "failed", "waiting")}
        words = _("{done} of {count} cases are done, {failed} failed, {waiting} are left.").format(
            count=len(run.rows), **counts)
        if run.state == "cancelled":
            words = _("Canceled: {words} Start goes on.").format(words=words)
        if run.error:
            logging.error(run.error)
            words = f"{run.error} {words}"
        self.ui.restartCheckBox.checked = False  # so that Start goes on from here; this looks for what is left
        self._look()
        self.table.show(run.rows)
        self.ui.statusLabel.text = words

    def _showProgress(self) -> None:
        self.table.show(self._run.rows)
        self._display.progress(self._run)
