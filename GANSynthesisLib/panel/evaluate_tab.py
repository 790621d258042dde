"""The Evaluate tab: a result against a reference, in numbers, plots and an error map."""

import html
import logging
import math

import slicer

from GANSynthesisLib import jobs
from GANSynthesisLib.panel.running import RunDisplay
from GANSynthesisLib.presentation import _

_COLUMNS = 4  # metrics that have room beside each other
_SELECTORS = ("result", "reference", "mask", "fixedLandmarks", "movingLandmarks", "transform")


class EvaluateTab:
    """Compares nodes of the scene, in the background.

    widget: root of EvaluateTab.ui. logic: the module's logic.
    """

    title = _("Evaluate")

    def __init__(self, widget, logic):
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self._job, self._made, self._reason = None, None, ""
        self._display = RunDisplay(
            self.ui, self.ui.evaluateButton, _("Evaluate"), _("Stop; nothing is left in the scene."),
            ("compare", "landmarks", "outputs", "results"))
        for name in _SELECTORS:
            getattr(self.ui, f"{name}Selector").connect("currentNodeChanged(vtkMRMLNode*)", self._update)
        self.ui.evaluateButton.connect("clicked(bool)", self.onEvaluateButton)
        self.ui.tableButton.connect("clicked(bool)", self.onTableButton)
        self.ui.plotButton.connect("clicked(bool)", self.onPlotButton)
        self.ui.errorMapButton.connect("clicked(bool)", self.onErrorMapButton)
        self.ui.resultsCollapsibleButton.visible = False
        self._display.show(False)
        self._update()

    # --- life of the panel

    @property
    def running(self) -> bool:
        return self._job is not None

    def enter(self) -> None:
        """The user comes to the tab; nodes may have been changed meanwhile."""
        self._update()

    def poll(self) -> None:
        """Carry the evaluation on, or see whether the worker has become free."""
        if self._job is None:
            if self._whyNot() != self._reason:
                self._update()
            return
        self._job.advance()
        self._display.progress(self._job)
        if self._job.finished:
            self._finish()

    def sceneClosing(self) -> None:
        """The scene goes away: so does an evaluation that would write into it."""
        self.close()
        self._made = None
        self.ui.resultsCollapsibleButton.visible = False

    def close(self) -> None:
        """The panel goes away."""
        if self._job is not None:
            self._job.abandon()
            self._job = None
            self._display.show(False)

    # --- choices

    def _node(self, name: str):
        return getattr(self.ui, f"{name}Selector").currentNode()

    def _update(self, node=None) -> None:
        """Switch Evaluate and what belongs to images on or off; tool tips and the status line say why they are off."""
        if self.running:
            return
        reason = self._whyNot()
        _allow(self.ui.evaluateButton, reason, _("Compare; the chosen nodes are not changed."))
        if reason or self.ui.statusLabel.text == self._reason:
            self.ui.statusLabel.text = reason
        self._reason = reason
        labels = self._hasLabels("result") or self._hasLabels("reference")
        of_labels = _("For images only: segmentations are compared structure by structure.") if labels else ""
        _allow(self.ui.maskSelector, of_labels, _(
            "Segmentation or label map; only what is in it is compared. Each of its structures gets an error of its "
            "own."
        ))  # fmt: skip
        masked = "" if self._node("mask") is None else _("The mask already says what is compared.")
        _allow(self.ui.bodyCheckBox, of_labels or masked, _(
            "Compare only where the reference shows something. Background, which is easy to get right, makes every "
            "result look better than it is."
        ))  # fmt: skip
        _allow(self.ui.errorMapCheckBox, of_labels, _(
            "A volume: result minus reference, from blue (too low) over black to red (too high)."
        ))  # fmt: skip
        marked = self._node("fixedLandmarks") is not None and self._node("movingLandmarks") is not None
        _allow(self.ui.transformSelector, "" if marked else _("Choose fixed and moving landmarks first."), _(
            "Transform of the registration; errors before and after it are given. Without one, the distances between "
            "the landmarks as they are."
        ))  # fmt: skip

    def _hasLabels(self, name: str) -> bool:
        node = self._node(name)
        return node is not None and (node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLLabelMapVolumeNode"))

    def _whyNot(self) -> str:
        """One sentence on what is missing before Evaluate can run; empty when nothing is."""
        result, reference = self._node("result"), self._node("reference")
        fixed, moving = self._node("fixedLandmarks"), self._node("movingLandmarks")
        if (fixed is None) != (moving is None):
            return _("Landmarks are chosen on one side only: choose both, or none.")
        if result is None and reference is None and fixed is not None:
            return ""
        if result is None:
            return _("Select a result.")
        if reference is None:
            return _("Select a reference.")
        if result is reference:
            return _("'{name}' is both result and reference: select two different ones.").format(name=result.GetName())
        if self._hasLabels("result") != self._hasLabels("reference"):
            return _("Select two volumes, or two segmentations.")
        return jobs.busy_sentence() if jobs.worker("apply").state != "idle" else ""

    # --- a run

    def onEvaluateButton(self, checked=False) -> None:
        """Start an evaluation; while one goes on, the button cancels it."""
        if self._job is not None:
            self._job.cancel()
            self._display.progress(self._job)
            return
        with slicer.util.tryWithErrorDisplay(_("Nothing was evaluated.")):
            try:
                self._start()
            except Exception as error:
                self.ui.statusLabel.text = str(error)
                raise

    def _start(self) -> None:
        """Check everything, then compare in the worker; landmarks alone take no time and are done at once."""
        from GANSynthesisLib.mrml.evaluation import Evaluation
        from GANSynthesisLib.mrml.evaluation_job import EvaluationJob

        images = not self._hasLabels("result")
        mask = self._node("mask") if images else None
        if images and mask is None and self.ui.bodyCheckBox.checked:
            mask = "body"
        evaluation = Evaluation.of(
            self._node("result"), self._node("reference"), mask, fixed_landmarks=self._node("fixedLandmarks"),
            moving_landmarks=self._node("movingLandmarks"), transform=self._node("transform"),
        )  # fmt: skip
        wanted = {"table": self.ui.tableCheckBox.checked, "plots": self.ui.plotsCheckBox.checked,
                  "error_map": self.ui.errorMapCheckBox.checked}  # fmt: skip
        if evaluation.has_images:
            self._job = EvaluationJob(evaluation, jobs.worker("apply"), **wanted)
            self._display.show(True)
        else:
            self._show(evaluation.name, evaluation.measures(None), (), evaluation.write(None, **wanted))

    def _finish(self) -> None:
        """An evaluation has ended: show what it found, or say why it did not."""
        job, self._job = self._job, None
        self._display.show(False)
        self._update()
        if job.state == "done":
            self._show(job.evaluation.name, job.measures, job.remarks, job.written)
        elif job.state == "cancelled":
            self.ui.statusLabel.text = _("Canceled; the scene is as it was.")
        else:
            self.ui.statusLabel.text = job.error
            logging.error(f"{job.error}\n{job.details}")

    # --- what came out

    def _show(self, name: str, measures, remarks, made) -> None:
        from GANSynthesisLib.mrml.layouts import has_views

        self._made = made
        self.ui.statusLabel.text = _("Done: {names}").format(names=name)
        self.ui.resultsLabel.text = summary(name, measures, remarks)
        self.ui.plotSelector.clear()
        for chart in made.charts:
            self.ui.plotSelector.addItem(chart.GetName().split(":")[0], chart.GetID())
        views = "" if has_views() else _("There are no views to show it in.")
        missing = _("It was not made: check it above, and evaluate again.")
        no_map = missing if self.ui.errorMapCheckBox.enabled else _("Only images have an error map.")
        _allow(self.ui.tableButton, views if made.table else missing, _("Show the numbers beside the views."))
        _allow(self.ui.plotButton, views if made.charts else missing, _("Show the chosen plot beside the views."))
        _allow(self.ui.errorMapButton, views if made.error_map else no_map,
               _("Show the error map in the slice views."))
        self.ui.plotSelector.enabled = bool(made.charts)
        self.ui.plotSelector.toolTip = _("The plots that were made.") if made.charts else self.ui.plotButton.toolTip
        self.ui.resultsCollapsibleButton.visible = True

    def _present(self, node):
        """The node if it is still in the scene; otherwise the status line says that it is not."""
        if node is not None and node.GetScene() is not None:
            return node
        self.ui.statusLabel.text = _("It has been removed from the scene: evaluate again.")
        return None

    def onTableButton(self, checked=False) -> None:
        from GANSynthesisLib.mrml.layouts import show_table

        if self._present(self._made.table):
            show_table(self._made.table)

    def onPlotButton(self, checked=False) -> None:
        from GANSynthesisLib.mrml.layouts import show_chart

        chart = slicer.mrmlScene.GetNodeByID(self.ui.plotSelector.currentData)
        if self._present(chart):
            show_chart(chart)

    def onErrorMapButton(self, checked=False) -> None:
        from GANSynthesisLib.mrml.layouts import show_error_map

        if self._present(self._made.error_map):
            show_error_map(self._made.error_map)


def _allow(widget, why_not: str, tip: str) -> None:
    """Switch a widget on, with its tool tip, or off, with the reason as the tool tip."""
    widget.enabled = not why_not
    widget.toolTip = why_not or tip


def summary(name: str, measures, remarks) -> str:
    """The numbers as rich text, those of landmarks in a table of their own, and what is to be said of them."""
    groups = [[each for each in measures if each.name.startswith("landmark") == landmarks]
              for landmarks in (False, True)]
    tables = "".join(f"<table cellpadding='2'>{_rows(group)}</table>" for group in groups if group)
    notes = "".join(f"<p>{html.escape(each)}</p>" for each in remarks)
    return f"<b>{html.escape(name)}</b>{tables}{notes}"


def _rows(measures) -> str:
    """One line per structure where each has the same few metrics, else one line per number."""
    metrics = {each.name: f"{each.name} ({each.unit})" if each.unit else each.name for each in measures}
    if len(metrics) > _COLUMNS:
        rows = [[metrics[each.name], each.structure, _number(each)] for each in measures]
        return "".join(f"<tr>{''.join(_cell(text, 'td') for text in row)}</tr>" for row in rows)
    values = {(each.name, each.structure): _number(each) for each in measures}
    rows = [[of, *(values.get((metric, of), "") for metric in metrics)]
            for of in dict.fromkeys(each.structure for each in measures)]
    head = "".join(_cell(text, "th") for text in ("", *metrics.values()))
    return f"<tr>{head}</tr>" + "".join(f"<tr>{''.join(_cell(text, 'td') for text in row)}</tr>" for row in rows)


def _cell(text: str, tag: str) -> str:
    return f"<{tag} align='left'>{html.escape(text)}&nbsp;&nbsp;</{tag}>"


def _number(measure) -> str:
    if math.isnan(measure.value):
        return "–"
    if math.isinf(measure.value):
        return "∞"
    return f"{measure.value:.0f}" if measure.name == "voxels" else f"{measure.value:.4g}"
