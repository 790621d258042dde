"""The Batch tab: a folder of cases, or the volumes of a scene folder, through one model."""

import html
import logging
from pathlib import Path

import slicer

from GANSynthesisLib import jobs
from GANSynthesisLib.panel.batch_choice import BatchChoice
from GANSynthesisLib.panel.cases_table import CasesTable
from GANSynthesisLib.panel.running import RunDisplay
from GANSynthesisLib.presentation import _
from GANSynthesisLib.steps import Steps


class BatchTab:
    """Lists cases with what has become of each; Start has the worker do what is left, and becomes Cancel.

    widget: root of BatchTab.ui. logic: the module's logic. readiness(): one sentence on what must be installed first,
    empty where nothing must.
    """

    title = _("Batch")

    def __init__(self, widget, logic, readiness=lambda: ""):
        self.ui = slicer.util.childWidgetVariables(widget)
        self._readiness = readiness
        self.table = CasesTable(self.ui.casesTable, (130, 70))
        self._planned, self._problem = None, ""  # a BatchPlan or SceneBatch that can be started, or why there is none
        self._looking, self._afterwards = None, None  # at what is chosen, in steps; and what is done then
        self._run, self._shown, self._ended, self._busy = None, None, False, ""
        self._display = RunDisplay(
            self.ui, self.ui.startButton, _("Start"),
            _("Stop after the present step. Cases that are done stay; Start goes on."), ("cases", "advanced"))
        self.choice = BatchChoice(self.ui, logic.models, self._look)
        self.ui.startButton.connect("clicked(bool)", self.onStartButton)
        self._display.show(False)

    # --- life of the panel

    @property
    def running(self) -> bool:
        return self._run is not None

    def enter(self) -> None:
        """The user comes to the tab: models, files or volumes may be others by now."""
        if self.running:
            return
        self.choice.listModels()
        job = jobs.worker("apply").job
        if job is not None and job.work == "batch" and not job.finished:
            # It goes on since before the panel was reloaded.
            self.choice.take(job.arguments)
            self._lookAndThen(lambda rows: self._follow(job, rows))
        else:
            self._look()

    def poll(self) -> None:
        """Carry on the run, or the look at what is chosen; else see whether the worker has become free.

        With thousands of cases each part of it takes a while: one in each call.
        """
        self.table.poll()
        if self.running:
            if self._run.changes != self._shown:
                self._shown = self._run.changes
                self._showRows(self._run.rows)
            elif self._ended:
                self._finish()
            else:
                self._ended = self._run.finished  # before the last look at what has become of the cases
                self._run.advance()
                self._display.progress(self._run)
        elif self._looking is not None:
            self._lookOn()
        elif self._planned is not None and self._busyReason() != self._busy:
            self._update()

    def sceneClosing(self) -> None:
        """The scene goes away: so does a run that would write into it. One that writes files goes on."""
        self._abandon()

    def close(self) -> None:
        """The panel goes away. A run that writes files goes on, and is found again after a reload."""
        self._abandon()
        self._run = self._looking = None

    def _abandon(self) -> None:
        """End a run on volumes of the scene, and forget the volumes."""
        if not self.choice.fromScene:
            return
        if self.running:
            self._run.abandon()
            self._run = None
            self._display.show(False)
        self._planned, self._problem, self._looking = None, _("Choose the scene folder with the volumes."), None
        self.table.show([])
        self._update()

    # --- what is chosen

    def _look(self, *_changed) -> None:
        """Find the cases of what is chosen, and what of them is done; show them, or say why there are none."""
        if not self.running:
            self._lookAndThen(self._showFound)
            if self._looking is not None:
                self.table.show([])  # what it shows may be of another folder

    def _lookAndThen(self, afterwards) -> None:
        """Look anew, whatever is being looked at; afterwards(rows) is called with what has been found."""
        self.choice.show()
        self._planned, self._problem, self._afterwards = None, self.choice.missing(), afterwards
        self._looking = None if self._problem else Steps(self.choice.planning())
        self._lookOn()

    def _lookOn(self) -> None:
        """Go on looking for some milliseconds; few cases are found within them."""
        rows = []
        if self._looking is not None:
            try:
                if not self._looking.advance():
                    self._problem = self.ui.statusLabel.text = _("Looking at the cases…")
                    self._update()
                    return
                self._problem, (self._planned, rows) = "", self._looking.result
            except (ValueError, OSError) as error:
                self._problem = str(error)
        self._looking = None
        if self._planned is not None and not any(row.state in ("waiting", "failed") for row in rows):
            self._problem = _("All {count} cases are done; to do them again, check 'Do all cases anew'.").format(
                count=len(rows))
        self._afterwards(rows)

    def _showFound(self, rows) -> None:
        """Show the cases that were found, and what can be done with them."""
        self._showRows(rows)
        done = sum(row.state == "done" for row in rows)
        self.ui.statusLabel.text = self._problem or _("{count} cases, of which {done} are done.").format(
            count=len(rows), done=done)
        self._showLink(done > 0)
        self._update()

    def _showRows(self, rows) -> None:
        titles = {"waiting": _("Waiting"), "running": _("Running"), "done": _("Done"), "failed": _("Failed")}
        texts = [(row.name, titles[row.state], row.message) for row in rows]
        self.table.show([tuple((text, row[-1] or text) for text in row) for row in texts])

    def _showLink(self, wanted: bool) -> None:
        """Show a link to the output folder, where it holds results."""
        wanted = wanted and not self.choice.fromScene
        self.ui.resultsLabel.visible = wanted
        if wanted:
            link = html.escape(Path(self.choice.folders["output"]).absolute().as_uri())
            self.ui.resultsLabel.text = f'<a href="{link}">{html.escape(_("Open the output folder"))}</a>'

    def _busyReason(self) -> str:
        return jobs.busy_sentence() if jobs.worker("apply").state != "idle" else ""

    def _update(self) -> None:
        """Switch Start on or off; its tool tip says why it is off."""
        self._busy = self._busyReason()
        reason = self._problem or self._readiness() or self._busy
        self.ui.startButton.enabled = not reason
        self.ui.startButton.toolTip = reason or _("Do the cases that are left; those that are done stay as they are.")

    # --- a run

    def onStartButton(self, checked=False) -> None:
        """Start what is left; while it goes on, the button cancels it."""
        if self.running:
            self._run.cancel()
            self._display.progress(self._run)
        else:
            self._lookAndThen(self._begin)  # files may have come or gone since

    def _begin(self, rows) -> None:
        """Start what was found to be left."""
        self._update()
        if not self.ui.startButton.enabled:
            self._showFound(rows)
            self.ui.statusLabel.text = self.ui.startButton.toolTip
            return
        with slicer.util.tryWithErrorDisplay(_("The batch was not started.")):
            self._show(self._start())

    def _start(self):
        worker, device = jobs.worker("apply"), self.ui.deviceSelector.currentText
        if self.choice.fromScene:
            options = {"device": device, "precision": self.ui.precisionSelector.currentText}
            self._planned.start(worker, {**options, "seed": self.ui.seedSpinBox.value})
            return self._planned
        from GANSynthesisLib.batch.follow import FolderBatch

        return FolderBatch.start(self._planned, worker, device, self.choice.restart)

    def _follow(self, job, rows) -> None:
        """Go on showing the batch that a job carries out, now that its cases are known."""
        from GANSynthesisLib.batch.follow import FolderBatch

        if self._planned is None or job.finished:
            self._showFound(rows)
        else:
            self._showLink(False)
            self._showRows(rows)
            self._show(FolderBatch(self._planned, job))

    def _show(self, run) -> None:
        self._run, self._shown, self._ended = run, None, False
        self._display.show(True)
        self._display.progress(run)

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
        self.choice.goOn()
        self._lookAndThen(lambda rows: self._showEnd(run.rows, words))

    def _showEnd(self, rows, words: str) -> None:
        """Show how a run has ended, now that what is left is known."""
        self._showFound(rows)
        self.ui.statusLabel.text = words
