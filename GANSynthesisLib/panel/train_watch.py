"""What one sees of a run while it trains: curves in plot nodes, the latest preview, alerts with advice, the log."""

import time
from pathlib import Path

import qt
import slicer

from GANSynthesisLib.presentation import _
from GANSynthesisLib.training.advice import advised, alert_name
from GANSynthesisLib.training.losses import LossesReader
from GANSynthesisLib.training.unfinished import ENDING

_EVERY = 1.0  # seconds between two looks
_ROWS = 500  # of the losses that are put into the plot in one look
_NARROWEST = 280  # pixels of a preview, whatever the panel's width


class RunWatch:
    """Follows one run's folder and job; shows nothing before `begin`."""

    def __init__(self, ui):
        self.ui = ui
        self._job, self._reader, self._curves, self._folder = None, None, None, None
        self._preview, self._lines, self._alerts, self._next = None, 0, [], 0.0
        self._plotted = 0
        ui.curvesButton.connect("clicked(bool)", self.onCurvesButton)
        self._update()

    def begin(self, job) -> None:
        """Follow the training `job`; nodes of the same run that the scene has are taken up again."""
        output = job.arguments["output"].removesuffix(".safetensors")
        self._job, self._folder = job, Path(output + ENDING)
        self._reader, self._curves = LossesReader(self._folder / "losses.csv"), None
        self._preview, self._lines, self._alerts, self._next = None, 0, [], 0.0
        self._plotted = 0
        self.ui.logTextEdit.clear()
        self.ui.previewLabel.clear()
        self.ui.previewTitleLabel.text = ""
        self._update()

    def poll(self) -> None:
        """Look, once a second and at the end, at what is new."""
        if self._job is None or (time.monotonic() < self._next and not self._job.finished):
            return
        self._next = time.monotonic() + _EVERY
        self._followLog()
        self._followCurves()
        self._followPreview()
        if self._job.finished:
            if self._job.state == "failed":
                self._addAlert(self._job.error)
            self._job = None
        self._update()

    def sceneClosing(self) -> None:
        """The nodes go with the scene; a run that goes on gets new ones in the next."""
        self._curves = None
        self._update()

    def onCurvesButton(self, checked=False) -> None:
        """Show the chart in a plot view; the layout changes to one that has such a view."""
        if self._curves is not None and self._curves.chart is not None:
            slicer.modules.plots.logic().ShowChartInLayout(self._curves.chart)

    def _followLog(self) -> None:
        lines = self._job.log[self._lines :]
        self._lines = len(self._job.log)
        for line in lines:
            self.ui.logTextEdit.appendPlainText(line)
            if alert_name(line):
                self._addAlert(line)

    def _addAlert(self, text: str) -> None:
        if advised(text) not in self._alerts:
            self._alerts.append(advised(text))

    def _followCurves(self) -> None:
        """Plot new rows: of many, as a panel finds them that comes to a long run, some in each look."""
        before = len(self._reader.rows)
        changed, rows = self._reader.read(), self._reader.rows
        if not rows or slicer.mrmlScene.IsBatchProcessing():
            return
        if len(rows) - before > _ROWS and not self._job.finished:
            self._next = 0.0  # to have read them is enough for one look
            return
        if self._curves is None:
            from GANSynthesisLib.mrml.curves import LossCurves

            self._curves, self._plotted = LossCurves(_("{model} losses").format(model=self._folder.stem)), 0
        if changed or self._plotted < len(rows):
            self._plotted = len(rows) if self._job.finished else min(len(rows), self._plotted + _ROWS)
            self._curves.show(rows[: self._plotted])
        if self._plotted < len(rows):
            self._next = 0.0

    def _followPreview(self) -> None:
        newest = max((self._folder / "previews").glob("*.png"), default=None)
        width = max(self.ui.liveCollapsibleButton.width - 30, _NARROWEST)
        if newest is None or (newest, width) == self._preview:
            return
        picture = qt.QPixmap(str(newest))
        if picture.isNull():
            return
        self.ui.previewLabel.setPixmap(picture.scaledToWidth(width, qt.Qt.SmoothTransformation))
        self.ui.previewTitleLabel.text = _("Step {step}:").format(step=int(newest.stem.rpartition("_")[2]))
        self._preview = newest, width

    def _update(self) -> None:
        ui = self.ui
        ui.alertsLabel.text = "\n\n".join("⚠ " + text for text in self._alerts)
        ui.alertsLabel.visible = bool(self._alerts)
        ui.previewLabel.visible = ui.previewTitleLabel.visible = self._preview is not None
        ui.curvesButton.enabled = self._curves is not None and self._curves.chart is not None
        ui.curvesButton.toolTip = (
            _("Show the chart of this run in a plot view.") if ui.curvesButton.enabled
            else _("There are no curves yet: they come with the first logged steps of a run.")
        )
