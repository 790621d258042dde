"""The part of the Apply tab that shows what a run made, and ways to look at it beside its input."""

import logging

import qt
import slicer

from GANSynthesisLib import jobs, presentation
from GANSynthesisLib.presentation import _

_MAKING = ("checkerboardButton", "differenceButton", "show3DButton")


class ResultSection:
    """What was made, its checks, and the buttons that compare, show and save it; hidden until there is a result.

    What takes longer than a moment is made by a worker, carried on by `poll()`.
    """

    def __init__(self, ui):
        self.ui = ui
        self._made, self._inputs, self._left = [], {}, (0, 0)
        self._job, self._words, self._after = None, "", None
        self._tips = {name: getattr(ui, name).toolTip for name in _MAKING}
        ui.fadeSlider.connect("valueChanged(int)", self.onFade)
        ui.checkerboardButton.connect("clicked(bool)", self.onCheckerboard)
        ui.differenceButton.connect("clicked(bool)", self.onDifference)
        ui.show3DButton.connect("clicked(bool)", self.onShow3D)
        ui.saveReportButton.connect("clicked(bool)", self.onSaveReport)
        self.clear()

    def clear(self) -> None:
        """Forget the last result, and what is being made of it; its nodes stay where they are."""
        if self._job is not None:
            self._job.abandon()
            self._job = None
        self._made, self._inputs, self._left = [], {}, (0, 0)
        self.ui.resultCollapsibleButton.visible = False

    def poll(self) -> None:
        """Carry on what is being made; at its end, show it, or say why it was not made."""
        if self._job is None:
            if self._nodes_left() != self._left:
                self._allow()
            return
        self._job.advance()
        if not self._job.finished:
            return
        job, self._job = self._job, None
        self._allow()
        if job.state == "done":
            self._after(job)
        else:
            logging.error(f"{job.error}\n{job.details}")
        if self.ui.statusLabel.text == self._words or job.error:
            self.ui.statusLabel.text = job.error

    def show(self, made: dict, inputs: dict, words: list[str]) -> None:
        """made: output name -> node. inputs: role -> node. words: sentences about the run."""
        self._made, self._inputs = list(made.values()), inputs
        if self._input() is not None and self._volume() is not None:
            from GANSynthesisLib.mrml.comparison import on_grid_of

            if on_grid_of(self._volume(), self._input()):
                words = [_("checked: every voxel in its place on the grid of '{name}'").format(
                    name=self._input().GetName()), *words]
        self.ui.resultLabel.text = presentation.result_summary([node.GetName() for node in self._made], words)
        two = self._input() is not None and self._volume() is not None
        for widget in (self.ui.fadeLabel, self.ui.fadeSlider, self.ui.checkerboardButton, self.ui.differenceButton):
            widget.visible = two
        self._allow()
        self.ui.resultCollapsibleButton.visible = True
        blocked = self.ui.fadeSlider.blockSignals(True)
        self.ui.fadeSlider.value = 50
        self.ui.fadeSlider.blockSignals(blocked)

    def _allow(self) -> None:
        """Switch the buttons that make something on or off; their tool tips say why they are off."""
        self._left = self._nodes_left()
        busy = _("Wait until what was asked for has been made.") if self._job is not None else ""
        result, both = self._left[0] == len(self._made), self._left == (len(self._made), len(self._inputs))
        gone = _("The result or its input is no longer in the scene: apply the model again.")
        flat = "" if self._shown_in_3d() is not None else _("A transform or a sequence has nothing to show in 3D.")
        for name, tip in self._tips.items():
            button, found = getattr(self.ui, name), result if name == "show3DButton" else both
            reason = busy or ("" if found else gone) or (flat if name == "show3DButton" else "")
            button.enabled, button.toolTip = not reason, reason or tip

    def _nodes_left(self) -> tuple[int, int]:
        """How many of the results and of the inputs are still in the scene."""
        return tuple(sum(self._present(node) is not None for node in nodes)
                     for nodes in (self._made, self._inputs.values()))

    def _present(self, node):
        return node if node is not None and node.GetScene() is not None else None

    def _volume(self):
        """The result to look at in slices, or None."""
        found = (node for node in self._made if node.GetClassName() == "vtkMRMLScalarVolumeNode")
        return self._present(next(found, None))

    def _input(self):
        """The input on whose grid the result lies, or None."""
        node = self._inputs.get("fixed") or next(iter(self._inputs.values()), None)
        return self._present(node) if node is not None and node.IsA("vtkMRMLScalarVolumeNode") else None

    def _shown_in_3d(self):
        kinds = ("vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode")
        return self._present(next((node for node in self._made if node.GetClassName() in kinds), None))

    def onFade(self, value) -> None:
        """Input below, result above with the slider's opacity."""
        if self._volume() is not None and self._input() is not None:
            slicer.util.setSliceViewerLayers(
                background=self._input(), foreground=self._volume(), foregroundOpacity=value / 100
            )

    def onCheckerboard(self, checked=False) -> None:
        from GANSynthesisLib.mrml.comparison import CheckerboardJob

        with slicer.util.tryWithErrorDisplay(_("The checkerboard was not made.")):
            job = CheckerboardJob(self._input(), self._volume(), jobs.worker("short"))
            self._begin(job, _("Making the checkerboard…"), _show_in_slices)

    def onDifference(self, checked=False) -> None:
        from GANSynthesisLib.mrml.comparison import DifferenceJob

        with slicer.util.tryWithErrorDisplay(_("The difference was not made.")):
            job = DifferenceJob(self._input(), self._volume(), jobs.worker("short"))
            self._begin(job, _("Making the difference…"), _show_in_slices)

    def onShow3D(self, checked=False) -> None:
        from GANSynthesisLib.mrml.surfaces import SurfacesJob, needs_surfaces, show_3d

        with slicer.util.tryWithErrorDisplay(_("The result cannot be shown in 3D.")):
            node = self._shown_in_3d()
            if needs_surfaces(node):
                job = SurfacesJob(node, jobs.worker("short"))
                self._begin(job, _("Making the surfaces…"), lambda job: show_3d(node))
            else:
                show_3d(node)

    def _begin(self, job, words: str, after) -> None:
        """Have something made; after(job) shows it."""
        self._job, self._words, self._after = job, words, after
        self.ui.statusLabel.text = words
        self._allow()

    def onSaveReport(self, checked=False) -> None:
        """Ask for a file and write the provenance of what was made."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save report"), "report.json", "JSON (*.json)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The report was not written.")):
                self.save(path)

    def save(self, path: str) -> None:
        """Write the report of the last run as JSON; the file appears whole or not. Raises OSError."""
        from GANSynthesisLib.files import write_json
        from GANSynthesisLib.mrml.provenance import read_provenance

        report = {node.GetName(): read_provenance(node) for node in self._made if self._present(node)}
        write_json(report, path)
        logging.info(f"Report written to {path}")


def _show_in_slices(job) -> None:
    slicer.util.setSliceViewerLayers(background=job.node, foreground=None)
