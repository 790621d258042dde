"""The scripted module GANSynthesis: what Slicer loads. The work is done in GANSynthesisLib, imported where it is
needed."""

import importlib.util
import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


def _findLibrary() -> None:
    """Make GANSynthesisLib importable: it is beside this file where installed, one level up in the source tree."""
    for folder in Path(__file__).resolve().parents[:2]:
        if (folder / "GANSynthesisLib" / "__init__.py").is_file() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


_findLibrary()

from GANSynthesisLib import panel, presentation


class GANSynthesis(ScriptedLoadableModule):
    """Name, place and credits of the module; see https://github.com/Slicer/Slicer, Base/Python/slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GANSynthesis")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["GANSynthesis contributors (GANSynthesis)"]
        self.parent.helpText = _(
            "Synthetic volumes, segmentations and registrations by generative adversarial networks. For research "
            "only: synthetic images are not for diagnosis. "
            'See the <a href="https://github.com/GANSynthesis/GANSynthesis">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "The methods come from the publications that each model's card cites. "
            "Built on 3D Slicer, MONAI and PyTorch."
        )


@parameterNodeWrapper
class GANSynthesisParameterNode:
    """What the user chose, kept and saved with the scene; input1…4 are the model's inputs in its card's order."""

    task: str
    model: str
    input1: vtkMRMLScalarVolumeNode
    input2: vtkMRMLScalarVolumeNode
    input3: vtkMRMLScalarVolumeNode
    input4: vtkMRMLScalarVolumeNode
    fixedLandmarks: vtkMRMLMarkupsFiducialNode
    movingLandmarks: vtkMRMLMarkupsFiducialNode
    outputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    outputTransform: vtkMRMLTransformNode
    details: bool = True
    count: Annotated[int, WithinRange(1, 64)] = 1
    device: Annotated[str, Choice(["auto", "cpu", "cuda"])] = "auto"
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0


class GANSynthesisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: choose a task, a model, its inputs and outputs; Apply runs the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._models = {}
        self._leftOut = []
        self._running = False
        self._cancelRequested = False
        self._reason = ""

    def setup(self):
        """Build the panel; called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/GANSynthesis.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = GANSynthesisLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.taskSelector.connect("currentIndexChanged(int)", self.onModelChanged)
        self.ui.modelSelector.connect("currentIndexChanged(int)", self.onModelChanged)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self._setRunning(False)
        self.initializeParameterNode()

    def cleanup(self):
        """Called when Slicer quits or reloads the module."""
        self._cancelRequested = True
        if self._parameterNode:
            self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Called each time the user opens the module; models may have been added meanwhile."""
        self.initializeParameterNode()

    def exit(self):
        """Called each time the user leaves the module; a run goes on, but the panel no longer follows the scene."""
        if not self._running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self._cancelRequested = True
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """List the models, take the scene's parameter node, and choose the first volume where none is chosen yet."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._models = {model.card.name: model for model in self.logic.models()}
        self._leftOut = [str(each.message) for each in caught]
        for message in self._leftOut:
            logging.warning(message)
        self.setParameterNode(GANSynthesisParameterNode(self.logic.getParameterNode()))
        if not self._parameterNode.input1:  # label maps are volumes too, but not what a model works on
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            images = [node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self._parameterNode.input1 = next((node for node in images if not node.GetHideFromEditors()), None)

    def setParameterNode(self, parameterNode):
        """Bind the panel to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
        self._updatePanel()

    def onModelChanged(self, index=None):
        """Keep the chosen task and model; another task brings its own models."""
        if self._parameterNode:
            self._parameterNode.task = self.ui.taskSelector.currentData or ""
            self._parameterNode.model = self.ui.modelSelector.currentData or ""

    def _updatePanel(self, caller=None, event=None):
        """Show what the parameter node says; a task or model that is not installed gives way to the first one."""
        if self._parameterNode and not self._running:
            panel.offer_models(self.ui, self._models, self._parameterNode.task, self._parameterNode.model)
        self._checkCanApply()

    def _whyNotApply(self):
        """One sentence on what is missing before Apply can run; empty when nothing is."""
        if not self._parameterNode:
            return _("There is no scene to work on.")
        name, task = self.ui.modelSelector.currentData, self.ui.taskSelector.currentData
        if not name:
            from GANSynthesisLib.models import user_models_folder

            return " ".join([presentation.no_model_sentence(user_models_folder()), *self._leftOut])
        output = self._parameterNode.outputVolume if task in ("synthesize", "register") else None
        ports = presentation.input_ports(self._models[name].card, task)
        return presentation.what_is_missing(ports, self._inputNodes(), output)

    def _inputNodes(self):
        node = self._parameterNode
        return [node.input1, node.input2, node.input3, node.input4]

    def _checkCanApply(self):
        """Switch Apply on or off; its tool tip and the status line say why it is off."""
        if self._running:
            return
        reason = self._whyNotApply()
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Apply the model; the inputs are not changed.")
        if reason or self.ui.statusLabel.text == self._reason:
            self.ui.statusLabel.text = reason
        self._reason = reason

    def onApplyButton(self, checked=False):
        """Run the chosen model; while it runs, the button cancels."""
        if self._running:
            self._cancelRequested = True
            self.ui.statusLabel.text = _("Canceling…")
            return
        self._setRunning(True)
        status = ""
        try:
            with slicer.util.tryWithErrorDisplay(_("The model was not applied.")):
                try:
                    status = self._apply()
                except Exception as error:
                    status = str(error)
                    raise
        finally:
            self._setRunning(False)
            self._updatePanel()
            self.ui.statusLabel.text = status

    def _apply(self):
        """Run the logic on the chosen nodes, show the result, and return the sentence for the status line."""
        from GANSynthesisLib.mrml.views import show_results
        from GANSynthesisLib.progress import Cancelled

        task, name = self.ui.taskSelector.currentData, self.ui.modelSelector.currentData
        node = self._parameterNode
        ports = presentation.input_ports(self._models[name].card, task)
        volumes = {port.name: volume for port, volume in zip(ports, self._inputNodes(), strict=False) if volume}
        options = {"device": node.device, "seed": node.seed}
        options |= {"progress": self._showProgress, "cancelled": lambda: self._cancelRequested}
        try:
            if task == "generate":
                made = self.logic.generate(name, node.count, **options)
            elif task == "register":
                pair = volumes["fixed"], volumes["moving"]
                self._checkLandmarks()
                options["details"] = node.details
                made = self.logic.register(*pair, name, node.outputTransform, node.outputVolume, **options)
            elif task == "segment":
                made = self.logic.segment(None, name, node.outputSegmentation, inputs=volumes, **options)
            else:
                made = self.logic.synthesize(None, name, node.outputVolume, inputs=volumes, **options)
        except Cancelled:
            return _("Canceled; the scene is as it was.")
        made = [each for each in (made if isinstance(made, (list, tuple)) else [made]) if each]
        show_results(made, volumes)
        done = _("Done: {names}").format(names=", ".join(each.GetName() for each in made))
        if task != "register":
            return done
        return " ".join(presentation.sentence(words) for words in (done, *self._alignment(made[0])))

    def _checkLandmarks(self):
        """Raise, before any work, where landmarks are chosen that do not belong together."""
        from GANSynthesisLib.mrml.landmarks import check_landmarks

        node = self._parameterNode
        if node.fixedLandmarks or node.movingLandmarks:
            check_landmarks(node.fixedLandmarks, node.movingLandmarks)

    def _alignment(self, transform):
        """What is known of how good an alignment is, in words: from its own score, and from landmarks."""
        from GANSynthesisLib.mrml.provenance import read_provenance

        content = read_provenance(transform)
        words = presentation.quality_words(content.get("Quality", {})) + content.get("Warnings", [])
        node = self._parameterNode
        if node.fixedLandmarks and node.movingLandmarks:
            words.append(str(self.logic.landmarkErrors(node.fixedLandmarks, node.movingLandmarks, transform)))
        return words

    def _showProgress(self, fraction, text):
        """Show how far the run is (0 to 1), and let Slicer handle a click on Cancel."""
        self.ui.progressBar.value = round(100 * fraction)
        if not self._cancelRequested:
            self.ui.statusLabel.text = text
        slicer.app.processEvents()

    def _setRunning(self, running):
        """Turn Apply into Cancel and hold everything else still while a run goes on, or back."""
        self._running = running
        self._cancelRequested = False
        self.ui.applyButton.text = _("Cancel") if running else _("Apply")
        self.ui.applyButton.toolTip = _("Stop; nothing is left in the scene.") if running else ""
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        for section in ("model", "inputs", "outputs", "advanced"):
            getattr(self.ui, f"{section}CollapsibleButton").enabled = not running


class GANSynthesisLogic(ScriptedLoadableModuleLogic):
    """The module's work, without a panel. All methods block until the result is there; the scene changes only then.

    Everywhere: `model` is the name of a shipped or user's model, a model file, or an entry of `models()`. Volumes are
    taken where the scene shows them: transforms that they are under count, and outputs lie in world coordinates, on
    the input's grid, under no transform. Under a non-linear transform that grid is a regular one around what the scene
    shows. Output nodes that are given are used and keep their names; others are added in the input's
    subject-hierarchy folder. Every output carries its provenance as node attributes `GANSynthesis.*`. A volume
    sequence as input gives a sequence with the same index values, which plays in step with it.

    device: "auto", "cpu", "cuda" or "cuda:1"; precision: "32" or "bf16"; tile: (K, J, I) voxels per tile, None
    chooses; progress(fraction 0..1, text) is called during the work; as soon as cancelled() gives True, the work ends
    with `GANSynthesisLib.inference.Cancelled`. What cannot be used raises `ValueError` with one sentence before any
    work starts.

    The examples are for Slicer's Python console. They start with

        from GANSynthesis import GANSynthesisLogic
        logic = GANSynthesisLogic()
    """

    def models(self, task=None):
        """Models that are installed, shipped ones first.

        task: "synthesize", "segment", "register" or "generate"; without it, all models.

            for model in logic.models("synthesize"):
                print(model.card.name, "-", model.card.title)
        """
        from GANSynthesisLib.models import list_models

        return [model for model in list_models() if task is None or task in model.card.tasks]

    def synthesize(
        self, inputVolume, model, outputVolume=None, *, inputs=None, output=None,
        device="auto", precision="32", tile=None, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Synthetic volume of another modality, on the input's grid; returns its node.

        inputs: role -> node, for models with several inputs; inputVolume takes the role that is left open.
        output: name of the output, for models with several; the first one otherwise.

            t1 = slicer.util.getNode("MRHead")
            t2 = logic.synthesize(t1, logic.models("synthesize")[0], progress=print)
        """
        from GANSynthesisLib.mrml import Request

        options = dict(device=device, precision=precision, tile=tile, seed=seed)
        request = Request.of("synthesize", model, inputVolume, inputs, {None: outputVolume}, output)
        return self._firstNode(request.write(self._results(request, options, progress, cancelled)))

    def segment(
        self, inputVolume, model, outputSegmentation=None, *, inputs=None, output=None,
        device="auto", precision="32", tile=None, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Segmentation of the input, with names, colors and SNOMED CT codes; returns its node.

        inputs, output: as for `synthesize`.

            t2 = slicer.util.getNode("T2")
            tissues = logic.segment(t2, logic.models("segment")[0])
            print(tissues.GetSegmentation().GetSegmentIDs())
        """
        from GANSynthesisLib.mrml import Request

        options = dict(device=device, precision=precision, tile=tile, seed=seed)
        request = Request.of("segment", model, inputVolume, inputs, {None: outputSegmentation}, output)
        return self._firstNode(request.write(self._results(request, options, progress, cancelled)))

    def register(
        self, fixedVolume, movingVolume, model, outputTransform=None, outputVolume=None, *, applyTransform=False,
        details=False, device="auto", precision="32", tile=None, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Align the moving to the fixed volume; returns (transform node, node of the moving volume on the fixed grid).

        The transform node is linear where the model gives a linear transform, else a grid transform. Its transform
        "from parent" takes fixed points to moving points: the moving volume, put under it, is shown aligned with the
        fixed one. applyTransform: put it there. That is refused where the moving volume is under a transform already.
        details: also add what else the model gives: the linear part of the transform, the structures found in the
        fixed and in the moving volume, the displacement beyond the linear part (mm) and the local change of volume.

            us, mr = slicer.util.getNode("US"), slicer.util.getNode("MR")
            transform, warped = logic.register(us, mr, logic.models("register")[0])
        """
        from GANSynthesisLib.mrml import Request, check_can_be_moved

        options = dict(device=device, precision=precision, tile=tile, seed=seed)
        given = {"transform": outputTransform, "warped": outputVolume}
        request = Request.of("register", model, None, {"fixed": fixedVolume, "moving": movingVolume}, given,
                             details=details)
        if applyTransform:
            check_can_be_moved(movingVolume)
        nodes = request.write(self._results(request, options, progress, cancelled))
        if applyTransform:
            movingVolume.SetAndObserveTransformNodeID(nodes["transform"].GetID())
        return nodes["transform"], nodes.get("warped")

    def landmarkErrors(self, fixedMarkups, movingMarkups, transform):
        """How far apart a registration's transform node leaves landmarks placed in both volumes.

        Points of the two markups nodes belong together by label where the labels are the same, else by order. Returns
        an object with `names`, `before` and `after` (mm, one number per landmark).

            transform, warped = logic.register(us, mr, "mr-trus-prostate")
            print(logic.landmarkErrors(slicer.util.getNode("F"), slicer.util.getNode("M"), transform))
        """
        from GANSynthesisLib.mrml.landmarks import landmark_errors

        return landmark_errors(fixedMarkups, movingMarkups, transform)

    def generate(self, model, count=1, *, device="auto", seed=0, progress=None, cancelled=None):
        """`count` new images that show no patient; returns their volume nodes. The same seed gives the same images.

            images = logic.generate(logic.models("generate")[0], 4, seed=1)
        """
        from GANSynthesisLib.mrml import Request

        request = Request.of("generate", model)
        self._ensureRequirements()
        from GANSynthesisLib import inference

        result = inference.generate(
            request.model, count, seed=seed, device=device, progress=progress, cancelled=cancelled
        )
        return list(request.write([result]).values())

    def train(
        self, system, dataFolder, output=None, *, settings=None, steps=2000, resume=False, initial=None,
        device="auto", precision="32", seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Train a model on one's own cases; returns the model, which the other methods take.

        system: name of the method, such as "paired" or "cyclegan". dataFolder: one folder per role ("source",
        "target", …), where files of the same name belong together. output: model file; without it, one named after
        the system in the user's folder of models, which `models()` lists. settings: name -> value of the system's
        settings. initial: a model whose weights the training starts from. An existing file is not replaced unless
        resume is True, which continues an interrupted training.

            model = logic.train("paired", "C:/cases", steps=2000, settings={"context": "2.5D"})
            logic.synthesize(slicer.util.getNode("MRHead"), model)
        """
        from GANSynthesisLib.models import ModelError, load_model, user_models_folder

        output = Path(output) if output else user_models_folder() / f"{system}.safetensors"
        if output.exists() and not resume:
            raise ModelError(f"The model file {output} exists: choose another output, or remove the file first.")
        self._ensureRequirements()
        from GANSynthesisLib.training import train

        output.parent.mkdir(parents=True, exist_ok=True)
        path = train(
            system, Path(dataFolder), output, settings=dict(settings or {}), steps=steps, seed=seed, device=device,
            precision=precision, resume=resume, initial=initial, progress=progress, cancelled=cancelled,
        )  # fmt: skip
        return load_model(Path(path))

    def _results(self, request, options, progress, cancelled) -> list:
        """One result per item of the inputs; nothing of them is in the scene yet."""
        self._ensureRequirements()
        from GANSynthesisLib import inference

        results, count = [], len(request.frames)
        for frame in request.frames:
            say = progress if count == 1 else self._progressOfItem(progress, len(results), count)
            volumes = request.volumes(frame)
            results.append(
                inference.apply_model(
                    request.model, volumes, outputs=request.outputs, progress=say, cancelled=cancelled, **options
                )
            )
        return results

    @staticmethod
    def _ensureRequirements() -> None:
        """Have PyTorch and the other packages, asking first where something must be installed."""
        from GANSynthesisLib.requirements import ensure_requirements

        ensure_requirements(Path(__file__).resolve().parent / "Resources" / "requirements.txt")

    @staticmethod
    def _progressOfItem(progress, done, count):
        """Progress over all items, from the progress within one."""
        if progress is None:
            return None
        return lambda fraction, text: progress((done + fraction) / count, f"item {done + 1} of {count}: {text}")

    @staticmethod
    def _firstNode(nodes):
        return next(iter(nodes.values()))


class GANSynthesisTest(ScriptedLoadableModuleTest):
    """Self-test, run by Slicer itself ("Reload and Test", ctest) and, where there is none, in Testing/SlicerHost."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_panelOpens()
        self.setUp()
        self.test_modelsKeepTheGrid()

    def test_panelOpens(self):
        """Every model can be chosen in the panel, and Apply says why it is off while the scene is empty."""
        self.delayDisplay("Opening the panel")
        ui = slicer.util.getModuleWidget("GANSynthesis").ui
        self.assertEqual(bool(GANSynthesisLogic().models()), ui.modelSelector.count > 0)
        self.assertTrue(ui.applyButton.enabled or ui.applyButton.toolTip)

    def test_modelsKeepTheGrid(self):
        """New volumes come on the grid of an oblique input, with provenance; nothing is tested without PyTorch."""
        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: no model is applied")
            return
        from GANSynthesisLib.mrml.selftest import check_models

        check_models(GANSynthesisLogic(), self.delayDisplay)
        self.delayDisplay("Test passed")
