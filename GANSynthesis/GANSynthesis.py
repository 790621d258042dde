"""The scripted module GANSynthesis: what Slicer loads. The work is done in GANSynthesisLib, imported where it is
needed."""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
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

from GANSynthesisLib import jobs
from GANSynthesisLib.panel.apply_tab import ApplyTab
from GANSynthesisLib.panel.batch_tab import BatchTab
from GANSynthesisLib.panel.evaluate_tab import EvaluateTab
from GANSynthesisLib.panel.install import InstallSection
from GANSynthesisLib.panel.train_tab import TrainTab

POLL_MS = 20


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
    region: vtkMRMLMarkupsROINode
    outputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    outputTransform: vtkMRMLTransformNode
    details: bool = True
    count: Annotated[int, WithinRange(1, 64)] = 1
    className: str  # of generated images; empty: all classes in turn
    device: Annotated[str, Choice(["auto", "cpu", "cuda"])] = "auto"
    precision: Annotated[str, Choice(["32", "bf16"])] = "32"
    tile: Annotated[int, WithinRange(0, 512)] = 0
    optimize: Annotated[int, WithinRange(0, 1000)] = 0
    samples: Annotated[int, WithinRange(0, 64)] = 0
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0


class GANSynthesisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: tabs that apply, train, evaluate and work through folders. The work runs in processes of its own."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.tabs = {}
        self._timer = None

    def setup(self):
        """Build the panel; called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/GANSynthesis.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = GANSynthesisLogic()
        self.installation = InstallSection(self.ui, self.resourcePath("requirements.txt"), self._enterTab)
        readiness = self.installation.readiness
        self._addTab("apply", "ApplyTab", lambda *args: ApplyTab(*args, readiness))
        self._addTab("train", "TrainTab", lambda *args: TrainTab(*args, readiness))
        self._addTab("evaluate", "EvaluateTab", EvaluateTab)
        self._addTab("batch", "BatchTab", lambda *args: BatchTab(*args, readiness))
        self.ui.tabWidget.connect("currentChanged(int)", self._enterTab)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneReady)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneReady)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onTimer)
        self._timer.start()
        self.initializeParameterNode()

    def _addTab(self, name, file, makeTab):
        widget = slicer.util.loadUI(self.resourcePath(f"UI/{file}.ui"))
        widget.setMRMLScene(slicer.mrmlScene)
        self.tabs[name] = makeTab(widget, self.logic)
        self.ui.tabWidget.addTab(widget, self.tabs[name].title)

    def cleanup(self):
        """Called when Slicer quits or reloads the module. A training goes on and is found again after a reload."""
        if self._timer:
            self._timer.stop()
        for tab in self.tabs.values():
            tab.close()
        if self._timer:
            self.installation.close()
        self.removeObservers()

    def enter(self):
        """Called each time the user opens the module; models may have been added meanwhile."""
        self.initializeParameterNode()
        self._enterTab()

    def exit(self):
        """Called each time the user leaves the module: what runs goes on."""

    def onTimer(self):
        """Carry on what runs; every step is short."""
        jobs.poll_all()
        for tab in self.tabs.values():
            tab.poll()

    def _enterTab(self, index=None):
        self.installation.refresh()
        list(self.tabs.values())[self.ui.tabWidget.currentIndex].enter()

    def onSceneStartClose(self, caller, event):
        for tab in self.tabs.values():
            tab.sceneClosing()

    def onSceneReady(self, caller, event):
        """A scene was closed, or one was loaded, which may have choices of its own."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the scene's parameter node, and choose the first volume where none is chosen yet."""
        if self.tabs["apply"].running:
            return
        node = GANSynthesisParameterNode(self.logic.getParameterNode())
        if not node.input1:  # label maps are volumes too, but not what a model works on
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            images = [each for each in volumes if each.GetClassName() == "vtkMRMLScalarVolumeNode"]
            node.input1 = next((each for each in images if not each.GetHideFromEditors()), None)
        self.tabs["apply"].bind(node)


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

        task: "synthesize", "segment", "register", "reconstruct", "generate" or "classify"; without it, all models.

            for model in logic.models("synthesize"):
                print(model.card.name, "-", model.card.title)
        """
        from GANSynthesisLib.models import list_models

        return [model for model in list_models() if task is None or task in model.card.tasks]

    def synthesize(
        self, inputVolume, model, outputVolume=None, *, inputs=None, output=None, region=None,
        device="auto", precision="32", tile=None, samples=0, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Synthetic volume of another modality, on the input's grid; returns its node.

        inputs: role -> node, for models with several inputs; inputVolume takes the role that is left open.
        output: name of the output, for models with several; the first one otherwise. region: markups ROI; only what is
        inside it is worked on, and the result covers that part. samples: also add a volume of the uncertainty, found
        by so many varied copies of the input; see `inference.uncertainty`.

            t1 = slicer.util.getNode("MRHead")
            t2 = logic.synthesize(t1, logic.models("synthesize")[0], progress=print)
        """
        from GANSynthesisLib.mrml import Request

        options = dict(device=device, precision=precision, tile=tile, samples=samples, seed=seed)
        request = Request.of("synthesize", model, inputVolume, inputs, {None: outputVolume}, output,
                             region=region)
        return self._firstNode(request.write(self._results(request, options, progress, cancelled)))

    def segment(
        self, inputVolume, model, outputSegmentation=None, *, inputs=None, output=None, region=None,
        device="auto", precision="32", tile=None, samples=0, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Segmentation of the input, with names, colors and SNOMED CT codes; returns its node.

        inputs, output, region, samples: as for `synthesize`.

            t2 = slicer.util.getNode("T2")
            tissues = logic.segment(t2, logic.models("segment")[0])
            print(tissues.GetSegmentation().GetSegmentIDs())
        """
        from GANSynthesisLib.mrml import Request

        options = dict(device=device, precision=precision, tile=tile, samples=samples, seed=seed)
        request = Request.of("segment", model, inputVolume, inputs, {None: outputSegmentation}, output,
                             region=region)
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

    def reconstruct(
        self, inputVolume, model, outputVolume=None, *, inputs=None, region=None,
        device="auto", precision="32", tile=None, seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Volume of finer voxels, from the first to the last voxel of the input; returns its node.

        The slices of a volume of thick slices are among those of the result, unchanged. inputs, region: as for
        `synthesize`.

            thin = logic.reconstruct(slicer.util.getNode("T2"), logic.models("reconstruct")[0])
        """
        from GANSynthesisLib.mrml import Request

        options = dict(device=device, precision=precision, tile=tile, seed=seed)
        request = Request.of("reconstruct", model, inputVolume, inputs, {None: outputVolume}, region=region)
        return self._firstNode(request.write(self._results(request, options, progress, cancelled)))

    def landmarkErrors(self, fixedMarkups, movingMarkups, transform):
        """How far apart a registration's transform node leaves landmarks placed in both volumes.

        Points of the two markups nodes belong together by label where the labels are the same, else by order. Returns
        an object with `names`, `before` and `after` (mm, one number per landmark).

            transform, warped = logic.register(us, mr, "mr-trus-prostate")
            print(logic.landmarkErrors(slicer.util.getNode("F"), slicer.util.getNode("M"), transform))
        """
        from GANSynthesisLib.mrml.landmarks import landmark_errors

        return landmark_errors(fixedMarkups, movingMarkups, transform)

    def evaluate(
        self, result=None, reference=None, mask=None, *, fixedMarkups=None, movingMarkups=None, transform=None,
        plots=True, errorMap=True, progress=None, cancelled=None,
    ):  # fmt: skip
        """How far a result is from a reference; returns the table node of the numbers.

        Two volumes give MAE, RMSE, PSNR, SSIM and correlation; two segmentations or label maps give Dice, HD95 and
        volumes of each structure. mask: segmentation or label map in which volumes are compared; "body", where the
        reference shows something; None, everywhere. Landmarks in fixedMarkups and movingMarkups, with the transform
        of a registration, add their errors, or are evaluated alone. plots, errorMap: also make these; all new nodes
        are in a folder beside the result.

            table = logic.evaluate(slicer.util.getNode("T1 [synthetic T2]"), slicer.util.getNode("T2"), mask="body")
            print(slicer.util.dataframeFromTable(table))
        """
        from GANSynthesisLib.mrml.evaluation import Evaluation

        evaluation = Evaluation.of(result, reference, mask, fixed_landmarks=fixedMarkups,
                                   moving_landmarks=movingMarkups, transform=transform)
        comparison = evaluation.compare(progress, cancelled)
        return evaluation.write(comparison, plots=plots, error_map=errorMap).table

    def generate(self, model, count=1, mask=None, *, device="auto", seed=0, progress=None, cancelled=None, **wishes):
        """`count` new images that show no patient; returns their volume nodes. The same seed gives the same images.

        mask: label map node, for a model that makes images with given structures. wishes: what all images are to be,
        where the model can be asked for it: class_name, value, code; way="interpolate" for images from one to another,
        way="sweep" for `count` of each category and continuous code; see `inference.generate`.

            images = logic.generate(logic.models("generate")[0], 4, seed=1)
        """
        from GANSynthesisLib.mrml import Request

        request = Request.of("generate", model, mask)
        self._ensureRequirements()
        from GANSynthesisLib import inference

        if request.nodes:
            (wishes["mask"],) = request.volumes().values()
        result = inference.generate(
            request.model, count, seed=seed, device=device, progress=progress, cancelled=cancelled, **wishes
        )
        return list(request.write([result]).values())

    def insertPatch(self, volume, patch, at, labels=None, *, blending="poisson", match=False):
        """`patch`, a generated lesion say, put into a copy of `volume` so that no border is seen; returns the nodes of
        the new volume and of a segmentation of what was put in.

        at: point list, whose last point is taken, or (R, A, S) in mm. labels: segmentation of the patch; without one,
        what stands out from the patch's border. blending: `poisson` or `feather`. match: scale the patch so that its
        values span what those that it replaces do.

            volume, lesion = logic.insertPatch(slicer.util.getNode("CT"), images[0], slicer.util.getNode("F"))
        """
        from GANSynthesisLib.mrml.insertion import insert_patch_nodes

        return insert_patch_nodes(volume, patch, at, labels, blending=blending, match=match)

    def classify(
        self, inputVolume, model, outputTable=None, *, device="auto", precision="32", progress=None, cancelled=None
    ):  # fmt: skip
        """Table with the class of a volume, the probability of each in a row; returns its node.

            table = logic.classify(slicer.util.getNode("lesion"), logic.models("classify")[0])
            print(table.GetCellText(0, 0))
        """
        self._ensureRequirements()
        from GANSynthesisLib.mrml.classification import classify_node

        return classify_node(inputVolume, model, outputTable, device=device, precision=precision, progress=progress,
                             cancelled=cancelled)

    def batch(
        self, model, inputFolder, outputFolder, *, outputs=None, restart=False, optimize=0,
        device="auto", precision="32", seed=0, progress=None, cancelled=None,
    ):  # fmt: skip
        """Apply a model to every case of a folder; returns the record, whose `cases` have a state by name.

        What is done already is left alone, so the same call goes on where one ended; restart=True begins anew.

            record = logic.batch("brain-t1-to-t2", "C:/T1", "C:/T2")
            print({name: case.state for name, case in record.cases.items()})
        """
        from GANSynthesisLib.batch import plan_batch
        from GANSynthesisLib.models import Model, load_model

        model = model if isinstance(model, Model) else load_model(model)
        plan = plan_batch(model, inputFolder, outputFolder, outputs=outputs, precision=precision, seed=seed,
                          optimize=optimize, restart=restart)
        self._ensureRequirements()
        from GANSynthesisLib.batch.run import run_batch

        return run_batch(plan, device=device, progress=progress, cancelled=cancelled)

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
        for test in (self.test_panelOpens, self.test_modelsKeepTheGrid, self.test_tinyModelFromTrainingToPanel):
            self.setUp()
            test()
        self.delayDisplay("Test passed")

    def test_panelOpens(self):
        """Every model can be chosen in the panel, and Apply says why it is off while the scene is empty."""
        self.delayDisplay("Opening the panel")
        panel = slicer.util.getModuleWidget("GANSynthesis")
        ui = panel.tabs["apply"].ui
        self.assertEqual(bool(GANSynthesisLogic().models()), ui.modelList.count > 0)
        self.assertTrue(ui.applyButton.enabled or ui.applyButton.toolTip)

    def test_modelsKeepTheGrid(self):
        """New volumes come on the grid of an oblique input, with provenance."""
        if self._hasTorch():
            from GANSynthesisLib.mrml.selftest import check_models

            check_models(GANSynthesisLogic(), self.delayDisplay)

    def test_tinyModelFromTrainingToPanel(self):
        """A model trained here in seconds, applied through the logic and by clicks; cancel, and an empty volume."""
        if self._hasTorch():
            from GANSynthesisLib.mrml.selftest import check_panel, check_training, folder_of_models

            with folder_of_models() as folder:
                check_training(GANSynthesisLogic(), folder, self.delayDisplay)
                check_panel(slicer.util.getModuleWidget("GANSynthesis"), self.delayDisplay)

    def _hasTorch(self):
        """Whether models can be applied here; says so where not."""
        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: no model is applied")
        return importlib.util.find_spec("torch") is not None
