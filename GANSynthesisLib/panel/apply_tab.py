"""The Apply tab: a task, a model, its inputs and outputs; Apply has the worker do it and shows what comes back."""

import logging
import warnings

import slicer
import vtk

from GANSynthesisLib import jobs, presentation
from GANSynthesisLib.options import has_uncertainty
from GANSynthesisLib.panel.classes import ClassChoice
from GANSynthesisLib.panel.input_guard import Given, InputGuard
from GANSynthesisLib.panel.models import ModelChooser
from GANSynthesisLib.panel.results import ResultSection
from GANSynthesisLib.panel.running import RunDisplay
from GANSynthesisLib.panel.samples import load_sample, sample_reason, samples_for
from GANSynthesisLib.presentation import _

_LISTED = 4  # input selectors that the panel has


class ApplyTab:
    """Applies models to nodes of the scene, in the background.

    widget: root of ApplyTab.ui. logic: the module's logic. readiness(): one sentence on what must be installed first,
    empty where nothing must.
    """

    title = _("Apply")

    def __init__(self, widget, logic, readiness):
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic, self._readiness = logic, readiness
        self._parameterNode, self._guiTag, self._nodeTag = None, None, None
        self._job, self._leftOut, self._reason = None, [], ""
        self._display = RunDisplay(
            self.ui, self.ui.applyButton, _("Apply"), _("Stop; nothing is left in the scene."),
            ("model", "inputs", "outputs", "advanced", "result"))
        self.chooser = ModelChooser(self.ui, self._onChoice)
        self.classes = ClassChoice(self.ui, self._onClass)
        self.guard, self.results = InputGuard(self.ui), ResultSection(self.ui)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.tryButton.connect("clicked(bool)", self.onTryButton)
        self._showRunning(False)

    # --- life of the panel

    @property
    def running(self) -> bool:
        return self._job is not None

    def bind(self, parameterNode) -> None:
        """Show a parameter node, or none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode.RemoveObserver(self._nodeTag)
        self._parameterNode = parameterNode
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self._nodeTag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)
            self._listModels()
        self._update()

    def enter(self) -> None:
        """The user comes to the tab; models may have been trained or added meanwhile."""
        self._listModels()
        self._update()

    def poll(self) -> None:
        """Carry on the run, and what is made of its result; look at the inputs where they changed."""
        self.results.poll()
        if self._job is not None:
            if self._job.finished:  # in a call of its own: the run's last step takes a while, too
                self._finish()
            else:
                self._job.advance()
                self._display.progress(self._job)
        elif self.ui.applyButton.visible:  # nobody else's work on a volume is to be slowed down by looking at it
            if self.guard.poll(self._given()):
                self._update()  # an image may have been read after its node was chosen

    def sceneClosing(self) -> None:
        """The scene goes away: so does a run that would write into it."""
        self._abandon()
        self.results.clear()
        self.bind(None)

    def close(self) -> None:
        """The panel goes away."""
        self._abandon()
        self.results.clear()
        self.bind(None)

    def _abandon(self) -> None:
        if self._job is None:
            return
        self._job.abandon()
        self._job = None
        self._showRunning(False)

    # --- choices

    def _listModels(self) -> None:
        if self.running or not self._parameterNode:
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            models = {model.card.name: model for model in self.logic.models()}
        self._leftOut = [str(each.message) for each in caught]
        for message in self._leftOut:
            logging.warning(message)
        self.chooser.offer(models, self._parameterNode.task, self._parameterNode.model)

    def _onChoice(self) -> None:
        """Keep the chosen task and model; another task brings its own models."""
        if self._parameterNode:
            self._parameterNode.task, self._parameterNode.model = self.chooser.task, self.chooser.name
        self._update()

    def _onClass(self, name: str) -> None:
        if self._parameterNode:
            self._parameterNode.className = name

    def _update(self, caller=None, event=None) -> None:
        """Switch Apply and Try on or off; tool tips and the status line say why they are off."""
        if self.running:
            return
        reason = self._whyNot()
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Apply the model; the inputs are not changed.")
        if reason or self.ui.statusLabel.text == self._reason:
            self.ui.statusLabel.text = reason
        self._reason = reason
        card = self.chooser.card
        self.classes.offer(card, self._parameterNode.className if self._parameterNode else "")
        no_sample = sample_reason(card, self.chooser.task) if card else _("No model is chosen.")
        self.ui.tryButton.enabled = not no_sample and self._parameterNode is not None
        fit = samples_for(card, self.chooser.task) if card else None
        self.ui.tryButton.toolTip = no_sample or " ".join(
            [_("Loads a sample that fits the model, and chooses it."), fit.remark]).strip()

    def _whyNot(self) -> str:
        """One sentence on what is missing before Apply can run; empty when nothing is."""
        if not self._parameterNode:
            return _("There is no scene to work on.")
        if not self.chooser.name:
            from GANSynthesisLib.models import user_models_folder

            if self.ui.modelSearchBox.text:
                return _("No model is chosen: clear the search, or choose another task.")
            return " ".join([presentation.no_model_sentence(user_models_folder()), *self._leftOut])
        task = self.chooser.task
        output = self._parameterNode.outputVolume if task in ("synthesize", "register", "reconstruct") else None
        ports = presentation.input_ports(self.chooser.card, task)
        return presentation.what_is_missing(ports, self._inputNodes(), output) or self._readiness()

    def _inputNodes(self) -> list:
        return [getattr(self._parameterNode, f"input{number + 1}") for number in range(_LISTED)]

    def _volumes(self) -> dict:
        """Role -> node of the chosen inputs."""
        ports = presentation.input_ports(self.chooser.card, self.chooser.task)
        return {port.name: node for port, node in zip(ports, self._inputNodes(), strict=False) if node}

    def _region(self):
        """The region that the work is restricted to, where the task knows of such."""
        return self._parameterNode.region if self.chooser.task in ("synthesize", "segment", "reconstruct") else None

    def onTryButton(self, checked=False) -> None:
        """Load a sample and choose it as the inputs."""
        with slicer.util.tryWithErrorDisplay(_("The sample was not loaded."), waitCursor=True):
            nodes = load_sample(self.chooser.card, self.chooser.task)
            ports = presentation.input_ports(self.chooser.card, self.chooser.task)
            for number, port in enumerate(ports[:_LISTED]):
                setattr(self._parameterNode, f"input{number + 1}", nodes.get(port.name))

    def _given(self) -> Given | None:
        """What a run would be given, for the guard to look at."""
        node, card = self._parameterNode, self.chooser.card
        return Given(card, self._volumes(), self._region(), node.device) if node and card else None

    # --- a run

    def onApplyButton(self, checked=False) -> None:
        """Start a run; while one goes on, the button cancels it."""
        if self._job is not None:
            self._job.cancel()
            self._display.progress(self._job)
            return
        try:
            with slicer.util.tryWithErrorDisplay(_("The model was not applied.")):
                try:
                    self._job = self._start()
                except Exception as error:
                    self.ui.statusLabel.text = str(error)
                    raise
        finally:
            if self._job is not None:
                self._showRunning(True)

    def _start(self):
        """The job, its inputs checked before anything else happens."""
        from GANSynthesisLib.mrml import Request
        from GANSynthesisLib.mrml.jobs import SceneJob

        node, task, model = self._parameterNode, self.chooser.task, self.chooser.model
        options = {"device": node.device, "seed": node.seed}
        if task == "generate":
            options |= self.classes.options()
        else:
            options |= {"precision": node.precision, "tile": [node.tile] * 3 if node.tile else None}
        given, details = {}, False
        if task == "register":
            self._checkLandmarks()
            options["optimize"], details = node.optimize, node.details
            given = {"transform": node.outputTransform, "warped": node.outputVolume}
        elif task == "segment":
            given = {None: node.outputSegmentation}
        elif task in ("synthesize", "reconstruct"):
            given = {None: node.outputVolume}
        if has_uncertainty(model.card):
            options["samples"] = node.samples
        request = Request.of(task, model, None, self._volumes(), given, details=details, region=self._region(),
                             voxels=False)
        return SceneJob(request, jobs.worker("apply"), options, count=node.count,
                        guarding=self.guard.looking(self._given()))

    def _checkLandmarks(self) -> None:
        """Raise, before any work, where landmarks are chosen that do not belong together."""
        from GANSynthesisLib.mrml.landmarks import check_landmarks

        node = self._parameterNode
        if node.fixedLandmarks or node.movingLandmarks:
            check_landmarks(node.fixedLandmarks, node.movingLandmarks)

    def _finish(self) -> None:
        """A run has ended: show what it made, or say why it did not."""
        job, self._job = self._job, None
        self._showRunning(False)
        self.ui.logText.setPlainText("\n".join([*job.log, *([job.details] if job.details else [])]))
        self._update()
        if job.state == "cancelled":
            self.ui.statusLabel.text = _("Canceled; the scene is as it was.")
        elif job.state == "failed":
            self.ui.statusLabel.text = job.error
            logging.error(f"{job.error}\n{job.details}")
        else:
            self._showResult(job)

    def _showResult(self, job) -> None:
        from GANSynthesisLib.mrml.provenance import read_provenance
        from GANSynthesisLib.mrml.views import show_results

        inputs, made = job.request.nodes, job.nodes
        show_results(list(made.values()), inputs)
        names = ", ".join(node.GetName() for node in made.values())
        content = read_provenance(next(iter(made.values())))
        words = presentation.quality_words(content.get("Quality", {})) + content.get("Warnings", [])
        node = self._parameterNode
        if "transform" in made and node and node.fixedLandmarks and node.movingLandmarks:
            pair = node.fixedLandmarks, node.movingLandmarks
            words.append(str(self.logic.landmarkErrors(*pair, made["transform"])))
        self.results.show(made, inputs, words)
        self.ui.statusLabel.text = presentation.sentence(_("Done: {names}").format(names=names))

    def _showRunning(self, running: bool) -> None:
        self._display.show(running)
        for task in presentation.task_titles():
            button = getattr(self.ui, f"{task}Button")
            button.visible = button.checked or not running
